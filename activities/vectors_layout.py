"""The layout of stored points, the same in Qdrant's server and in its embedded engine.

Rule: a change of what is stored gets a new LAYOUT. Points of an older one stay readable, count as changed when their
folder is indexed again, and are then replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

LAYOUT = 2
"""1: source, position, text, heading, lines. 2: also layout, recipe, type, page, and the folders above the source."""

DENSE = "dense"
SPARSE = "sparse"
SOURCE = "source"
POSITION = "position"
UNDER = "under"
TYPE = "type"
LAYOUT_FIELD = "layout"

INDEXED_FIELDS: dict[str, Literal["keyword", "integer"]] = {
    SOURCE: "keyword",
    POSITION: "integer",
    UNDER: "keyword",
    TYPE: "keyword",
    LAYOUT_FIELD: "integer",
}
"""The fields of payloads that filters use, each with an index."""

HEAD_FIELDS = [SOURCE, "content_hash", "recipe", LAYOUT_FIELD]
"""What a source's first point tells of the source."""

RRF_K = 60
"""How flat ranks count in fused search: 60, the value of the paper that proposed it."""


def fused_depth(limit: int) -> int:
    """How many results of each kind go into fused search, so that a good second of both can win."""
    return max(4 * limit, 20)


_SHOWN = {UNDER: "folder", TYPE: "type"}


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


@dataclass(frozen=True)
class Where:
    """Which points a search may find: those below one of these places, and of one of these types; empty or `.`: any.

    Example:
        Where(under=("docs/decisions", "README.md"), types=("markdown",))
    """

    under: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Where:
        """As a question says; one that an older version took down has no word on it."""
        return cls(tuple(asked.get("folders", ())), tuple(asked.get("types", ())))

    def __bool__(self) -> bool:
        return bool(self.fields)

    def __str__(self) -> str:
        """The folders and types, for people."""
        return " and ".join(f"{_SHOWN[name]} {', '.join(values)}" for name, values in self.fields.items())

    @property
    def fields(self) -> dict[str, list[str]]:
        """The fields that a point must have one of these values in."""
        places = [str(PurePosixPath(place)) for place in self.under]
        given = {UNDER: [] if "." in places else places, TYPE: list(self.types)}
        return {name: values for name, values in given.items() if values}


def places_above(source: str) -> list[str]:
    """A source and the folders that it is in: `docs`, `docs/decisions`, `docs/decisions/locks.md`."""
    path = PurePosixPath(source)
    return [str(place) for place in [*reversed(path.parents), path] if str(place) != "."]
