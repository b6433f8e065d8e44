"""Buffers of collected events, complete when they hold a batch: so many events of each of some types."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from everstep.engine.messages import Envelope

Expected = tuple[tuple[str, int], ...]


@dataclass(slots=True)
class Buffer:
    """The events of one buffer, by type; `lacking` counts the types that have not enough for a batch."""

    expected: Expected = ()
    needs: dict[str, int] = field(default_factory=dict[str, int])
    events: dict[str, deque[Envelope]] = field(default_factory=dict[str, deque[Envelope]])
    lacking: int = 0

    def expect(self, expected: Expected) -> None:
        """From now on these types, in this order, make a batch."""
        if expected == self.expected:
            return
        self.expected, self.needs = expected, {}
        for name, count in expected:
            self.needs[name] = self.needs.get(name, 0) + count
        self._count()

    def add(self, event: Envelope) -> list[Envelope] | None:
        """Keep an event; gives the batch if it is complete with it. What is more stays for the next batch."""
        kept = self.events.setdefault(event.type, deque())
        kept.append(event)
        if len(kept) == self.needs.get(event.type):
            self.lacking -= 1
        if self.lacking:
            return None
        batch = [self.events[name].popleft() for name, count in self.expected for _ in range(count)]
        self._count()
        return batch

    @property
    def empty(self) -> bool:
        """Whether nothing is kept."""
        return not any(self.events.values())

    def _count(self) -> None:
        self.lacking = sum(len(self.events.get(name, ())) < count for name, count in self.needs.items())

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        events = [event.to_json() for name in sorted(self.events) for event in self.events[name]]
        return {"expected": [list(run) for run in self.expected], "events": events}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Buffer:
        """The inverse of `to_json`."""
        buffer = cls()
        for item in data["events"]:
            event = Envelope.from_json(item)
            buffer.events.setdefault(event.type, deque()).append(event)
        buffer.expect(tuple((name, count) for name, count in data["expected"]))
        return buffer
