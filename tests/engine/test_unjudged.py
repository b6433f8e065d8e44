"""Events from outside that their step judges: whose sender does not wait, and which one step alone takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from everstep.engine.commands import FailRun, JudgeMessage, Publish, ReplyToMessage, RunStep
from everstep.engine.inputs import StepSucceeded
from everstep.engine.messages import Envelope, Outcome
from everstep.flow.definition import FlowDefinition
from tests.support.engine_driver import STOP, Driver, event, flow, of, several, step

NOTED = flow(step("begin", "StartEvent", "Ask"), step("note", "Note"), step("end", "Later", "StopEvent"))


def begun(definition: FlowDefinition = NOTED, run_id: str = "") -> Driver:
    """A run whose first step runs."""
    run = Driver(definition, run_id)
    run.start()
    return run


def test_it_goes_to_its_step_at_once() -> None:
    """Nobody else looks at it, and the step is told so."""
    run = begun()
    run.send("Note", {"n": 1}, unattended=True, by="ann")
    assert of(run.last, RunStep) == [RunStep(2, "note", event("Note", n=1), unjudged=True)]
    assert not of(run.last, JudgeMessage)
    run.done("note")
    assert run.engine.run.refused == []


def test_one_that_does_not_fit_is_refused_and_nothing_else() -> None:
    """It stands in the run's record with its reason and its sender, and is no step that was done."""
    run = begun()
    run.send("Note", {"n": "x"}, unattended=True, by="ann")
    commands = run.done("note", unfit="n is no number")
    assert not of(commands, ReplyToMessage)
    (refused,) = run.engine.run.refused
    assert (refused["by"], refused["message"], refused["reason"]) == ("ann", {"n": "x"}, "n is no number")
    queue = run.engine.run.scheduler.queues["note"]
    assert (queue.running, queue.done, queue.failed) == (0, 0, 0)
    assert list(run.engine.run.invocations) == [1]


def test_a_run_that_waits_for_events_still_waits_after_a_refusal() -> None:
    """It says once more that it is idle, as it does after any message that was refused; it is not stuck."""
    run = begun()
    run.done("begin")
    run.send("Note", unattended=True)
    commands = run.done("note", unfit="no")
    assert [command.event.type for command in of(commands, Publish)] == ["WorkflowIdleEvent"]
    assert not of(commands, FailRun)
    run.send("Later", unattended=True)
    run.done("end", STOP)
    assert run.engine.run.status == "completed"


@pytest.mark.parametrize(
    "definition",
    [
        replace(NOTED, protocol=2),
        flow(step("begin", "StartEvent", "StopEvent"), step("note", "Note"), step("too", "Note")),
        flow(step("begin", "StartEvent", "StopEvent"), step("note", "Note", join=True)),
        flow(step("begin", "StartEvent", "StopEvent"), several("note", "a:Note b:Later")),
        flow(step("begin", "StartEvent", "StopEvent"), step("note", "Note", local=True)),
        flow(step("begin", "StartEvent", "StopEvent"), step("note", "Note", task_queue="gpu")),
        flow(step("begin", "StartEvent", "StopEvent"), step("note", "Other")),
    ],
    ids=["older run", "two takers", "join", "several parameters", "local", "elsewhere", "no taker"],
)
def test_where_more_hangs_on_it_it_is_judged_first(definition: FlowDefinition) -> None:
    """As if its sender waited."""
    run = begun(definition)
    assert [type(command) for command in run.send("Note", unattended=True)] == [JudgeMessage]


@pytest.mark.parametrize("options", [{}, {"key": "k", "unattended": True}], ids=["attended", "with a key"])
def test_a_sender_who_waits_gets_a_verdict(options: dict[str, Any]) -> None:
    """The verdict has to be there before the step is done."""
    assert [type(command) for command in begun().send("Note", **options)] == [JudgeMessage]


def test_it_does_not_pass_one_that_is_being_judged() -> None:
    """Events come to steps in the order in which they arrived."""
    run = begun()
    run.send("Note", {"n": 1})
    assert not of(run.send("Note", {"n": 2}, unattended=True), RunStep)
    given = of([*run.judge(), *run.judge()], RunStep)
    assert [command.event for command in given] == [event("Note", n=1), event("Note", n=2)]


def test_while_a_step_waits_for_events_they_are_judged_first() -> None:
    """It may be the one that is waited for; only one that is judged is held against what is required of it."""
    run = begun()
    run.wait("begin", "Note", n=1)
    run.send("Note", {"n": 1}, unattended=True)
    waited, taken = of(run.judge(), RunStep)
    assert [(one.step, one.unjudged) for one in (waited, taken)] == [("begin", False), ("note", False)]


def test_what_is_unjudged_stays_so_through_a_crash() -> None:
    """Also one that waits for a slot."""
    run = begun(flow(step("begin", "StartEvent", "StopEvent"), step("note", "Note", num_workers=1)))
    run.send("Note", {"n": 1}, unattended=True)
    run.send("Note", {"n": 2}, unattended=True, by="bo")
    assert [(one.step, one.unjudged) for one in of(run.crash(), RunStep)] == [("begin", False), ("note", True)]
    run.done("note")
    run.done("note", unfit="no")
    assert [item["by"] for item in run.engine.run.refused] == ["bo"]


def test_a_second_pass_is_none_that_may_refuse() -> None:
    """Its first pass has taken the event; an outcome that says otherwise has no such effect."""
    run = begun(flow(step("begin", "StartEvent", "StopEvent"), step("note", "Note", waits=True)))
    run.send("Note", unattended=True)
    run.wait("note", "Other")
    run.send("Other")
    (again,) = of(run.judge(event("Other")), RunStep)
    assert again.unjudged is False
    run.apply(StepSucceeded(0.0, again.invocation, Outcome(unfit="no")))
    assert run.engine.run.refused == []
    assert run.engine.run.scheduler.queues["note"].done == 2


def test_its_form_in_histories() -> None:
    """What is not said means the default: an outcome of before reads as one that fits."""
    outcome = Outcome(unfit="no")
    assert outcome.to_json() == {"unfit": "no"}
    assert Outcome.from_json({"unfit": "no"}).to_json() == outcome.to_json()
    assert Outcome.from_json({}).unfit is None
    assert Outcome(Envelope("A", {})).to_json() == {"returned": {"type": "A", "data": {}}}
