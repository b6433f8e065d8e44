"""What of a graph is drawn, and the words that stand in the drawing; shared by the forms of pictures."""

from __future__ import annotations

from typing import Any, Literal

from everstep.representation.types import (
    StepRun,
    WorkflowEventNode,
    WorkflowExternalNode,
    WorkflowGraph,
    WorkflowGraphEdge,
    WorkflowGraphNode,
    WorkflowStepNode,
)

Look = Literal["step", "handler", "event", "ends", "human", "resource", "other"]
"""How a node looks."""

MARKS = {"done": "✓", "failed": "✗", "running": "▶", "waiting": "⏸", "cancelled": "⊘", "not taken": ""}
"""What stands beside a step for its status, so that colour is not needed to tell."""


def drawn(graph: WorkflowGraph) -> WorkflowGraph:
    """The graph as it is drawn: without the node of the world outside; each question leads to its own answer."""
    outside = {node.id for node in graph.nodes if isinstance(node, WorkflowExternalNode)}
    events = {node.id: node for node in graph.nodes if isinstance(node, WorkflowEventNode)}
    edges = [edge for edge in graph.edges if edge.source not in outside and edge.target not in outside]
    counts = {edge.target: edge.count for edge in graph.edges if edge.source in outside}
    for event in events.values():
        answer = events.get(event.answered_by or "")
        if answer is not None:
            count = counts.get(answer.id) if graph.run is not None else None
            edges.append(
                WorkflowGraphEdge(
                    source=event.id, target=answer.id, kind="answer", label="answered by", count=_count(graph, count)
                )
            )
    nodes = [node for node in graph.nodes if node.id not in outside]
    return graph.model_copy(update={"nodes": nodes, "edges": edges})


def _count(graph: WorkflowGraph, count: int | None) -> int | None:
    return (count or 0) if graph.run is not None else None


def look(node: WorkflowGraphNode) -> Look:
    """How a node looks."""
    if isinstance(node, WorkflowStepNode):
        return "handler" if node.role == "catch_error" else "step"
    if isinstance(node, WorkflowEventNode):
        if node.is_subclass_of("StartEvent", "StopEvent"):
            return "ends"
        if node.from_outside or node.is_subclass_of("InputRequiredEvent", "HumanResponseEvent"):
            return "human"
        return "event"
    return "resource" if node.node_type.startswith("resource") else "other"


def notes(node: WorkflowGraphNode) -> list[str]:
    """What stands below a node's label: what it did in the run, or else what is unusual about it."""
    if isinstance(node, WorkflowStepNode):
        return step_run_notes(node.run) if node.run is not None else _option_notes(node.options)
    if isinstance(node, WorkflowEventNode):
        out = [f"{node.open} open"] if node.open else []
        return out + ([f"{node.unhandled} unhandled"] if node.unhandled else [])
    return []


def step_run_notes(run: StepRun) -> list[str]:
    """What a step did, in a few words."""
    if not run.invocations:
        return ["not taken"]
    out = [f"{run.invocations}×"]
    for name in ("running", "waiting", "failed", "cancelled"):
        if getattr(run, name):
            out.append(f"{getattr(run, name)} {name}")
    if run.attempts > run.invocations:
        out.append(f"{run.attempts} attempts")
    if run.done + run.failed:
        out.append(duration(run.seconds))
    return out


def _option_notes(options: dict[str, Any]) -> list[str]:
    out: list[str] = []
    if "collect" in options:
        out.append(f"joins {options['collect']}")
    if "starts" in options:
        out.append(options["starts"])
    if "task_queue" in options:
        out.append(f"on {options['task_queue']}")
    out += [name for name in ("local", "waits") if options.get(name)]
    return out


def duration(seconds: float) -> str:
    """A span of time, in the unit that fits."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    if seconds < 86400:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds / 86400:.1f} days"


def untaken(graph: WorkflowGraph, node: WorkflowGraphNode) -> bool:
    """Whether the run of a graph did not come by a node."""
    if graph.run is None:
        return False
    if isinstance(node, WorkflowStepNode):
        return node.run is None or not node.run.invocations
    if isinstance(node, WorkflowEventNode):
        return not node.count and not node.open
    return False


def shortened(graph: WorkflowGraph, longest: int | None) -> WorkflowGraph:
    """The graph with labels of at most this length."""
    if longest is None:
        return graph
    nodes = [node.model_copy(update={"label": node.truncated_label(longest)}) for node in graph.nodes]
    return graph.model_copy(update={"nodes": nodes})
