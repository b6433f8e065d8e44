"""Which steps may wait, and the event types that they name: read from their code, without running it.

What a step waits for is known only when it does. But where the names of a step's code, and of the functions and methods
of the same package that it calls, show that it waits, events that come early are kept, and the types named there are
known to the flow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from everstep.event_base import Event
from everstep.step_spec import StepSpec

WAITING = "wait_for_event"


def waiting_steps(cls: type, specs: Mapping[str, StepSpec]) -> dict[str, tuple[type[Event], ...]]:
    """The steps of a flow that may wait, each with the event types that its code names."""
    found: dict[str, tuple[type[Event], ...]] = {}
    for name, spec in specs.items():
        if spec.context_parameter is None or not spec.is_async or spec.options.local:
            continue
        reader = _Reader(cls)
        reader.read(spec.function)
        if reader.waits:
            found[name] = tuple(reader.types)
    return found


class _Reader:
    """What the code of a step names, and that of the functions it leads to."""

    def __init__(self, cls: type) -> None:
        self._cls = cls
        self._package = cls.__module__.partition(".")[0]
        self._read: set[CodeType] = set()
        self.waits = False
        self.types: dict[type[Event], None] = {}

    def read(self, function: Any) -> None:
        if not isinstance(function, FunctionType) or function.__code__ in self._read:
            return
        self._read.add(function.__code__)
        names = set(_names(function.__code__))
        self.waits = self.waits or WAITING in names
        for value in [*self._values(function, names), *_enclosed(function)]:
            if isinstance(value, type) and issubclass(value, Event):
                self.types[value] = None
            elif isinstance(value, FunctionType) and value.__module__.partition(".")[0] == self._package:
                self.read(value)

    def _values(self, function: FunctionType, names: set[str]) -> Iterator[Any]:
        for name in sorted(names):
            value = function.__globals__.get(name)
            yield value
            if isinstance(value, ModuleType):
                yield from (vars(value).get(inner) for inner in sorted(names))
            yield getattr(self._cls, name, None)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _enclosed(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # the author's scope has yet to define it
            continue
