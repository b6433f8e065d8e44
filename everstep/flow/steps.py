"""The steps of a flow's class, and the event types that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from everstep import events as library_events
from everstep.errors import WorkflowValidationError
from everstep.event_base import Event, event_from_data
from everstep.events import InputRequiredEvent, UnresolvedEvent
from everstep.flow.state import state_type_of
from everstep.flow.waiting import waiting_steps
from everstep.step_spec import StepMark, StepSpec, step_mark

ADDED_STEPS = "__everstep_added_steps__"
"""The attribute of a flow's class that holds the functions added to it from outside."""

LIBRARY_EVENTS: dict[str, type[Event]] = {
    name: value
    for name in library_events.__all__
    if isinstance(value := getattr(library_events, name), type) and issubclass(value, Event)
}
"""The event types that everstep brings; their names are taken."""


def step_specs(cls: type) -> dict[str, StepSpec]:
    """The steps of a flow, in the order in which they are written: those of base classes first.

    A step that a subclass writes again stands where the first one stood; one that it sets to None is gone.

    Raises:
        WorkflowValidationError: an annotation cannot be resolved, or a step is a static or class method.
    """
    return {name: mark.spec() for name, mark in step_marks(cls).items()}


def former_steps(cls: type) -> dict[str, StepSpec]:
    """The steps of a flow by the names that they had in earlier versions; runs that began with those call them so.

    Raises:
        WorkflowValidationError: such a name is that of a step, or two steps claim it.
    """
    specs = step_specs(cls)
    former: dict[str, StepSpec] = {}
    for spec in specs.values():
        for name in spec.options.formerly:
            taken = name if name in specs else former[name].function.__name__ if name in former else None
            if taken is not None:
                raise WorkflowValidationError(
                    f"Step {spec.name!r} of {cls.__name__} was formerly {name!r}, it says, and so is step {taken!r}: "
                    "a name leads to one step; take it from the formerly of one, or rename the other."
                )
            former[name] = replace(spec, name=name)
    return former


def step_marks(cls: type) -> dict[str, StepMark]:
    """The marks of a flow's steps, by name; see `step_specs`."""
    marks: dict[str, StepMark] = {}
    for base in reversed(cls.__mro__):
        for name, value in _members(base):
            if _wraps_a_step(value):
                raise WorkflowValidationError(
                    f"Step {name!r} of {cls.__name__} is no method: remove the static or class method decorator."
                )
            mark = step_mark(value)
            if mark is not None:
                marks[name] = mark
            else:
                marks.pop(name, None)
    return marks


def _wraps_a_step(value: Any) -> bool:
    return isinstance(value, staticmethod | classmethod) and step_mark(cast("Any", value).__func__) is not None


def _members(base: type) -> Iterator[tuple[str, object]]:
    yield from list(vars(base).items())
    yield from vars(base).get(ADDED_STEPS, {}).items()


class FlowTypes:
    """Finds the class of an event by its name, among those that a flow may see. Imports nothing.

    These are the types that its steps name (those that may wait: in their code too), the answers to its questions,
    everstep's own, and subclasses of the first that are loaded. Of several loaded subclasses with one name, the one in
    the flow's module is meant; else none is.

    `state` is the type of the flow's state, if its steps declare one.

    Example: `FlowTypes(MyFlow).resolve("Draft")`
    """

    def __init__(self, cls: type) -> None:
        self.flow = cls.__name__
        self._module = cls.__module__
        self.declared: dict[str, type[Event]] = {}
        specs = step_specs(cls)
        self.state = state_type_of(self.flow, specs.values())
        for kind in declared_types(specs.values()):
            known = self.declared.setdefault(kind.__name__, kind)
            if known is not kind:
                raise WorkflowValidationError(
                    f"Flow {self.flow} uses two event classes named {kind.__name__!r} ({_place(known)} and "
                    f"{_place(kind)}): names are what tells events apart on the wire; rename one of them."
                )
            taken = LIBRARY_EVENTS.get(kind.__name__)
            if taken is not None and taken is not kind:
                raise WorkflowValidationError(
                    f"Flow {self.flow} uses an event class {_place(kind)}, and everstep has one of this name: "
                    "rename it."
                )
        named = [kind for kinds in waiting_steps(cls, specs).values() for kind in kinds]
        for kind in named:
            if kind.__name__ not in LIBRARY_EVENTS:
                self.declared.setdefault(kind.__name__, kind)
        self._found: dict[str, type[Event]] = {**LIBRARY_EVENTS, **self.declared}

    def resolve(self, name: str) -> type[Event] | None:
        """The class of this name, or None."""
        found = self._found.get(name)
        if found is None:
            found = self._loaded_subclass(name)
            if found is not None:
                self._found[name] = found
        return found

    def shown(self, name: str, data: Mapping[str, Any]) -> Event:
        """An event of a run's stream, for whoever reads it.

        A step may publish any event, also of a type that no step takes or returns; it is built if its class is loaded
        here, by the same rule as a subclass. Else it comes as an `UnresolvedEvent`. Nothing of this reaches a step.
        """
        cls = self.waited(name)
        if cls is None:
            return event_from_data(UnresolvedEvent, data).named(name)
        return event_from_data(cls, data, self.resolve)

    def waited(self, name: str) -> type[Event] | None:
        """The class of an event that a step waits for by this name, wherever it is defined; or None."""
        return self.resolve(name) or self._among(_descendants(Event), name)

    def names(self) -> list[str]:
        """The names of the types that the flow's steps name."""
        return list(self.declared)

    def _loaded_subclass(self, name: str) -> type[Event] | None:
        return self._among((kind for root in self.declared.values() for kind in _descendants(root)), name)

    def _among(self, candidates: Iterable[type[Event]], name: str) -> type[Event] | None:
        named = list(dict.fromkeys(kind for kind in candidates if kind.__name__ == name))
        near = [kind for kind in named if kind.__module__ == self._module]
        for few in (named, near):
            if len(few) == 1:
                return few[0]
        return None


def declared_types(specs: Iterable[StepSpec]) -> list[type[Event]]:
    """The event types that steps name, with the types that answer the questions among them; each once, in order."""
    found: dict[type[Event], None] = {}
    for spec in specs:
        found.update(dict.fromkeys((*spec.accepts, *spec.returns, *spec.returns_list)))
    for kind in list(found):
        if issubclass(kind, InputRequiredEvent) and kind.response_event is not None:
            found[kind.response_event] = None
    return list(found)


def _descendants(root: type[Event]) -> Iterator[type[Event]]:
    for child in root.__subclasses__():
        yield child
        yield from _descendants(child)


def _place(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
