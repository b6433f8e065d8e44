"""Random flows that always can end, and what their steps do: branches, loops, fan-out, joins, sends, questions, errors.

Everything comes from dice, so a seed names a flow. The work of a run is bounded by a budget of events, whatever the
flow's loops: once it is spent, steps return None or stop.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from everstep.engine.calls import ChildCall
from everstep.engine.commands import RunStep
from everstep.engine.messages import Envelope, Failure, Gather, Outcome, Sent, Wait
from everstep.flow.definition import EventDefinition, FlowDefinition, ParameterDefinition, StepDefinition

BASES = {
    "StartEvent": ("Event",),
    "StopEvent": ("Event",),
    "InputRequiredEvent": ("Event",),
    "HumanResponseEvent": ("Event",),
    "InputExpiredEvent": ("Event",),
    "StepFailedEvent": ("Event",),
    "Ask": ("InputRequiredEvent", "Event"),
    "Beg": ("InputRequiredEvent", "Event"),
    "Reply": ("HumanResponseEvent", "Event"),
    "ShortReply": ("Reply", "HumanResponseEvent", "Event"),
    "E0": ("Event",),
    "E1": ("Event",),
    "E2": ("E1", "Event"),
    "E3": ("E2", "E1", "Event"),
    "E4": ("Event",),
    "J0": ("Event",),
    "J1": ("J0", "Event"),
    "Outside": ("Event",),
    "Later": ("Event",),
    "Total": ("StopEvent", "Event"),
}
PLAIN = ("E0", "E1", "E2", "E3", "E4")
JOINED = ("J0", "J1")
BUFFERS = {"E1": (("E2", 1), ("E1", 2)), "E2": (("E2", 1), ("E1", 2)), "E4": (("E4", 3),)}
EMITTED = (*PLAIN, *JOINED, "Ask", "Beg", "Later", "Nobody")


class RandomFlow:
    """A definition drawn from `rng`, with steps that do what its dice say.

    Args:
        rng: where the flow comes from, and then what its steps do; may be replaced by other dice at any time.
        size: how many steps to draw, beside those that every flow needs.
        without: the names of steps to leave out of what was drawn.
        budget: how many events a run may emit in all.

    Example:
        >>> made = RandomFlow(Random(7), size=5)
        >>> outcome = made.perform(RunStep(1, "begin", made.event("StartEvent")))
    """

    def __init__(self, rng: Random, size: int = 6, without: Collection[str] = (), budget: int = 80) -> None:
        self.rng = rng
        self.budget = budget
        self.emitted: dict[str, str] = {}
        self.definition = _reduced(_definition(rng, size), without)

    def event(self, name: str) -> Envelope:
        """An event of this type that can be told from all others of the run."""
        uid = f"{name}#{len(self.emitted)}"
        self.emitted[uid] = name
        due = self.rng.choice((None, None, 5.0, 50.0)) if "InputRequiredEvent" in BASES.get(name, ()) else None
        return Envelope(name, {"uid": uid}, due_in=due)

    def perform(self, call: RunStep) -> Outcome | Failure:
        """What one pass of a step comes to."""
        step = call.step
        rng, spec = self.rng, self.definition.steps[step]
        if rng.random() < (0.15 if self._helped(step) else 0.01):
            return Failure("ValueError", f"{step} failed", rng.randint(1, 3), 0.5)
        state = [self._change() for _ in range(rng.choice((0, 0, 1, 3)))]
        sent = [self._sent(rng.choice(EMITTED)) for _ in range(rng.choice((0, 0, 0, 1, 2))) if self._afford()]
        wait = self._wait() if rng.random() < 0.12 and self._afford() else None
        calls = [] if wait or rng.random() > 0.06 else self._calls()
        return Outcome(
            None if wait or calls else self._returned(spec),
            sent,
            state,
            attempts=rng.randint(1, 3),
            gathers=self._gathers(call),
            wait=wait,
            effects=[("set a", rng.randint(1, 2)), ("wait", 1)] if wait else [("run Child", 1)] if calls else (),
            calls=calls,
        )

    def _calls(self) -> list[ChildCall]:
        """Flows that a pass runs as children; some under an id that another may have."""
        names = [self.rng.choice((None, None, None, "shared")) for _ in range(self.rng.randint(1, 3)) if self._afford()]
        return [ChildCall("Child", {"n": self.budget}, run_id=name) for name in names]

    def _wait(self) -> Wait:
        rng = self.rng
        question = rng.choice((None, None, "Ask", "E4"))
        return Wait(
            rng.choice(("E0", "E1", "Outside", "Reply", "Later")),
            rng.choice(({}, {}, {}, {"uid": "E0#5"}, {"none": 1})),
            rng.choice((None, 2.0, 20.0)),
            question=None if question is None else self.event(question),
        )

    def _gathers(self, call: RunStep) -> list[Gather]:
        """What a pass puts into buffers; a pass that runs again is told of the first of them by its record."""
        expected = BUFFERS.get(call.event.type) if call.event else None
        if expected is None or not self.definition.steps[call.step].waits:
            return []
        told = len(call.record.collected) if call.record else 0
        return [Gather(f"buffer{number}", expected) for number in range(told, 2)]

    def _helped(self, step: str) -> bool:
        handlers = [one for one in self.definition.steps.values() if one.role == "catch_error" and one.max_recoveries]
        return self.definition.steps[step].role == "step" and any(
            one.for_steps is None or step in one.for_steps for one in handlers
        )

    def _afford(self) -> bool:
        self.budget -= 1
        return self.budget >= 0

    def _returned(self, spec: StepDefinition) -> Envelope | list[Envelope] | None:
        rng = self.rng
        if "StopEvent" in spec.returns and rng.random() < (0.03 if self.budget > 0 else 0.5):
            return self.event(rng.choice(("StopEvent", "Total")))
        if spec.returns_list and rng.random() < 0.7:
            members = [rng.choice(spec.returns_list) for _ in range(rng.choice((0, 1, 2, 3, 5)))]
            if rng.random() < 0.03:
                members.insert(rng.randint(0, len(members)), "StopEvent")
            return [self.event(name) for name in members if self._afford()]
        plain = [name for name in spec.returns if name not in ("StopEvent", "Total")]
        if plain and rng.random() < 0.85 and self._afford():
            return self.event(rng.choice(plain))
        return None

    def _sent(self, name: str) -> Sent:
        target = self.rng.choice((None, None, *self.definition.steps, "gone"))
        return Sent(self.event(name), target)

    def _change(self) -> Sequence[Any]:
        rng = self.rng
        path = ".".join(rng.choice(("a", "b", "0", "1")) for _ in range(rng.randint(1, 3)))
        if rng.random() < 0.3:
            return ["delete", path]
        return ["set", path, rng.choice((1, "x", [], [1, {"a": 2}], {"b": {"a": 1}}, None))]


def _definition(rng: Random, size: int) -> FlowDefinition:
    joins = [
        StepDefinition(
            f"join{number}",
            (rng.choice(JOINED),),
            _some(rng, (*PLAIN, *JOINED, "StopEvent"), 1),
            accept_event_subclasses=rng.random() < 0.4,
            join=True,
            take=rng.choice((None, None, 1, 2)),
            num_workers=rng.randint(1, 3),
        )
        for number in range(rng.randint(0, 3))
    ]
    steps = [_step(rng, "begin", ("StartEvent",), joins)]
    for number in range(size):
        steps.append(_step(rng, f"step{number}", _some(rng, PLAIN, 1), joins))
    optional = [
        _step(rng, "answered", ("Reply",), joins),
        _step(rng, "expired", ("InputExpiredEvent",), joins),
        _step(rng, "outside", ("Outside", "E0"), joins),
        _step(rng, "watcher", ("Ask",), joins),
    ]
    optional += [_paired(rng, _step(rng, f"pair{number}", (), joins)) for number in range(2)]
    steps += [one for one in optional if rng.random() < 0.6] + joins
    names = [one.name for one in steps]
    if rng.random() < 0.5:
        steps.append(_handler(rng, "help", None))
    if rng.random() < 0.5:
        steps.append(_handler(rng, "help_some", tuple(rng.sample(names, rng.randint(1, len(names))))))
    rng.shuffle(steps)
    events = {name: EventDefinition(name, bases) for name, bases in BASES.items()}
    events["Ask"] = EventDefinition("Ask", BASES["Ask"], response="Reply")
    return FlowDefinition(
        "Random",
        {one.name: one for one in steps},
        events,
        "StartEvent",
        ("StopEvent", "Total"),
        timeout=rng.choice((None, None, 200.0)),
        max_in_flight=rng.choice((1, 2, 5, 45)),
    )


def _reduced(flow: FlowDefinition, without: Collection[str]) -> FlowDefinition:
    """The flow without some of its steps."""
    steps = {
        name: replace(step, feeds=tuple(join for join in step.feeds if join not in without))
        for name, step in flow.steps.items()
        if name not in without
    }
    return replace(flow, steps=steps)


def _step(rng: Random, name: str, accepts: tuple[str, ...], joins: Sequence[StepDefinition]) -> StepDefinition:
    return StepDefinition(
        name,
        accepts,
        _some(rng, (*EMITTED[:-1], "StopEvent"), 1),
        _some(rng, (*PLAIN, *JOINED, "Ask"), 1) if rng.random() < 0.5 else (),
        returns_none=True,
        accept_event_subclasses=rng.random() < 0.4,
        feeds=tuple(one.name for one in joins if rng.random() < 0.6),
        num_workers=rng.randint(1, 4),
        waits=rng.random() < 0.5,
    )


def _paired(rng: Random, step: StepDefinition) -> StepDefinition:
    """A step with several event parameters."""
    parameters = [
        ParameterDefinition(f"ev{number}", _some(rng, (*PLAIN, *JOINED), 1)) for number in range(rng.randint(2, 3))
    ]
    accepts = dict.fromkeys(name for parameter in parameters for name in parameter.accepts)
    return replace(step, accepts=tuple(accepts), parameters=tuple(parameters))


def _handler(rng: Random, name: str, covers: tuple[str, ...] | None) -> StepDefinition:
    return StepDefinition(
        name,
        ("StepFailedEvent",),
        _some(rng, (*PLAIN, *JOINED, "StopEvent"), 1),
        returns_none=True,
        role="catch_error",
        for_steps=covers,
        max_recoveries=rng.choice((0, 1, 2)),
    )


def _some(rng: Random, names: Sequence[str], least: int = 0) -> tuple[str, ...]:
    return tuple(rng.sample(names, rng.randint(least, 3)))
