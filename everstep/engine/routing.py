"""Which steps take an event: by exact type, or by ancestry where a step opted into subclasses. Needs no classes."""

from __future__ import annotations

from everstep.engine.messages import Envelope
from everstep.flow.definition import FlowDefinition, StepDefinition


class Router:
    """Routes envelopes for one definition, in the order in which the flow defines its steps."""

    def __init__(self, definition: FlowDefinition) -> None:
        self._definition = definition
        self.flow = definition.name
        self._steps = tuple(step for step in definition.steps.values() if step.role == "step")
        self._stops = {"StopEvent", *definition.stops} | {
            name for name, event in definition.events.items() if "StopEvent" in event.ancestors
        }
        self.stop = definition.stops[0] if definition.stops else "StopEvent"
        self._known: dict[tuple[str, tuple[str, ...]], tuple[StepDefinition, ...]] = {}
        self._parameters: dict[tuple[str, str, tuple[str, ...]], tuple[int, ...]] = {}

    def ancestors(self, event: Envelope) -> tuple[str, ...]:
        """The base types of an event, from the definition or, for a type it does not name, from the envelope."""
        known = self._definition.events.get(event.type)
        return known.ancestors if known is not None else event.ancestors

    def is_a(self, event: Envelope, base: str) -> bool:
        """Whether the event is of type `base` or of one that descends from it."""
        return event.type == base or base in self.ancestors(event)

    def is_stop(self, event: Envelope) -> bool:
        """Whether this event ends the run."""
        return event.type in self._stops or (
            event.type not in self._definition.events and "StopEvent" in event.ancestors
        )

    def steps_for(self, event: Envelope, target: str | None = None) -> tuple[StepDefinition, ...]:
        """The steps that take this event; with a target, that step if it does."""
        key = (event.type, self.ancestors(event))
        steps = self._known.get(key)
        if steps is None:
            steps = self._known[key] = tuple(step for step in self._steps if self._takes(step, *key))
        return steps if target is None else tuple(step for step in steps if step.name == target)

    def parameters_for(self, step: StepDefinition, event: Envelope) -> tuple[int, ...]:
        """Which of a step's several parameters take this event, by their places."""
        key = (step.name, event.type, self.ancestors(event))
        places = self._parameters.get(key)
        if places is None:
            names = (event.type, *key[2]) if step.accept_event_subclasses else (event.type,)
            places = self._parameters[key] = tuple(
                place
                for place, parameter in enumerate(step.parameters)
                if any(name in parameter.accepts for name in names)
            )
        return places

    def _takes(self, step: StepDefinition, type_name: str, ancestors: tuple[str, ...]) -> bool:
        if type_name in step.accepts:
            return True
        return step.accept_event_subclasses and any(base in step.accepts for base in ancestors)
