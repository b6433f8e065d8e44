"""Where the boxes and arrows of a graph go: layers from top to bottom, few crossings, straight long arrows.

Pure geometry: boxes by number, sizes in pixels. The same graph is always laid out in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median_high, median_low

Point = tuple[float, float]
Edge = tuple[int, int]

GAP_X, GAP_Y = 28.0, 46.0
_SWEEPS = 12
_DUMMY_WIDTH = 14.0
_STEEP = 0.3


@dataclass(slots=True)
class Layout:
    """The middle of each box, and for each arrow the points that it goes through, from edge of box to edge of box.

    Between its ends the points of an arrow come in pairs: where it enters a layer that it crosses, and where it leaves.
    """

    width: float
    height: float
    boxes: list[Point]
    routes: dict[Edge, list[Point]]


@dataclass(slots=True)
class _Layers:
    """Boxes and, on long arrows, points between them (numbers from `real` on), layer by layer."""

    real: int
    of: list[int]
    rows: list[list[int]] = field(default_factory=list[list[int]])
    above: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    below: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    chains: dict[Edge, list[int]] = field(default_factory=dict[Edge, list[int]])
    loops: set[int] = field(default_factory=set[int])  # points of arrows that lead back up: they pull at no box

    def link(self, upper: int, lower: int) -> None:
        self.below.setdefault(upper, []).append(lower)
        self.above.setdefault(lower, []).append(upper)


def lay_out(sizes: Sequence[tuple[float, float]], edges: Sequence[Edge], roots: Sequence[int] = ()) -> Layout:
    """Lay out a graph.

    Args:
        sizes: width and height of each box.
        edges: arrows by box numbers; from a box to itself they are not routed.
        roots: the boxes where reading begins; arrows back to them go up.
    """
    edges = [edge for edge in dict.fromkeys(edges) if edge[0] != edge[1]]
    down = _without_cycles(len(sizes), edges, roots)
    layers = _layers(len(sizes), [down[edge] for edge in edges])
    for edge in edges:
        _chain(layers, edge, down[edge])
    _order(layers)
    widths = [size[0] for size in sizes] + [_DUMMY_WIDTH] * (len(layers.of) - len(sizes))
    xs = _columns(layers, widths)
    ys, heights, height = _lines(layers, sizes)
    left = min((xs[n] - widths[n] / 2 for n in range(len(xs))), default=0.0)
    width = max((xs[n] + widths[n] / 2 for n in range(len(xs))), default=0.0) - left
    points = [(xs[n] - left, ys[layers.of[n]]) for n in range(len(xs))]
    routes = {edge: _route(layers, edge, points, sizes, heights) for edge in edges}
    return Layout(width, height, points[: len(sizes)], routes)


def _without_cycles(count: int, edges: Sequence[Edge], roots: Sequence[int]) -> dict[Edge, Edge]:
    """Each arrow as it is laid out: those that lead back are turned round."""
    after: dict[int, list[int]] = {}
    for source, target in edges:
        after.setdefault(source, []).append(target)
    reached = {target for _, target in edges}
    order = [*roots, *(n for n in range(count) if n not in reached), *range(count)]
    state = [0] * count  # 1: on the way, 2: done
    back: set[Edge] = set()
    for root in order:
        if state[root]:
            continue
        state[root] = 1
        stack = [(root, iter(after.get(root, ())))]
        while stack:
            node, rest = stack[-1]
            target = next(rest, None)
            if target is None:
                state[node] = 2
                stack.pop()
            elif state[target] == 1:
                back.add((node, target))
            elif state[target] == 0:
                state[target] = 1
                stack.append((target, iter(after.get(target, ()))))
    return {edge: (edge[1], edge[0]) if edge in back else edge for edge in edges}


def _layers(count: int, edges: Sequence[Edge]) -> _Layers:
    """A layer for each box: below all that lead to it, and what nothing leads to right above what it leads to."""
    after: dict[int, list[int]] = {n: [] for n in range(count)}
    before = [0] * count
    for source, target in edges:
        after[source].append(target)
        before[target] += 1
    of, left = [0] * count, list(before)
    order = [n for n in range(count) if not left[n]]
    for node in order:  # grows while it is walked
        for target in after[node]:
            of[target] = max(of[target], of[node] + 1)
            left[target] -= 1
            if not left[target]:
                order.append(target)
    for node in order:
        if not before[node] and after[node]:
            of[node] = min(of[target] for target in after[node]) - 1
    return _Layers(count, of)


def _chain(layers: _Layers, edge: Edge, down: Edge) -> None:
    """Give an arrow a point on each layer that it crosses."""
    upper, lower = down
    chain = [upper]
    for layer in range(layers.of[upper] + 1, layers.of[lower]):
        layers.of.append(layer)
        chain.append(len(layers.of) - 1)
    chain.append(lower)
    for one, next_one in pairwise(chain):
        layers.link(one, next_one)
    layers.chains[edge] = chain if edge == down else chain[::-1]
    if edge != down:
        layers.loops.update(chain[1:-1])


def _order(layers: _Layers) -> None:
    """Sort each layer by where its neighbours are, sweeping down and up; the order with fewest crossings is kept."""
    rows: list[list[int]] = [[] for _ in range(max(layers.of, default=-1) + 1)]
    for node, layer in enumerate(layers.of):
        rows[layer].append(node)
    _depth_first(layers, rows)
    best, fewest = [list(row) for row in rows], _crossings(layers, rows)
    for sweep in range(_SWEEPS):
        going_down = sweep % 2 == 0
        near = layers.above if going_down else layers.below
        for layer in range(1, len(rows)) if going_down else range(len(rows) - 2, -1, -1):
            _sort(rows[layer], near, _places(rows[layer - 1] if going_down else rows[layer + 1]))
        found = _crossings(layers, rows)
        if found < fewest:
            best, fewest = [list(row) for row in rows], found
    layers.rows = best


def _depth_first(layers: _Layers, rows: list[list[int]]) -> None:
    """A first order in which what belongs together stands together."""
    seen: dict[int, int] = {}
    for root in [n for row in rows for n in row]:
        stack = [root]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen[node] = len(seen)
                stack.extend(reversed(layers.below.get(node, ())))
    for row in rows:
        row.sort(key=seen.__getitem__)


def _places(row: Sequence[int]) -> dict[int, int]:
    return {node: place for place, node in enumerate(row)}


def _sort(row: list[int], near: Mapping[int, Sequence[int]], places: Mapping[int, int]) -> None:
    own = _places(row)

    def key(node: int) -> tuple[float, int]:
        found = [places[other] for other in near.get(node, ()) if other in places]
        return (sum(found) / len(found) if found else own[node], own[node])

    row.sort(key=key)


def _crossings(layers: _Layers, rows: Sequence[Sequence[int]]) -> int:
    total = 0
    for upper, lower in pairwise(rows):
        places = _places(lower)
        ends = [sorted(places[other] for other in layers.below.get(node, ())) for node in upper]
        seen: list[int] = []
        for some in ends:
            total += sum(1 for end in some for other in seen if other > end)
            seen.extend(some)
    return total


def _columns(layers: _Layers, widths: Sequence[float]) -> list[float]:
    """The x of each box: as near to its neighbours as the others of its layer allow."""
    xs = [0.0] * len(layers.of)
    for row in layers.rows:
        at = 0.0
        for node in row:
            xs[node] = at + widths[node] / 2
            at += widths[node] + GAP_X
        for node in row:
            xs[node] -= at / 2
    for sweep in range(_SWEEPS + 6):
        rows = layers.rows if sweep % 2 == 0 else layers.rows[::-1]
        near = layers.above if sweep % 2 == 0 else layers.below
        if sweep >= _SWEEPS:  # at last by both sides, from below: what has one way up and one way down stands straight
            near = {node: [*layers.above.get(node, ()), *layers.below.get(node, ())] for row in rows for node in row}
        for row in rows:
            pulling = [_pulling(layers, node, near) for node in row]
            wanted = [
                _middle([xs[other] for other in pulls], xs[node]) for node, pulls in zip(row, pulling, strict=True)
            ]
            weights = [_weight(layers, node, pulls) for node, pulls in zip(row, pulling, strict=True)]
            for node, x in zip(row, _placed(wanted, weights, [widths[node] for node in row]), strict=True):
                xs[node] = x
    return xs


def _pulling(layers: _Layers, node: int, near: Mapping[int, Sequence[int]]) -> Sequence[int]:
    """The neighbours that a box or a point wants to stand by; arrows that lead back up do not pull at boxes."""
    found = near.get(node, ())
    if node >= layers.real or not layers.loops:
        return found
    return [other for other in found if other not in layers.loops] or found


def _middle(found: Sequence[float], otherwise: float) -> float:
    if not found:
        return otherwise
    return (median_low(found) + median_high(found)) / 2


def _weight(layers: _Layers, node: int, near: Sequence[int]) -> float:
    """How much a box insists on its place: most where a long arrow would bend, little where one leads back up."""
    if node in layers.loops:
        return 0.5
    if node >= layers.real:
        return 8.0 if any(other >= layers.real for other in near) else 4.0
    return 1.0 if near else 0.2


def _placed(wanted: Sequence[float], weights: Sequence[float], widths: Sequence[float]) -> list[float]:
    """The places nearest to the wanted ones, by weighted squares, that keep order and distance."""
    offsets, at = [0.0], 0.0
    for left, right in pairwise(widths):
        at += (left + right) / 2 + GAP_X
        offsets.append(at)
    blocks: list[tuple[float, float, int]] = []  # middle, weight, how many; neighbours that would overlap are one block
    for place, weight, offset in zip(wanted, weights, offsets, strict=False):
        middle, count = place - offset, 1
        while blocks and blocks[-1][0] > middle:
            other, other_weight, other_count = blocks.pop()
            middle = (middle * weight + other * other_weight) / (weight + other_weight)
            weight, count = weight + other_weight, count + other_count
        blocks.append((middle, weight, count))
    flat = [middle for middle, _, count in blocks for _ in range(count)]
    return [middle + offset for middle, offset in zip(flat, offsets, strict=False)]


def _lines(layers: _Layers, sizes: Sequence[tuple[float, float]]) -> tuple[list[float], list[float], float]:
    """The y of each layer, its height, and the height of all."""
    ys: list[float] = []
    heights: list[float] = []
    at = 0.0
    for row in layers.rows:
        tallest = max((sizes[node][1] for node in row if node < layers.real), default=0.0)
        ys.append(at + tallest / 2)
        heights.append(tallest)
        at += tallest + GAP_Y
    return ys, heights, max(0.0, at - GAP_Y)


def _route(
    layers: _Layers,
    edge: Edge,
    points: Sequence[Point],
    sizes: Sequence[tuple[float, float]],
    heights: Sequence[float],
) -> list[Point]:
    """The points of an arrow; it leaves and enters its boxes at top or bottom, side by side with their others."""
    chain = layers.chains[edge]
    down = layers.of[chain[0]] < layers.of[chain[-1]]
    begin = _end(layers, chain[0], chain[1], points, sizes[chain[0]], down=down)
    end = _end(layers, chain[-1], chain[-2], points, sizes[chain[-1]], down=not down)
    inner = [points[node] for node in chain[1:-1]]
    route = [begin]
    for node, before, (x, y), after in zip(chain[1:-1], [begin, *inner], inner, [*inner[1:], end], strict=False):
        # It leans the way that it goes, but not so far that it would touch what stands beside it in this layer.
        lean = max(-_STEEP, min(_STEEP, (after[0] - before[0]) / (after[1] - before[1])))
        half = (max(2.0, heights[layers.of[node]]) / 2) * (1 if down else -1)
        route += [(x - lean * half, y - half), (x + lean * half, y + half)]
    return [*route, end]


def _end(
    layers: _Layers, node: int, other: int, points: Sequence[Point], size: tuple[float, float], *, down: bool
) -> Point:
    near = layers.below if down else layers.above
    others = sorted(near[node], key=lambda neighbour: (points[neighbour][0], neighbour))
    x = points[node][0] - size[0] / 2 + _port(size[0], others.index(other) + 1, len(others))
    return x, points[node][1] + (size[1] / 2 if down else -size[1] / 2)


def _port(width: float, share: int, count: int) -> float:
    """Where on a side of a box the n-th of its arrows is: spread about the middle."""
    spread = min(18.0, width * 0.8 / max(1, count))
    return width / 2 + (share - (count + 1) / 2) * spread
