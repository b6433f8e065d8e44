"""Which joins a stream reaches: a walk over the types of a flow's steps.

A returned list opens a stream: a level of its own, below the one its step ran at. On a level are the members and all
that 1:1 steps make of them. A join takes its members from one level and goes on one level above: there it stands for
the whole stream below. What comes back from a stream can itself lead back into it, so the answer is a fixpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from everstep.flow.definition import EventDefinition, StepDefinition

Steps = Mapping[str, StepDefinition]
Events = Mapping[str, EventDefinition]


def accepts(step: StepDefinition, event: EventDefinition) -> bool:
    """Whether a step takes events of this type; subclasses only if it says so, and never a stop by way of a base."""
    if event.name in step.accepts:
        return True
    if not step.accept_event_subclasses or event.is_a("StopEvent"):
        return False
    return any(base in step.accepts for base in event.ancestors)


def slots_of(step: StepDefinition) -> list[StepDefinition]:
    """A step with several parameters, as if it had one of them only; each in turn."""
    return [replace(step, accepts=parameter.accepts, parameters=()) for parameter in step.parameters]


def filled(step: StepDefinition, kinds: Iterable[EventDefinition]) -> bool:
    """Whether events of these types can start a step with several parameters: one for each."""
    kinds = list(kinds)
    return all(any(accepts(slot, kind) for kind in kinds) for slot in slots_of(step))


def handler_of(steps: Steps, step: StepDefinition) -> StepDefinition | None:
    """The error handler that covers a step: one that names it, else the one that covers all; handlers have none."""
    if step.role == "catch_error":
        return None
    handlers = [each for each in steps.values() if each.role == "catch_error"]
    scoped = [each for each in handlers if each.for_steps is not None and step.name in each.for_steps]
    general = [each for each in handlers if each.for_steps is None]
    return next(iter([*scoped, *general]), None)


def stream_levels(steps: Steps, events: Events) -> dict[str, frozenset[str]]:
    """The event types on the level that each fan-out step opens, by the step's name."""
    return _Walk(steps, events).levels()


def top_level(steps: Steps, events: Events, outside: Iterable[str]) -> frozenset[str]:
    """The event types outside of all streams, where these come from outside of the flow."""
    walk = _Walk(steps, events)
    walk.levels()
    found = walk.level(outside)
    while not (joined := walk.from_joins(found)) <= found:
        found = walk.level(found | joined)
    return found


def feeds_by_step(steps: Steps, events: Events) -> dict[str, tuple[str, ...]]:
    """The joins that the streams of each fan-out step reach, by the step's name, in the order of the steps."""
    levels = stream_levels(steps, events)
    joins = [step for step in steps.values() if step.join]
    return {
        name: tuple(join.name for join in joins if any(accepts(join, events[kind]) for kind in level))
        for name, level in levels.items()
    }


class _Walk:
    def __init__(self, steps: Steps, events: Events) -> None:
        self.steps = steps
        self.events = events
        self.openers = [step for step in steps.values() if step.returns_list]
        self.joins = [step for step in steps.values() if step.join]
        self.takers = {
            name: [step for step in steps.values() if not step.join and accepts(step, event)]
            for name, event in events.items()
        }
        # What a stream brings back to the level that its step ran at; grows until nothing is added.
        self.surfaced: dict[str, frozenset[str]] = {step.name: frozenset() for step in self.openers}

    def levels(self) -> dict[str, frozenset[str]]:
        while True:
            levels = {step.name: self.level(step.returns_list) for step in self.openers}
            surfaced = {name: self.from_joins(level) for name, level in levels.items()}
            if surfaced == self.surfaced:
                return levels
            self.surfaced = surfaced

    def level(self, members: Iterable[str]) -> frozenset[str]:
        """What there is on a level with these members: they, and all that 1:1 steps make of them."""
        seen: set[str] = set()
        waiting = list(members)
        while waiting:
            kind = waiting.pop()
            if kind not in seen:
                seen.add(kind)
                waiting.extend(self.after(kind, seen))
        return frozenset(seen)

    def from_joins(self, level: frozenset[str]) -> frozenset[str]:
        reached = [join for join in self.joins if any(accepts(join, self.events[kind]) for kind in level)]
        return frozenset(kind for join in reached for kind in self.outputs(join))

    def after(self, kind: str, beside: Iterable[str]) -> Iterable[str]:
        """The types that may follow an event of this type, on its own level, where these are."""
        for step in self.takers.get(kind, ()):
            if not step.parameters or filled(step, (self.events[name] for name in beside)):
                yield from self.outputs(step)
        if self.events[kind].is_a("InputRequiredEvent"):
            # An answer goes on where the question was asked.
            response = self.events[kind].response
            if response is not None:
                yield response
            yield from (name for name in ("InputExpiredEvent",) if name in self.events)

    def outputs(self, step: StepDefinition) -> Iterable[str]:
        """The types that a step leaves on the level it runs at; its handler stands in for it."""
        yield from step.returns
        yield from self.surfaced.get(step.name, ())
        handler = handler_of(self.steps, step)
        if handler is not None:
            yield from handler.returns
            yield from self.surfaced.get(handler.name, ())
