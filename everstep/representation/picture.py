"""A graph as one SVG element: boxes with words, arrows with labels. Colours are classes, which the page gives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from everstep.representation.layout import Layout, Point, lay_out
from everstep.representation.shown import MARKS, look, notes, untaken
from everstep.representation.types import (
    WorkflowEventNode,
    WorkflowGraph,
    WorkflowGraphEdge,
    WorkflowGraphNode,
    WorkflowStepNode,
)

MARGIN = 24.0
_HEIGHT = {1: 34.0, 2: 50.0}
_WIDE, _NARROW = "MWmw@%—✓✗", "fijlrtI1.,:;|!'()[] "


@dataclass(frozen=True, slots=True)
class _Box:
    node: WorkflowGraphNode
    title: str
    below: str
    width: float
    height: float


def anchor(node_id: str) -> str:
    """What a node's id becomes in the page's addresses."""
    return "".join(char if char.isascii() and char.isalnum() else f"-{ord(char):x}-" for char in node_id)


def to_svg(graph: WorkflowGraph) -> str:
    """The SVG element of a graph that is ready to be drawn; each node is a link to ``#about-…``."""
    boxes = [_box(node) for node in graph.nodes]
    numbers = {node.id: number for number, node in enumerate(graph.nodes)}
    edges = [edge for edge in graph.edges if edge.source in numbers and edge.target in numbers]
    roots = [numbers[node.id] for node in graph.nodes if _begins(node)]
    layout = lay_out(
        [(box.width, box.height) for box in boxes],
        [(numbers[edge.source], numbers[edge.target]) for edge in edges],
        roots,
    )
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{-MARGIN:.0f} {-MARGIN:.0f} {width:.0f} {height:.0f}" role="group" aria-labelledby="title">',
        _MARKERS,
        *(_arrow(edge, layout, numbers, run=graph.run is not None) for edge in edges),
        *(_shape(graph, box, layout.boxes[number]) for number, box in enumerate(boxes)),
        "</svg>",
    ]
    return "\n".join(parts)


def _begins(node: WorkflowGraphNode) -> bool:
    return isinstance(node, WorkflowEventNode) and node.is_subclass_of("StartEvent")


def _box(node: WorkflowGraphNode) -> _Box:
    title, below = node.label, " · ".join(notes(node))
    if isinstance(node, WorkflowStepNode) and node.run is not None and MARKS[node.run.status]:
        title = f"{MARKS[node.run.status]} {title}"
    width = max(_width(title, 13), _width(below, 11)) + (28 if isinstance(node, WorkflowStepNode) else 34)
    return _Box(node, title, below, max(width, 64.0), _HEIGHT[2 if below else 1])


def _width(text: str, size: float) -> float:
    """About how wide a text is: fonts differ, so rather too wide."""
    units = sum(
        0.92 if char in _WIDE else 0.36 if char in _NARROW else 0.68 if char.isupper() else 0.59 for char in text
    )
    return units * size


def _shape(graph: WorkflowGraph, box: _Box, middle: Point) -> str:
    node, kind = box.node, look(box.node)
    x, y = middle[0] - box.width / 2, middle[1] - box.height / 2
    classes = ["node", kind]
    if untaken(graph, node):
        classes.append("untaken")
    elif isinstance(node, WorkflowStepNode) and node.run is not None:
        classes.append(f"was-{node.run.status}")
    radius = 8 if isinstance(node, WorkflowStepNode) or kind == "resource" else box.height / 2
    lines = [(box.title, "label", middle[1] + (4.5 if not box.below else -3.5))]
    if box.below:
        lines.append((box.below, "note", middle[1] + 13.5))
    texts = "".join(
        f'<text class="{name}" x="{middle[0]:.1f}" y="{at:.1f}">{escape(text)}</text>' for text, name, at in lines
    )
    about = _spoken(box)
    return (
        f'<a class="{" ".join(classes)}" href="#about-{anchor(node.id)}" data-node="{anchor(node.id)}" '
        f'aria-label="{escape(about)}"><title>{escape(about)}</title>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="{radius:.0f}"/>'
        f"{texts}</a>"
    )


def _spoken(box: _Box) -> str:
    """What is read out, and shown in the tooltip."""
    node = box.node
    what = {"step": "step", "handler": "error handler", "event": "event", "ends": "event", "human": "event"}
    parts = [f"{what.get(look(node), node.node_type)} {node.label}"]
    if isinstance(node, WorkflowStepNode) and node.run is not None:
        parts.append(node.run.status)
    parts += notes(node) if not (isinstance(node, WorkflowStepNode) and node.run and not node.run.invocations) else []
    if isinstance(node, WorkflowStepNode) and node.run is not None and node.run.last_error:
        parts.append(node.run.last_error)
    elif isinstance(node, WorkflowStepNode) and node.description:
        parts.append(node.description.splitlines()[0])
    return ", ".join(parts)


def _arrow(edge: WorkflowGraphEdge, layout: Layout, numbers: dict[str, int], *, run: bool) -> str:
    source, target = numbers[edge.source], numbers[edge.target]
    route = layout.routes.get((source, target)) or _loop(layout.boxes[source])
    weight = min(3.0, 1.0 + math.log10(edge.count) / 1.5) if run and edge.count else 1.0
    classes = f"edge {edge.kind}" + (" untaken" if run and not edge.count and edge.kind != "resource" else "")
    style = f' style="--weight:{weight:.2f}"' if weight != 1.0 else ""
    marker = {"failure": "failing", "answer": "asking", "wait": "asking"}.get(edge.kind, "plain")
    label = edge.label or ""
    if run and edge.count:
        label = f"{label} {edge.count}×".strip()
    text = ""
    if label:
        x, y = _middle(route)
        text = f'<text class="tag" x="{x:.1f}" y="{y + 3.5:.1f}">{escape(label)}</text>'
    return (
        f'<g class="{classes}" data-from="{anchor(edge.source)}" data-to="{anchor(edge.target)}"{style}>'
        f'<path d="{" ".join(_curve(route))}" marker-end="url(#{marker})"/>{text}</g>'
    )


def _curve(route: list[Point]) -> Iterator[str]:
    """A smooth line that leaves and arrives upright, and between goes the way that its pairs of points lie."""
    yield f"M{route[0][0]:.1f} {route[0][1]:.1f}"
    for number, ((x, y), (to_x, to_y)) in enumerate(pairwise(route)):
        if number % 2:
            yield f"L{to_x:.1f} {to_y:.1f}"
            continue
        reach = (to_y - y) / 2
        near_x, far_x = x + _lean(route, number - 1) * reach, to_x - _lean(route, number + 1) * reach
        yield f"C{near_x:.1f} {y + reach:.1f} {far_x:.1f} {to_y - reach:.1f} {to_x:.1f} {to_y:.1f}"


def _lean(route: list[Point], number: int) -> float:
    """How far a pair of points goes aside, for each pixel that it goes down; the ends of a line are upright."""
    if number < 0 or number + 1 >= len(route):
        return 0.0
    (x, y), (to_x, to_y) = route[number], route[number + 1]
    return (to_x - x) / (to_y - y)


def _middle(route: list[Point]) -> Point:
    """Where a label goes: in the middle of its way."""
    (x, y), (other_x, other_y) = route[len(route) // 2 - 1], route[len(route) // 2]
    return (x + other_x) / 2, (y + other_y) / 2


def _loop(middle: Point) -> list[Point]:
    x, y = middle
    return [(x + 30, y - 16), (x + 66, y - 6), (x + 66, y + 6), (x + 30, y + 16)]


_MARKERS = (
    "<defs>"
    + "".join(
        f'<marker id="{name}" class="tip {name}" viewBox="0 0 10 10" refX="8.5" refY="5" markerWidth="10" '
        'markerHeight="10" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 1 L9 5 L0 9 z"/></marker>'
        for name in ("plain", "failing", "asking")
    )
    + "</defs>"
)
