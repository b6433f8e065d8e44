"""What an event costs, counted in calls and not in time: it does not grow with the run."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from everstep.engine import views
from everstep.engine.commands import JudgeMessage, RunStep
from everstep.engine.core import Engine
from everstep.engine.inputs import Input, MessageReceived, MessagesJudged, StartRun, StepSucceeded, Verdict
from everstep.engine.messages import Envelope, Gather, Outcome, Sent, Wait
from everstep.flow.definition import FlowDefinition
from tests.support.engine_driver import STOP, event, flow, several, step

pytestmark = pytest.mark.slow

SMALL, LARGE = 1_000, 10_000
FAN = flow(
    step("begin", "StartEvent", "[Item]", feeds=("join",)),
    step("work", "Item", "Done"),
    step("join", "Done", "StopEvent", join=True),
)
LOOP = flow(step("begin", "StartEvent", "Item"), step("work", "Item", "Item StopEvent"))
NEST = flow(
    step("begin", "StartEvent", "[Item]", feeds=("join",)),
    step("work", "Item", "[Item]"),
    step("join", "Done", "StopEvent", join=True),
)
ASK = flow(
    step("begin", "StartEvent", "Ask"),
    step("answered", "Reply"),
    step("later", "Later", "StopEvent"),
    bases={"Ask": "InputRequiredEvent", "Reply": "HumanResponseEvent"},
)

GATHER = flow(step("begin", "StartEvent", "Item"), step("gather", "Item", "StopEvent"))
PAIR = flow(
    step("begin", "StartEvent", "Left"),
    several("both", "left:Left right:Right"),
    step("end", "Later", "StopEvent"),
)
WAIT = flow(step("begin", "StartEvent", "[Item]"), step("work", "Item", waits=True), step("end", "Later", "StopEvent"))


def drain(engine: Engine, first: Input, end: Callable[[RunStep], Outcome]) -> int:
    """Carry out a run until nothing is left; gives the number of inputs. The last to start ends first."""
    todo, inputs = list(engine.apply(first)), 1
    while todo:
        command = todo.pop()
        if isinstance(command, RunStep):
            todo += engine.apply(StepSucceeded(0.0, command.invocation, end(command)))
        elif isinstance(command, JudgeMessage):
            verdict = Verdict(command.message, Envelope(command.types[0], command.data))
            todo += engine.apply(MessagesJudged(0.0, [verdict]))
        else:
            continue
        inputs += 1
        if inputs % 10 == 0:
            views.describe(engine.run)
    return inputs


def fan_out(engine: Engine, count: int) -> int:
    """One list of `count` members, joined."""
    ends = {"begin": [event("Item")] * count, "work": event("Done"), "join": STOP}
    return drain(engine, StartRun(0.0, event("StartEvent")), lambda call: Outcome(ends[call.step]))


def loop(engine: Engine, count: int) -> int:
    """One event that goes round, each time leaving something in the state."""
    left = iter(range(count))

    def end(_: RunStep) -> Outcome:
        number = next(left, None)
        if number is None:
            return Outcome(STOP)
        return Outcome(event("Item"), state=[["set", f"seen.n{number}", [number]], ["set", "last", number]])

    return drain(engine, StartRun(0.0, event("StartEvent"), {"big": ["x"] * count}), end)


def nest(engine: Engine, count: int) -> int:
    """A list within a list within a list; each member also reaches the join of the outermost."""
    left = iter(range(count))
    once = [event("Item"), event("Done")]
    return drain(
        engine, StartRun(0.0, event("StartEvent")), lambda _: Outcome(STOP if next(left, None) is None else once)
    )


def ask(engine: Engine, count: int) -> int:
    """As many open requests, tries without an id, answers with one, and keys to remember."""
    asked = [event("Ask")] * count
    inputs = drain(
        engine, StartRun(0.0, event("StartEvent")), lambda call: Outcome(asked if call.step == "begin" else None)
    )
    for number in range(count):
        for request in (None, f"begin-{number + 1}"):
            message = MessageReceived(0.0, {}, answer=True, request=request, key=f"{request}")
            inputs += drain(engine, message, lambda _: Outcome())
    return inputs


def collect(engine: Engine, count: int) -> int:
    """As many events in one buffer, which is complete with the last."""
    first = engine.apply(StartRun(0.0, event("StartEvent")))
    todo, inputs = list(first), 1
    while todo:
        command = todo.pop()
        if not isinstance(command, RunStep):
            continue
        if command.step == "begin":
            outcome = Outcome(sent=[Sent(event("Item"))] * count)
        elif command.record is None:
            outcome = Outcome(gathers=[Gather("b", (("Item", count),))])
        else:
            outcome = Outcome(STOP)
        todo += engine.apply(StepSucceeded(0.0, command.invocation, outcome))
        inputs += 1
    assert engine.run.status == "completed"
    return inputs


def wait(engine: Engine, count: int) -> int:
    """As many invocations that wait for an event of their own, answered the last first."""
    inputs = 1
    todo = list(engine.apply(StartRun(0.0, event("StartEvent"))))
    while todo:
        command = todo.pop()
        if isinstance(command, RunStep):
            if command.step == "begin":
                outcome = Outcome([event("Item", n=n) for n in range(count)])
            else:
                assert command.event is not None
                outcome = Outcome(wait=Wait("Go", {"n": command.event.data["n"]}))
            todo += engine.apply(StepSucceeded(0.0, command.invocation, outcome))
            inputs += 1
    for number in reversed(range(count)):
        inputs += drain(engine, MessageReceived(0.0, {"n": number}, "Go"), lambda _: Outcome())
    assert not engine.run.waiters
    return inputs


def pair(engine: Engine, count: int) -> int:
    """As many events that wait for a partner, and then their partners."""
    inputs = 1
    engine.apply(StartRun(0.0, event("StartEvent")))
    engine.apply(StepSucceeded(0.0, 1, Outcome(sent=[Sent(event("Left"))] * count)))
    for _ in range(count):
        inputs += drain(engine, MessageReceived(0.0, {}, "Right"), lambda _: Outcome())
    assert not engine.run.streams[0].slots
    return inputs


def calls_per_input(definition: FlowDefinition, life: Callable[[Engine, int], int], count: int) -> float:
    """How many calls, of Python and of C, one input takes on average."""
    calls = 0

    def seen(_frame: FrameType, what: str, _of: Any) -> None:
        nonlocal calls
        calls += what in ("call", "c_call")

    engine = Engine(definition)
    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        inputs = life(engine, count)
    finally:
        sys.setprofile(before)
    assert inputs >= count
    return calls / inputs


@pytest.mark.parametrize(
    ("definition", "life"),
    [(FAN, fan_out), (LOOP, loop), (NEST, nest), (ASK, ask), (GATHER, collect), (WAIT, wait), (PAIR, pair)],
)
def test_cost_of_an_event_does_not_grow(definition: FlowDefinition, life: Callable[[Engine, int], int]) -> None:
    """Ten times the events cost ten times the calls, within a tenth."""
    small, large = (calls_per_input(definition, life, count) for count in (SMALL, LARGE))
    assert large == pytest.approx(small, rel=0.1)


def test_a_change_of_state_touches_nothing_else() -> None:
    """What is not changed stays the same object: the state is copied nowhere."""
    engine = Engine(LOOP)
    engine.apply(StartRun(0.0, event("StartEvent"), {"big": {"list": [1, 2, 3]}}))
    big = engine.run.state["big"]["list"]
    engine.apply(StepSucceeded(0.0, 1, Outcome(event("Item"), state=[["set", "big.other", 1]])))
    assert engine.run.state["big"]["list"] is big
