"""The events kept for a step with several parameters, until there is one for each.

Adding an event costs as much as the step has parameters, however many events are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from everstep.engine.messages import Envelope
from everstep.engine.scheduling import Recoveries

Batch = tuple[list[Envelope], Recoveries]
"""One event for each parameter, in the order of the parameters, and the lineage of them all."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An event that waits for the rest of its batch; `place` is its number in order of arrival."""

    place: int
    event: Envelope
    recoveries: Recoveries


@dataclass(slots=True)
class Slots:
    """What one step has in one scope. `width` is how many parameters it has.

    Events are kept by type, the oldest first; `fits` tells for each of these types which parameters take it.
    """

    width: int
    fits: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    kept: dict[str, deque[Kept]] = field(default_factory=dict[str, deque[Kept]])
    arrived: int = 0

    def add(self, event: Envelope, fits: tuple[int, ...], recoveries: Recoveries) -> Batch | None:
        """Keep an event that these parameters take; gives the batch that it completes."""
        queue = self.kept.setdefault(event.type, deque())
        self.fits[event.type] = fits
        queue.append(Kept(self.arrived, event, recoveries))
        self.arrived += 1
        if len(queue) > len(fits):  # there was one of its type for each parameter already, and something else lacked
            return None
        filled = self._fill()
        return self._take(filled) if len(filled) == self.width else None

    def lacking(self) -> list[int]:
        """The parameters for which there is no event."""
        filled = self._fill()
        return [slot for slot in range(self.width) if slot not in filled]

    def left(self) -> list[Envelope]:
        """All that is kept, in order of arrival."""
        return [one.event for one in self._in_order()]

    def counts(self) -> dict[str, int]:
        """How many events of each type are kept; first the type that has waited longest."""
        queues = sorted(self.kept.items(), key=lambda item: item[1][0].place)
        return {kind: len(queue) for kind, queue in queues}

    @property
    def empty(self) -> bool:
        """Whether nothing is kept."""
        return not self.kept

    def _in_order(self) -> list[Kept]:
        return sorted((one for queue in self.kept.values() for one in queue), key=lambda one: one.place)

    def _fill(self) -> dict[int, str]:
        """The type of the event for each parameter, for as many as can be had at one time."""
        choices: list[list[int]] = [[] for _ in range(self.width)]
        kinds: dict[int, str] = {}
        for kind, fits in self.fits.items():
            for one in islice(self.kept[kind], len(fits)):  # no batch takes more of a type
                kinds[one.place] = kind
                for slot in fits:
                    choices[slot].append(one.place)
        return {slot: kinds[place] for slot, place in _matched([sorted(places) for places in choices]).items()}

    def _take(self, types: Mapping[int, str]) -> Batch:
        events: list[Envelope] = []
        merged: Recoveries = {}
        for slot in range(self.width):
            kind = types[slot]
            one = self.kept[kind].popleft()
            if not self.kept[kind]:
                del self.kept[kind], self.fits[kind]
            events.append(one.event)
            for handler, count in one.recoveries.items():
                merged[handler] = max(count, merged.get(handler, 0))
        return events, merged

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form, in order of arrival."""
        kept = [
            [one.event.to_json(), list(self.fits[one.event.type]), dict(one.recoveries)] for one in self._in_order()
        ]
        return {"width": self.width, "kept": kept}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Slots:
        """The inverse of `to_json`."""
        slots = cls(data["width"])
        for item, fits, recoveries in data["kept"]:
            event = Envelope.from_json(item)
            slots.fits[event.type] = tuple(fits)
            slots.kept.setdefault(event.type, deque()).append(Kept(slots.arrived, event, dict(recoveries)))
            slots.arrived += 1
        return slots


def _matched(choices: Sequence[Sequence[int]]) -> dict[int, int]:
    """For each parameter one of its choices, no two the same, for as many parameters as can be: the first that is free;
    where none is, another parameter that can do with another choice makes room."""
    found: dict[int, int] = {}
    holder: dict[int, int] = {}

    def settle(slot: int, tried: set[int]) -> bool:
        for place in sorted(
            choices[slot], key=holder.__contains__
        ):  # stable: free ones first, each in order of arrival
            if place in tried:
                continue
            tried.add(place)
            if place not in holder or settle(holder[place], tried):
                found[slot], holder[place] = place, slot
                return True
        return False

    for slot in range(len(choices)):
        settle(slot, set())
    return found
