"""Graphs as Mermaid flowcharts: steps as boxes, events as rounded ones, what people see and answer as diamonds."""

from __future__ import annotations

from collections.abc import Iterator

from everstep.representation.shown import MARKS, Look, drawn, look, notes, untaken
from everstep.representation.types import (
    EdgeKind,
    WorkflowGraph,
    WorkflowGraphEdge,
    WorkflowGraphNode,
    WorkflowStepNode,
)

_CLASSES = (
    "classDef step fill:#e8f0fe,stroke:#3b6fd4,color:#111",
    "classDef handler fill:#fdecea,stroke:#c0392b,color:#111",
    "classDef event fill:#fff,stroke:#888,color:#111",
    "classDef ends fill:#e9f7ef,stroke:#27864b,color:#111",
    "classDef human fill:#fff6dd,stroke:#b7860b,color:#111",
    "classDef resource fill:#f4f0fa,stroke:#7a5ea8,color:#111,stroke-dasharray:4 3",
)
_UNTAKEN = "classDef untaken fill:#fff,stroke:#ccc,color:#999"
_BOX = '["%s"]'
_SHAPES: dict[Look, str] = {"event": '("%s")', "ends": '(["%s"])', "human": '{"%s"}', "resource": '[("%s")]'}
_ARROWS: dict[EdgeKind, str] = {"list": "==>", "join": "==>", "answer": "-.->", "failure": "-.->", "wait": "-.->"}


def to_mermaid(graph: WorkflowGraph) -> str:
    """A graph as Mermaid text, the same for the same graph.

    A solid arrow is an event passed on; a thick one a list that opens a stream, or a join that takes one; a dotted one
    a person's answer, or a failure that goes to its handler. In the graph of a run, arrows have how often they were
    taken, and what was not is pale.

    Example: `print(to_mermaid(get_workflow_representation(MyFlow)))`
    """
    shown = drawn(graph)
    names = {node.id: _name(node) for node in shown.nodes}
    lines = [
        *(_node(shown, node, names[node.id]) for node in shown.nodes),
        *(_arrow(edge, names) for edge in shown.edges),
        *_classes(shown),
    ]
    return "\n".join(["flowchart TD", *(f"    {line}" for line in lines)]) + "\n"


def _node(graph: WorkflowGraph, node: WorkflowGraphNode, name: str) -> str:
    label = _text(node.label)
    if isinstance(node, WorkflowStepNode) and node.run is not None and MARKS[node.run.status]:
        label = f"{MARKS[node.run.status]} {label}"
    below = notes(node)
    if graph.run is not None and below:
        below = [" · ".join(below)]
    label += "".join(f"<br/><i>{_text(note)}</i>" for note in below)
    kind = look(node)
    style = "untaken" if untaken(graph, node) else kind if kind != "other" else "event"
    return f"{name}{_SHAPES.get(kind, _BOX) % label}:::{style}"


def _arrow(edge: WorkflowGraphEdge, names: dict[str, str]) -> str:
    label = edge.label if edge.kind != "resource" else None
    if edge.count:
        label = f"{edge.count}×" if label is None else f"{label} {edge.count}×"
    arrow = _ARROWS.get(edge.kind, "-->")
    return f"{names[edge.source]} {arrow}{'' if label is None else f'|{_text(label)}|'} {names[edge.target]}"


def _classes(graph: WorkflowGraph) -> Iterator[str]:
    looks = {look(node) for node in graph.nodes}
    yield from (line for line in _CLASSES if line.split()[1] != "resource" or "resource" in looks)
    if graph.run is not None:
        yield _UNTAKEN


# Prefixes keep a step and an event of one name apart, and both clear of Mermaid's own words, such as `end`.
def _name(node: WorkflowGraphNode) -> str:
    return f"{node.node_type}_{_word(node.label if isinstance(node, WorkflowStepNode) else node.id)}"


def _word(name: str) -> str:
    return "".join(char if (char.isalnum() and char.isascii()) or char == "_" else f"_{ord(char):x}_" for char in name)


def _text(text: str) -> str:
    return text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
