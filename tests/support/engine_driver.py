"""A driver for tests of the engine: builds small definitions and ends steps by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

from everstep.engine.commands import Command, JudgeMessage, ReplyToMessage, RunStep
from everstep.engine.core import Engine
from everstep.engine.inputs import (
    Input,
    MessageReceived,
    MessagesJudged,
    Restored,
    StartRun,
    StepFailed,
    StepSucceeded,
    TimerFired,
    Verdict,
)
from everstep.engine.messages import Envelope, Failure, Outcome, Sent, Wait
from everstep.flow.definition import EventDefinition, FlowDefinition, ParameterDefinition, StepDefinition
from tests.simulation.invariants import check

C = TypeVar("C", bound=Command)

ANCESTORS = {
    "Event": (),
    "StartEvent": ("Event",),
    "StopEvent": ("Event",),
    "InputRequiredEvent": ("Event",),
    "HumanResponseEvent": ("Event",),
    "InputExpiredEvent": ("Event",),
    "StepFailedEvent": ("Event",),
}


def step(name: str, accepts: str, returns: str = "", **options: Any) -> StepDefinition:
    """A step; event types are given as words, a list return as ``[A]``."""
    listed = [word[1:-1] for word in returns.split() if word.startswith("[")]
    plain = [word for word in returns.split() if not word.startswith("[")]
    return StepDefinition(name, tuple(accepts.split()), tuple(plain), tuple(listed), **options)


def several(name: str, takes: str, returns: str = "", **options: Any) -> StepDefinition:
    """A step with several parameters, given as ``a:A|B b:C``."""
    pairs = [word.split(":") for word in takes.split()]
    parameters = tuple(ParameterDefinition(each, tuple(kinds.split("|"))) for each, kinds in pairs)
    accepts = dict.fromkeys(kind for each in parameters for kind in each.accepts)
    return step(name, " ".join(accepts), returns, parameters=parameters, **options)


def flow(*steps: StepDefinition, bases: Mapping[str, str] | None = None, **options: Any) -> FlowDefinition:
    """A flow of these steps; `bases` gives the base of an event type where it is not ``Event``."""
    given = dict(bases or {})
    names = dict.fromkeys(["StartEvent", "StopEvent", *given])
    names |= dict.fromkeys(name for one in steps for name in (*one.accepts, *one.returns, *one.returns_list))

    def ancestors(name: str) -> tuple[str, ...]:
        if name in ANCESTORS:
            return ANCESTORS[name]
        base = given.get(name, "Event")
        return (base, *ancestors(base))

    events = {name: EventDefinition(name, ancestors(name)) for name in names}
    events |= options.pop("events", {})
    return FlowDefinition("Flow", {one.name: one for one in steps}, events, "StartEvent", ("StopEvent",), **options)


def event(type_name: str, **data: Any) -> Envelope:
    """An event as data."""
    return Envelope(type_name, data)


STOP = Envelope("StopEvent", {"result": "done"})


class Driver:
    """One run. Checks the engine's invariants after every input, and keeps what is under way."""

    def __init__(self, definition: FlowDefinition, run_id: str = "") -> None:
        self.engine = Engine(definition, run_id)
        self.now = 0.0
        self.running: dict[int, RunStep] = {}
        self.commands: list[Command] = []
        self.last: list[Command] = []

    def apply(self, what: Input) -> list[Command]:
        """Apply an input; gives its commands."""
        self.last = self.engine.apply(what)
        check(self.engine)
        self.commands += self.last
        self.running |= {command.invocation: command for command in of(self.last, RunStep)}
        return self.last

    def start(self, state: Mapping[str, Any] | None = None, **data: Any) -> list[Command]:
        """Start the run."""
        return self.apply(StartRun(self.now, event("StartEvent", **data), state))

    def run_of(self, name: str) -> RunStep:
        """The oldest running invocation of a step."""
        return next(command for command in self.running.values() if command.step == name)

    def done(
        self,
        name: str,
        returned: Envelope | list[Envelope] | None = None,
        *,
        sent: Iterable[Envelope | Sent] = (),
        state: Iterable[list[Any]] = (),
        **more: Any,
    ) -> list[Command]:
        """End the oldest running invocation of a step well; `more` are other parts of its outcome."""
        number = self.run_of(name).invocation
        del self.running[number]
        sendings = [item if isinstance(item, Sent) else Sent(item) for item in sent]
        return self.apply(StepSucceeded(self.now, number, Outcome(returned, sendings, list(state), **more)))

    def wait(self, name: str, type_name: str, timeout: float | None = None, **required: Any) -> list[Command]:
        """The oldest running invocation of a step begins to wait."""
        return self.done(name, wait=Wait(type_name, required, timeout))

    def fail(self, name: str, message: str = "no") -> list[Command]:
        """End the oldest running invocation of a step badly."""
        number = self.run_of(name).invocation
        del self.running[number]
        return self.apply(StepFailed(self.now, number, Failure("ValueError", message, 3, 1.5, "Traceback …")))

    def names(self) -> list[str]:
        """The steps that run, in the order in which they started."""
        return [command.step for command in self.running.values()]

    def send(self, type_name: str | None, data: Mapping[str, Any] | None = None, **options: Any) -> list[Command]:
        """A message from outside."""
        return self.apply(MessageReceived(self.now, {} if data is None else data, type_name, **options))

    def respond(self, data: Mapping[str, Any] | None = None, type_name: str | None = None, **options: Any):
        """A person's answer."""
        return self.send(type_name, data, answer=True, **options)

    def judge(self, verdict: Envelope | str | None = None) -> list[Command]:
        """Give a verdict on the oldest message that waits for one; as it is asked for, unless told otherwise."""
        message = next(iter(self.engine.run.messages.values()))
        if isinstance(verdict, str):
            return self.apply(MessagesJudged(self.now, [Verdict(message.id, None, verdict)]))
        meant = verdict or Envelope(message.types[0], dict(message.data))
        return self.apply(MessagesJudged(self.now, [Verdict(message.id, meant)]))

    def fire(self, timer: str, now: float) -> list[Command]:
        """A timer fires."""
        self.now = now
        return self.apply(TimerFired(now, timer))

    def reply(self) -> tuple[bool, str]:
        """What the last input told a sender."""
        (one,) = of(self.last, ReplyToMessage)
        return one.accepted, one.reason

    def crash(self, *, moved: bool = False) -> list[Command]:
        """Save, forget, restore and go on."""
        self.restore()
        self.running.clear()
        return self.apply(Restored(self.now, moved))

    def restore(self) -> None:
        """Replace the engine by one restored from JSON whose keys were sorted."""
        text = json.dumps(self.engine.snapshot(), sort_keys=True)
        self.engine = Engine.restore(self.engine.definition, json.loads(text), self.engine.run.id)


def of(commands: Iterable[Command], kind: type[C]) -> list[C]:
    """The commands of one kind."""
    return [cast("Any", command) for command in commands if isinstance(command, kind)]


def judging(commands: Iterable[Command]) -> list[JudgeMessage]:
    """The messages to be judged."""
    return of(commands, JudgeMessage)
