"""The layout of stored points, the same in Qdrant's server and in its embedded engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DENSE = "dense"
SPARSE = "sparse"
SOURCE = "source"
POSITION = "position"

RRF_K = 60
"""How flat ranks count in fused search: 60, the value of the paper that proposed it."""


def fused_depth(limit: int) -> int:
    """How many results of each kind go into fused search, so that a good second of both can win."""
    return max(4 * limit, 20)


@dataclass(frozen=True)
class Point:
    """A chunk ready to be stored: `sparse` maps a term's place to its weight."""

    id: str
    dense: Sequence[float]
    sparse: dict[int, float]
    payload: dict[str, Any]


@dataclass(frozen=True)
class Hit:
    """A stored point that a search found."""

    id: str
    score: float
    payload: dict[str, Any]
