"""Invocations that wait for events, found by what they wait for; and events that came before anybody waited for them.

Finding takes the time of the few ways in which waits on one type are written, however many wait.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from everstep.engine.messages import Envelope, Wait
from everstep.engine.scheduling import Invocation

KEPT = 1000
"""How many events of one type are kept for later waits; when one more comes the oldest counts as unhandled."""


@dataclass(slots=True)
class Waiter:
    """A suspended invocation, what it waits for, and the request to a person that it has opened, if it has.

    `subclasses`: events of types that descend from the one waited for are taken too.
    """

    invocation: Invocation
    wait: Wait
    since: float
    due_at: float | None = None
    subclasses: bool = False
    request: str | None = None

    @property
    def id(self) -> int:
        """The number of the invocation."""
        return self.invocation.id

    def meets(self, event: Envelope) -> bool:
        """Whether the event's top-level fields are as required."""
        data = event.data
        return all(
            name in data and _value(data[name]) == _value(value) for name, value in self.wait.requirements.items()
        )

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {
            "invocation": self.invocation.to_json(),
            "wait": self.wait.to_json(),
            "since": self.since,
            "due_at": self.due_at,
            "subclasses": self.subclasses,
            "request": self.request,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Waiter:
        """The inverse of `to_json`."""
        return cls(
            Invocation.from_json(data["invocation"]),
            Wait.from_json(data["wait"]),
            data["since"],
            data["due_at"],
            data["subclasses"],
            data["request"],
        )


class Waiters:
    """All suspended invocations of a run, the longest suspended first.

    They are grouped by what they wait for: type and whether subclasses do, required fields, required values.
    """

    def __init__(self) -> None:
        self.all: dict[int, Waiter] = {}
        self._place: dict[int, int] = {}
        self._next = 0
        self._groups: dict[tuple[str, bool], dict[tuple[str, ...], dict[str, dict[int, None]]]] = {}

    def __len__(self) -> int:
        return len(self.all)

    def add(self, waiter: Waiter) -> None:
        """One more waits."""
        self.all[waiter.id] = waiter
        self._place[waiter.id] = self._next
        self._next += 1
        names, values = _asked(waiter.wait.requirements)
        ways = self._groups.setdefault((waiter.wait.type, waiter.subclasses), {})
        ways.setdefault(names, {}).setdefault(values, {})[waiter.id] = None

    def remove(self, number: int) -> Waiter | None:
        """It waits no longer."""
        waiter = self.all.pop(number, None)
        if waiter is None:
            return None
        del self._place[number]
        key = waiter.wait.type, waiter.subclasses
        names, values = _asked(waiter.wait.requirements)
        ways = self._groups[key]
        del ways[names][values][number]
        if not ways[names][values]:
            del ways[names][values]
        if not ways[names]:
            del ways[names]
        if not ways:
            del self._groups[key]
        return waiter

    def waits_for(self, type_name: str) -> bool:
        """Whether somebody waits for events of exactly this type, whatever else is required."""
        return (type_name, False) in self._groups or (type_name, True) in self._groups

    def find(self, event: Envelope, ancestors: Iterable[str], step: str | None) -> Waiter | None:
        """The one that has waited longest for such an event; with a step, only of that step."""
        keys = [(event.type, False), *((name, True) for name in (event.type, *ancestors))]
        found: list[int] = []
        for key in keys:
            for names, waiting in self._groups.get(key, {}).items():
                values = _present(event.data, names)
                candidates = waiting.get(values, {}) if values is not None else {}
                of_step = (one for one in candidates if step is None or self.all[one].invocation.step == step)
                found += islice(of_step, 1)
        return self.all[min(found, key=self._place.__getitem__)] if found else None

    def clear(self) -> None:
        """Nobody waits."""
        self.all.clear()
        self._place.clear()
        self._groups.clear()


@dataclass(slots=True)
class KeptEvents:
    """Events that nobody took, for those who will wait for them; each with the step that it was for, if for one."""

    by_type: dict[str, deque[tuple[Envelope, str | None]]] = field(
        default_factory=dict[str, deque[tuple[Envelope, str | None]]]
    )

    def add(self, event: Envelope, step: str | None) -> tuple[Envelope, str | None] | None:
        """Keep one more; gives the one that there is no more room for."""
        kept = self.by_type.setdefault(event.type, deque())
        kept.append((event, step))
        return kept.popleft() if len(kept) > KEPT else None

    def take(self, waiter: Waiter, ancestors: Mapping[str, tuple[str, ...]]) -> Envelope | None:
        """The oldest event that somebody now waits for. `ancestors` are those of the types that are kept."""
        wanted = waiter.wait.type
        types = [name for name in self.by_type if name == wanted or (waiter.subclasses and wanted in ancestors[name])]
        for name in types:
            kept = self.by_type[name]
            for place, (event, step) in enumerate(kept):
                if step in (None, waiter.invocation.step) and waiter.meets(event):
                    del kept[place]
                    if not kept:
                        del self.by_type[name]
                    return event
        return None

    def to_json(self) -> list[Any]:
        """The plain JSON form, in order."""
        return [[event.to_json(), step] for kept in self.by_type.values() for event, step in kept]

    @classmethod
    def from_json(cls, data: Iterable[Any]) -> KeptEvents:
        """The inverse of `to_json`."""
        kept = cls()
        for event, step in data:
            kept.add(Envelope.from_json(event), step)
        return kept


def _asked(requirements: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    names = tuple(sorted(requirements))
    return names, _text([requirements[name] for name in names])


def _present(data: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The values that an event has in these fields, as one text; None if it lacks one."""
    if not all(name in data for name in names):
        return None
    return _text([data[name] for name in names])


def _text(values: list[Any]) -> str:
    return json.dumps([_value(value) for value in values], sort_keys=True)


def _value(value: Any) -> Any:
    """Numbers that are equal are written in one way."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
