"""Streams: the scopes that list returns open, how they nest, and the joins that close with them.

A stream lives while anything in it is open: an invocation, a request to a human, a stream nested in it. Stream 0 is
the run. What keeps the events of one stream apart from those of another stands here too: what its joins have so far,
and what waits for the rest of a batch in steps with several parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from everstep.engine.messages import Envelope
from everstep.engine.scheduling import Recoveries
from everstep.engine.slots import Slots

ROOT = 0


@dataclass(slots=True)
class Batch:
    """What one join has so far, and the lineage of it all."""

    events: list[Envelope]
    recoveries: Recoveries


@dataclass(slots=True)
class Stream:
    """One scope. `feeds` are the joins that its members reach; `open` counts what keeps it alive.

    `nearest` tells for a join the nearest stream, this one or one around it, that feeds it; it follows from the rest.
    `fired` are the joins that take no more members here, `inner` those that streams nested in this one have fired.
    """

    id: int
    parent: int | None
    feeds: tuple[str, ...]
    recoveries: Recoveries = field(default_factory=dict[str, int])
    open: int = 0
    collected: dict[str, Batch] = field(default_factory=dict[str, Batch])
    fired: list[str] = field(default_factory=list[str])
    inner: list[str] = field(default_factory=list[str])
    slots: dict[str, Slots] = field(default_factory=dict[str, Slots])
    nearest: Mapping[str, int] = field(default_factory=dict[str, int])

    def within(self, parent: Stream) -> Stream:
        """This stream, told what it is nested in."""
        self.nearest = {**parent.nearest, **dict.fromkeys(self.feeds, self.id)} if self.feeds else parent.nearest
        return self

    def collect(self, join: str, event: Envelope, recoveries: Recoveries) -> int:
        """Keep a member for a join; gives how many it has."""
        batch = self.collected.get(join)
        if batch is None:
            batch = self.collected[join] = Batch([], dict(self.recoveries))
        batch.events.append(event)
        for handler, count in recoveries.items():
            batch.recoveries[handler] = max(count, batch.recoveries.get(handler, 0))
        return len(batch.events)

    def take(self, join: str) -> Batch:
        """All that was kept for a join, which may be nothing."""
        return self.collected.pop(join, None) or Batch([], dict(self.recoveries))

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form; joins in the order in which they got their first member."""
        out: dict[str, Any] = {
            "id": self.id,
            "parent": self.parent,
            "feeds": list(self.feeds),
            "open": self.open,
            "collected": [
                [join, [event.to_json() for event in batch.events], dict(batch.recoveries)]
                for join, batch in self.collected.items()
            ],
            "fired": list(self.fired),
            "recoveries": dict(self.recoveries),
        }
        if self.inner:
            out["inner"] = list(self.inner)
        if self.slots:
            out["slots"] = [[step, slots.to_json()] for step, slots in self.slots.items()]
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Stream:
        """The inverse of `to_json`."""
        return cls(
            data["id"],
            data["parent"],
            tuple(data["feeds"]),
            dict(data["recoveries"]),
            data["open"],
            {
                join: Batch([Envelope.from_json(event) for event in events], dict(recoveries))
                for join, events, recoveries in data["collected"]
            },
            list(data["fired"]),
            list(data.get("inner", ())),
            {step: Slots.from_json(slots) for step, slots in data.get("slots", ())},
        )
