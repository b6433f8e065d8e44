"""What is measured of a ranking and of an answer, as plain arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from evaluation.labelled import Spot

DEPTHS = (1, 3, 5, 10)
"""The k of recall@k."""


class Found(NamedTuple):
    """A passage that was found: lines of a file, both ends included."""

    path: str
    start_line: int
    end_line: int

    def holds(self, spot: Spot) -> bool:
        """Whether a label stands in it."""
        return self.path == spot.path and self.start_line <= spot.line <= self.end_line


def recall(found: Sequence[Found], spots: Sequence[Spot], depth: int) -> float:
    """The share of the labels that stand in the first `depth` passages, 0 to 1.

    Example:
        recall([Found("a.md", 1, 9)], [Spot("a.md", 3), Spot("b.md", 1)], 1) == 0.5
    """
    return sum(any(one.holds(spot) for one in found[:depth]) for spot in spots) / len(spots)


def reciprocal_rank(found: Sequence[Found], spots: Sequence[Spot]) -> float:
    """1 for a first passage that holds a label, 1/2 for the second, and so on; 0 where none does."""
    ranks = (rank for rank, one in enumerate(found, 1) if any(one.holds(spot) for spot in spots))
    return 1 / next(ranks, float("inf"))


def mean(values: Iterable[float]) -> float | None:
    """The arithmetic mean; None of nothing, which is neither good nor bad."""
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None
