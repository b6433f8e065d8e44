"""Flows and runs as graphs: as data, as Mermaid text, and as a page with a picture.

Example:
    >>> graph = get_workflow_representation(MyFlow)
    >>> Path("flow.html").write_text(to_html(graph))
"""

from everstep.representation.build import get_run_representation, get_workflow_representation
from everstep.representation.draw import (
    draw_all_possible_flows,
    draw_all_possible_flows_mermaid,
    draw_most_recent_execution,
    draw_run,
)
from everstep.representation.mermaid import to_mermaid
from everstep.representation.page import to_html
from everstep.representation.types import (
    GraphRun,
    StepRun,
    WorkflowEventNode,
    WorkflowExternalNode,
    WorkflowGenericNode,
    WorkflowGraph,
    WorkflowGraphEdge,
    WorkflowGraphNode,
    WorkflowNodeBase,
    WorkflowResourceConfigNode,
    WorkflowResourceNode,
    WorkflowStepNode,
)
from everstep.run_path import RunPath, StepPath

__all__ = [
    "GraphRun",
    "RunPath",
    "StepPath",
    "StepRun",
    "WorkflowEventNode",
    "WorkflowExternalNode",
    "WorkflowGenericNode",
    "WorkflowGraph",
    "WorkflowGraphEdge",
    "WorkflowGraphNode",
    "WorkflowNodeBase",
    "WorkflowResourceConfigNode",
    "WorkflowResourceNode",
    "WorkflowStepNode",
    "draw_all_possible_flows",
    "draw_all_possible_flows_mermaid",
    "draw_most_recent_execution",
    "draw_run",
    "get_run_representation",
    "get_workflow_representation",
    "to_html",
    "to_mermaid",
]
