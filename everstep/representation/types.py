"""The graph of a flow as data: nodes and edges, as pydantic models with a JSON form. No drawing here.

The names and fields that LlamaIndex Workflows has are the same here; fields that only everstep has come after them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, Field

EdgeKind = Literal["event", "list", "join", "wait", "ask", "answer", "failure", "resource"]
"""What goes along an edge: an event; a list, which opens a stream; a stream that is joined; an event that is waited for
inside a step; a question to a person; what comes from outside; a failure on its way to its handler; a resource."""

StepStatus = Literal["done", "failed", "running", "waiting", "cancelled", "not taken"]


class StepRun(BaseModel):
    """What a step did in a run; times in seconds. See `everstep.run_path.StepPath`."""

    status: StepStatus
    invocations: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    running: int = 0
    waiting: int = 0
    attempts: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    last_error: str = ""


class GraphRun(BaseModel):
    """The run that a graph shows; times are ISO 8601."""

    run_id: str
    status: str
    started_at: str | None = None
    ended_at: str | None = None
    seconds: float | None = None
    error: str = ""


class WorkflowNodeBase(BaseModel):
    """What all nodes have: an id of their own, and the text that is shown."""

    id: str
    label: str

    def truncated_label(self, max_length: int) -> str:
        """The label, cut to a length; a cut one ends in ``*``."""
        return self.label if len(self.label) <= max_length else self.label[: max_length - 1] + "*"


class WorkflowStepNode(WorkflowNodeBase):
    """A step. `options` are those that differ from their defaults; `run` tells what it did, in the graph of a run."""

    node_type: Literal["step"] = "step"
    description: str | None = None
    role: Literal["step", "catch_error"] = "step"
    options: dict[str, Any] = Field(default_factory=dict)
    run: StepRun | None = None


class WorkflowEventNode(WorkflowNodeBase):
    """An event type.

    `event_types` are the class and its bases below `Event`, `produced_by` the steps that give it out. `answered_by` is
    the type that answers a question to a person. `from_outside`: people or programs send it, no step does. In the graph
    of a run `count` tells how often it went to a step, or, for one that ends the run, whether it did; `open` how many
    questions nobody has answered, `unhandled` how many were taken by no step.
    """

    node_type: Literal["event"] = "event"
    event_type: str
    event_types: list[str]
    event_schema: dict[str, Any] | None = None
    produced_by: list[str] = Field(default_factory=list)
    answered_by: str | None = None
    from_outside: bool = False
    count: int | None = None
    open: int = 0
    unhandled: int = 0

    def is_subclass_of(self, *type_names: str) -> bool:
        """Whether the event type is one of these, or descends from one."""
        return any(name in self.event_types for name in type_names)


class WorkflowExternalNode(WorkflowNodeBase):
    """The world outside: people who are asked and answer, programs that send events."""

    node_type: Literal["external"] = "external"


class WorkflowResourceNode(WorkflowNodeBase):
    """A resource that a factory makes for steps: its type, the factory, and where that is defined."""

    node_type: Literal["resource"] = "resource"
    type_name: str | None = None
    getter_name: str | None = None
    source_file: str | None = None
    source_line: int | None = None
    description: str | None = None


class WorkflowResourceConfigNode(WorkflowNodeBase):
    """A resource that is read from a file. Its value is shown only where the file can be read."""

    node_type: Literal["resource_config"] = "resource_config"
    type_name: str | None = None
    config_file: str | None = None
    path_selector: str | None = None
    config_schema: dict[str, Any] | None = None
    config_value: dict[str, Any] | None = None
    description: str | None = None


class WorkflowGenericNode(WorkflowNodeBase):
    """A node of any other kind, for graphs that programs make themselves."""

    node_type: str
    event_type: str | None = None
    event_types: list[str] | None = None

    def is_subclass_of(self, *type_names: str) -> bool:
        """Whether `event_types` has one of these names."""
        return any(name in (self.event_types or ()) for name in type_names)


WorkflowGraphNode = (
    WorkflowStepNode
    | WorkflowEventNode
    | WorkflowExternalNode
    | WorkflowResourceNode
    | WorkflowResourceConfigNode
    | WorkflowGenericNode
)
"""Any node of a graph; `node_type` tells which."""


class WorkflowGraphEdge(BaseModel):
    """An arrow between two nodes, by their ids. `count` tells how often it was taken, in the graph of a run."""

    source: str
    target: str
    label: str | None = None
    kind: EdgeKind = "event"
    count: int | None = None


class WorkflowGraph(BaseModel):
    """A flow as a graph; with `run`, the way that a run of it took.

    Example:
        >>> graph = get_workflow_representation(MyFlow)
        >>> [node.label for node in graph.nodes if node.node_type == "step"]
        >>> graph.model_dump_json(exclude_none=True)
    """

    name: str
    nodes: list[WorkflowGraphNode]
    edges: list[WorkflowGraphEdge]
    description: str | None = None
    run: GraphRun | None = None

    def filter_by_node_type(self, *node_types: str) -> WorkflowGraph:
        """The graph without the nodes of these types; arrows that led through them lead on to what comes behind.

        Such an arrow is labelled with the first node that it led through.

        Args:
            node_types: any of ``step``, ``event``, ``external``, ``resource``, ``resource_config``.

        Example: `graph.filter_by_node_type("event", "resource")` shows which step leads to which.
        """
        gone = {node.id: node for node in self.nodes if node.node_type in node_types}
        following: dict[str, list[WorkflowGraphEdge]] = {}
        for edge in self.edges:
            following.setdefault(edge.source, []).append(edge)

        def onward(source: str, passed: WorkflowGraphNode | None, seen: set[str]) -> Iterator[WorkflowGraphEdge]:
            for edge in following.get(source, ()):
                through = gone.get(edge.target)
                if through is None:
                    yield edge if passed is None else edge.model_copy(update={"label": passed.label})
                elif through.id not in seen:
                    seen.add(through.id)
                    yield from onward(through.id, passed or through, seen)

        edges: dict[tuple[str, str], WorkflowGraphEdge] = {}
        for node in self.nodes:
            if node.id not in gone:
                for edge in onward(node.id, None, set()):
                    edges.setdefault((node.id, edge.target), edge.model_copy(update={"source": node.id}))
        nodes = [node for node in self.nodes if node.id not in gone]
        return self.model_copy(update={"nodes": nodes, "edges": list(edges.values())})
