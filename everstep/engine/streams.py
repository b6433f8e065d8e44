"""Streams: the scopes that list returns open, how they nest, and the joins that close with them.

A stream lives while anything in it is open: an invocation, a request to a human, a stream nested in it. Stream 0 is
the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from everstep.engine.messages import Envelope
from everstep.engine.scheduling import Recoveries

ROOT = 0


@dataclass(slots=True)
class Stream:
    """One scope. `feeds` are the joins that its members reach; `open` counts what keeps it alive."""

    id: int
    parent: int | None
    feeds: tuple[str, ...]
    open: int = 0
    collected: dict[str, list[Envelope]] = field(default_factory=dict[str, list[Envelope]])
    fired: list[str] = field(default_factory=list[str])
    recoveries: Recoveries = field(default_factory=dict[str, int])

    def collect(self, join: str, event: Envelope, recoveries: Recoveries) -> list[Envelope]:
        """Keep a member for a join; gives all that it has so far."""
        members = self.collected.setdefault(join, [])
        members.append(event)
        self.merge(recoveries)
        return members

    def merge(self, recoveries: Recoveries) -> None:
        """Take over the lineage of a member: its join continues the lineage of them all."""
        for handler, count in recoveries.items():
            if count > self.recoveries.get(handler, 0):
                self.recoveries[handler] = count

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form; joins in the order in which they got their first member."""
        return {
            "id": self.id,
            "parent": self.parent,
            "feeds": list(self.feeds),
            "open": self.open,
            "collected": [[join, [e.to_json() for e in events]] for join, events in self.collected.items()],
            "fired": self.fired,
            "recoveries": self.recoveries,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Stream:
        """The inverse of `to_json`."""
        return cls(
            data["id"],
            data["parent"],
            tuple(data["feeds"]),
            data["open"],
            {join: [Envelope.from_json(e) for e in events] for join, events in data["collected"]},
            list(data["fired"]),
            dict(data["recoveries"]),
        )
