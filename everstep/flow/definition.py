"""The flow definition: everything the engine needs to know of a flow, as plain frozen data.

It is read once, at the start of a run, and recorded in the run's history, so its JSON form is a wire format: fields are
only ever added, with a default that means what older definitions meant. Standard library only; the engine imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

PROTOCOL = 3
"""The engine protocol this library writes into new definitions.

Runs keep to the protocol of their definition; those from `MOVES_UP_FROM` on move up when they continue as new.

2: steps with several event parameters; a join that has taken all it wants is the same outside of streams as in one; an
outer stream does not fire a join, empty, that inner ones have fired; a step that takes subclasses of what other steps
make does not wait for anything from outside by that.

3: an event from outside whose sender does not wait for a verdict goes to its step at once, where one alone takes it:
the step judges it; how large a step's input is does not hang on whether the run is traced; a run that leaves for its
next execution takes until then whatever comes, an end or a cancellation too, waits for senders, and does not leave by a
mere message; events shown by signal count for when it leaves; past the hard limits steps have a drain's time before
they are moved; messages are judged so many at a time as one payload holds, and one that no payload holds is refused; an
answer that is sent to one step is an answer too, and closes a request; the state is bounded by what one payload
holds.
"""

MOVES_UP_FROM = 2
"""Runs of older protocols keep theirs: 2 takes some for stuck that 1 lets wait, and would fail them."""

Role = Literal["step", "catch_error"]

_MADE_BY_ENGINE = frozenset(("InputExpiredEvent", "StepFailedEvent"))


@dataclass(frozen=True, slots=True)
class EventDefinition:
    """One event type of a flow.

    `ancestors` are the names of its base classes within the event tree, nearest first (``Event`` last). `schema` is the
    JSON Schema of its data. `response` names the event type that answers it, for an `InputRequiredEvent`.
    """

    name: str
    ancestors: tuple[str, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])
    response: str | None = None

    def is_a(self, base: str) -> bool:
        """Whether this type is `base` or descends from it."""
        return self.name == base or base in self.ancestors

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        data: dict[str, Any] = {"ancestors": list(self.ancestors), "schema": dict(self.schema)}
        if self.response is not None:
            data["response"] = self.response
        return data

    @classmethod
    def from_json(cls, name: str, data: Mapping[str, Any]) -> EventDefinition:
        """The inverse of `to_json`; the name is the key it stands under."""
        return cls(name, tuple(data.get("ancestors", ())), data.get("schema", {}), data.get("response"))


@dataclass(frozen=True, slots=True)
class ParameterDefinition:
    """One of several event parameters of a step, and the event types that it takes."""

    name: str
    accepts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {"name": self.name, "accepts": list(self.accepts)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ParameterDefinition:
        """The inverse of `to_json`."""
        return cls(data["name"], tuple(data["accepts"]))


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """One step of a flow.

    `accepts` are the event types that it takes, `returns` those it may return one of, `returns_list` the
    member types of the lists it may return (each list opens a stream). `join` marks a ``list[E]`` parameter: it fires
    once per stream, with all members, or the first `take`. A step with several event parameters has them in
    `parameters`: it starts when there is one event for each. `feeds` are the joins that a stream opened here reaches.
    `timeout` is in seconds and bounds one attempt. `waits`: its code names `wait_for_event`, so events that come before
    it waits are kept.
    """

    name: str
    accepts: tuple[str, ...]
    returns: tuple[str, ...] = ()
    returns_list: tuple[str, ...] = ()
    returns_none: bool = False
    accept_event_subclasses: bool = False
    join: bool = False
    take: int | None = None
    parameters: tuple[ParameterDefinition, ...] = ()
    feeds: tuple[str, ...] = ()
    num_workers: int = 4
    timeout: float | None = None
    task_queue: str | None = None
    local: bool = False
    needs_context: bool = False
    waits: bool = False
    role: Role = "step"
    for_steps: tuple[str, ...] | None = None
    max_recoveries: int = 1
    skip_graph_checks: tuple[str, ...] = ()
    description: str = ""

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form, without the fields that have their default."""
        data: dict[str, Any] = {"accepts": list(self.accepts)}
        for name, default in _STEP_DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                data[name] = _plain(value)
        return data

    @classmethod
    def from_json(cls, name: str, data: Mapping[str, Any]) -> StepDefinition:
        """The inverse of `to_json`. Fields that this version does not know are left out."""
        get = {**_STEP_DEFAULTS, **data}
        return cls(
            name=name,
            accepts=tuple(get["accepts"]),
            returns=tuple(get["returns"]),
            returns_list=tuple(get["returns_list"]),
            returns_none=get["returns_none"],
            accept_event_subclasses=get["accept_event_subclasses"],
            join=get["join"],
            take=get["take"],
            parameters=tuple(ParameterDefinition.from_json(item) for item in get["parameters"]),
            feeds=tuple(get["feeds"]),
            num_workers=get["num_workers"],
            timeout=get["timeout"],
            task_queue=get["task_queue"],
            local=get["local"],
            needs_context=get["needs_context"],
            waits=get["waits"],
            role=get["role"],
            for_steps=None if get["for_steps"] is None else tuple(get["for_steps"]),
            max_recoveries=get["max_recoveries"],
            skip_graph_checks=tuple(get["skip_graph_checks"]),
            description=get["description"],
        )


_STEP_DEFAULTS: dict[str, Any] = {
    name: spec.default for name, spec in StepDefinition.__dataclass_fields__.items() if name not in ("name", "accepts")
}


def _plain(value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    items = cast("tuple[str | ParameterDefinition, ...]", value)
    return [item.to_json() if isinstance(item, ParameterDefinition) else item for item in items]


def moved_up(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """A pinned definition, as JSON, for the next execution of its run, which may have another protocol."""
    old = definition.get("protocol", 1)
    return {**definition, "protocol": PROTOCOL} if MOVES_UP_FROM <= old < PROTOCOL else definition


@dataclass(frozen=True, slots=True)
class FlowDefinition:
    """A whole flow. `timeout` is the run's, in seconds; `max_in_flight` caps its invocations that run at one time.

    `checks_answers`: the flow holds answers against what was asked; see `Workflow`.
    """

    name: str
    steps: Mapping[str, StepDefinition]
    events: Mapping[str, EventDefinition]
    start: str
    stops: tuple[str, ...]
    timeout: float | None = None
    max_in_flight: int = 45
    description: str = ""
    protocol: int = PROTOCOL
    checks_answers: bool = False

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form: what stands in a run's history."""
        return {
            "protocol": self.protocol,
            "name": self.name,
            "description": self.description,
            "start": self.start,
            "stops": list(self.stops),
            "timeout": self.timeout,
            "max_in_flight": self.max_in_flight,
            # A list: JSON writers may sort the keys of objects, and the order of steps is that of delivery.
            "steps": [{"name": name, **step.to_json()} for name, step in self.steps.items()],
            "events": {name: event.to_json() for name, event in self.events.items()},
        } | ({"checks_answers": True} if self.checks_answers else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FlowDefinition:
        """The inverse of `to_json`."""
        return cls(
            name=data["name"],
            steps={step["name"]: StepDefinition.from_json(step["name"], step) for step in data["steps"]},
            events={name: EventDefinition.from_json(name, event) for name, event in data["events"].items()},
            start=data["start"],
            stops=tuple(data["stops"]),
            timeout=data.get("timeout"),
            max_in_flight=data.get("max_in_flight", 45),
            description=data.get("description", ""),
            protocol=data.get("protocol", 1),
            checks_answers=data.get("checks_answers", False),
        )

    def produced(self) -> frozenset[str]:
        """The names of all event types that some step may return."""
        return frozenset(n for step in self.steps.values() for n in (*step.returns, *step.returns_list))

    def external(self) -> tuple[str, ...]:
        """The event types that steps accept and neither a step nor the engine produces: they come from outside."""
        produced = self.produced()
        made = produced | _MADE_BY_ENGINE | {self.start}
        bases = {base for name in produced if name in self.events for base in self.events[name].ancestors}

        def comes(step: StepDefinition, name: str) -> bool:
            by_subclass = step.accept_event_subclasses and name in bases and self.protocol > 1
            return name in made or by_subclass

        steps = [step for step in self.steps.values() if step.role == "step"]
        return tuple(dict.fromkeys(name for step in steps for name in step.accepts if not comes(step, name)))
