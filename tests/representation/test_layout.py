"""Where boxes and arrows go."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from everstep.representation.layout import Edge, Layout, lay_out


def overlaps(layout: Layout, sizes: list[tuple[float, float]]) -> list[tuple[int, int]]:
    """The boxes that lie over one another."""
    return [
        (one, other)
        for one, other in combinations(range(len(sizes)), 2)
        if abs(layout.boxes[one][0] - layout.boxes[other][0]) < (sizes[one][0] + sizes[other][0]) / 2 - 0.01
        and abs(layout.boxes[one][1] - layout.boxes[other][1]) < (sizes[one][1] + sizes[other][1]) / 2 - 0.01
    ]


def some_graph(seed: int) -> tuple[list[tuple[float, float]], list[Edge]]:
    """A graph of up to 60 boxes, with loops."""
    chance = random.Random(seed)
    count = chance.randint(1, 60)
    sizes = [(chance.uniform(60, 240), chance.choice([34.0, 50.0])) for _ in range(count)]
    edges = [(chance.randrange(count), chance.randrange(count)) for _ in range(int(count * 1.4))]
    return sizes, edges


@pytest.mark.parametrize("seed", range(25))
def test_no_box_lies_over_another(seed: int) -> None:
    """And all are within the picture, each arrow from its box to its box."""
    sizes, edges = some_graph(seed)
    layout = lay_out(sizes, edges)
    assert overlaps(layout, sizes) == []
    for (x, y), (width, height) in zip(layout.boxes, sizes, strict=True):
        assert x - width / 2 >= -0.01
        assert x + width / 2 <= layout.width + 0.01
        assert y - height / 2 >= -0.01
        assert y + height / 2 <= layout.height + 0.01
    for (source, target), route in layout.routes.items():
        for end, box in ((route[0], source), (route[-1], target)):
            assert abs(end[0] - layout.boxes[box][0]) <= sizes[box][0] / 2
            assert abs(end[1] - layout.boxes[box][1]) == pytest.approx(sizes[box][1] / 2)


def test_a_chain_goes_straight_down() -> None:
    """One below the other, in order; a loop goes back up beside it, and bends it little."""
    sizes = [(100.0, 34.0)] * 40
    chain = [(n, n + 1) for n in range(39)]
    assert len({round(x) for x, _ in lay_out(sizes, chain).boxes}) == 1
    layout = lay_out(sizes, [*chain, (39, 0)], [0])
    assert [y for _, y in layout.boxes] == sorted(y for _, y in layout.boxes)
    assert all(abs(layout.boxes[n][0] - layout.boxes[n + 1][0]) < 40 for n in range(39))
    assert layout.routes[39, 0][0][1] > layout.routes[39, 0][-1][1]


def test_two_branches_do_not_cross() -> None:
    """The order of the boxes follows their neighbours, whatever their numbers."""
    layout = lay_out([(80.0, 34.0)] * 6, [(0, 1), (0, 2), (1, 4), (2, 3), (3, 5), (4, 5)])
    assert (layout.boxes[1][0] < layout.boxes[2][0]) == (layout.boxes[4][0] < layout.boxes[3][0])


def test_the_same_graph_is_laid_out_the_same() -> None:
    """So that a picture kept in a repository changes only with the flow."""
    sizes, edges = some_graph(7)
    assert lay_out(sizes, edges) == lay_out(sizes, edges)


def test_nothing_is_laid_out_as_nothing() -> None:
    """No boxes, no arrows."""
    assert lay_out([], []) == Layout(0, 0, [], {})
