"""How a run begins, rests, ends, and what is seen of it; messages that are plain events; saving and restoring."""

import json

import pytest

from everstep.engine import views
from everstep.engine.commands import CancelRun, CancelStep, CompleteRun, FailRun, Publish, RunStep, SetTimer
from everstep.engine.core import Engine
from everstep.engine.inputs import CancelRequested, Paused, StartRun
from everstep.flow.definition import PROTOCOL
from tests.support.engine_driver import STOP, Driver, event, flow, of, step

SIMPLE = flow(step("a", "StartEvent", "Item"), step("b", "Item", "StopEvent", num_workers=1))
OPEN = flow(step("a", "StartEvent"), step("b", "Later", "StopEvent", num_workers=1))


def test_run_timeout_cancels_what_runs() -> None:
    """The failure names the steps that were running, and says how long the run had."""
    run = Driver(flow(step("a", "StartEvent", "StopEvent"), timeout=30.0))
    run.now = 5.0
    assert of(run.start(), SetTimer) == [SetTimer("run-timeout", 35.0)]
    stop, failed = run.fire("run-timeout", 35.0)
    assert stop == CancelStep(1)
    assert isinstance(failed, FailRun)
    assert (failed.kind, failed.active_steps) == ("timeout", ["a"])
    assert failed.message == "the run of Flow timed out after 30 s; steps running: a"


def test_cancel_ends_the_run_and_what_runs() -> None:
    """A second request changes nothing."""
    run = Driver(SIMPLE)
    run.start()
    assert run.apply(CancelRequested(1.0, "enough")) == [CancelStep(1), CancelRun("enough")]
    assert run.apply(CancelRequested(1.0, "enough")) == []


def test_cancel_before_the_start_keeps_the_run_from_starting() -> None:
    """A run may be cancelled while its definition is still being read."""
    run = Driver(SIMPLE)
    assert run.apply(CancelRequested(0.0)) == [CancelRun("")]
    assert run.start() == []


def test_message_before_the_start_is_refused() -> None:
    """The reason says that sending it again helps."""
    run = Driver(OPEN)
    run.send("Later")
    assert run.reply() == (False, "the run of Flow has not begun yet; send it again when it has")


def test_idle_run_says_so_once() -> None:
    """A run that waits for an event from outside is idle, until one comes."""
    run = Driver(OPEN)
    run.start()
    assert of(run.done("a"), Publish) == [Publish(event("WorkflowIdleEvent"))]
    assert views.status(run.engine.run) == "idle"
    assert run.apply(Paused(0.0)) == []
    run.send("Later")
    assert views.status(run.engine.run) == "running"


@pytest.mark.parametrize(("protocol", "status"), [(1, "running"), (2, "failed")])
def test_a_step_that_takes_subclasses_of_what_steps_make_waits_for_nothing_from_outside(
    protocol: int, status: str
) -> None:
    """Its base comes from nowhere, but what it takes is made in the flow: at rest the run is stuck, not idle."""
    run = Driver(
        flow(
            step("begin", "StartEvent", "Sub"),
            step("any", "Base", "StopEvent", accept_event_subclasses=True),
            bases={"Sub": "Base"},
            protocol=protocol,
        )
    )
    run.start()
    run.done("begin")
    assert run.engine.run.status == status


def test_flow_that_asks_people_is_stuck_when_no_question_is_open() -> None:
    """An answer could not move it on: it would be refused."""
    run = Driver(
        flow(
            step("a", "StartEvent", "Ask"),
            step("b", "Reply", "StopEvent"),
            bases={"Ask": "InputRequiredEvent", "Reply": "HumanResponseEvent"},
        )
    )
    run.start()
    assert of(run.done("a"), FailRun)[0].kind == "stuck"


def test_step_for_expiries_alone_makes_no_run_wait() -> None:
    """Expiry events come from the engine, not from outside."""
    run = Driver(flow(step("a", "StartEvent", "StopEvent"), step("b", "InputExpiredEvent")))
    run.start()
    assert of(run.done("a"), FailRun)[0].kind == "stuck"


def test_event_from_outside_is_judged_and_delivered() -> None:
    """The types have the last word on its data."""
    run = Driver(OPEN)
    run.start()
    run.send("Later", {"n": "1"})
    run.judge(event("Later", n=1))
    assert run.reply() == (True, "")
    call = run.run_of("b").event
    assert call is not None
    assert call.data == {"n": 1}


@pytest.mark.parametrize(
    ("type_name", "target", "reason"),
    [
        ("Item", None, "no step of Flow accepts Item; the flow accepts StartEvent, Later"),
        ("Later", "a", "step 'a' does not accept Later; it accepts StartEvent"),
    ],
)
def test_event_that_no_step_takes_is_refused(type_name: str, target: str | None, reason: str) -> None:
    """It is not lost: the sender learns what would be taken."""
    run = Driver(OPEN)
    run.start()
    run.send(type_name, {}, step=target)
    run.judge()
    assert run.reply() == (False, reason)


def test_stop_event_from_outside_completes_the_run() -> None:
    """A run may be told to end with a result."""
    run = Driver(OPEN)
    run.start()
    run.send("StopEvent", {"result": 3})
    assert of(run.judge(), CompleteRun) == [CompleteRun(event("StopEvent", result=3))]


def test_state_is_carried_in_and_changed_by_outcomes() -> None:
    """The given state is copied; changes commit in order, and only with a success."""
    given = {"a": {"n": 1}}
    run = Driver(OPEN)
    run.start(given)
    run.done("a", sent=[event("Later"), event("Later")], state=[["set", "a.n", 2], ["set", "b", []], ["delete", "b"]])
    run.done("b", state=[["set", "a.m", 3]])
    assert given == {"a": {"n": 1}}
    assert run.engine.run.state == {"a": {"n": 2, "m": 3}}


def test_progress_and_the_line_that_tells_where_a_run_stands() -> None:
    """Counts per step, while it runs and after its end."""
    run = Driver(OPEN)
    run.start()
    run.done("a", sent=[event("Later")] * 3)
    assert views.describe(run.engine.run) == "running; running b; 2 queued; 1 done"
    run.done("b", STOP)
    seen = views.progress(run.engine.run)
    assert (seen["status"], seen["last_step"]) == ("completed", "b")
    assert seen["steps"][1] == {"step": "b", "queued": 0, "running": 0, "done": 1, "failed": 0}
    assert views.describe(run.engine.run) == "completed; 2 done"


def test_the_line_names_few_of_many_requests() -> None:
    """And says for whom and until when."""
    asks = [event("Ask", assignee="finance")] * 5
    run = Driver(flow(step("a", "StartEvent", "Ask"), step("b", "Later"), bases={"Ask": "InputRequiredEvent"}))
    run.start()
    run.done("a", sent=asks)
    line = views.describe(run.engine.run)
    assert line.startswith("waiting; 1 done; waits for finance: a-1; ")
    assert line.endswith("; and 2 more requests")


def test_snapshot_does_not_follow_the_run() -> None:
    """A snapshot stays as it was taken, and two engines restored from it go separate ways."""
    run = Driver(OPEN)
    run.start()
    run.done("a", sent=[event("Later")] * 2, state=[["set", "a.n", 1]])
    taken = run.engine.snapshot()
    text = json.dumps(taken)
    other = Engine.restore(OPEN, taken)
    run.done("b", state=[["set", "a.n", 2]])
    run.send("Nobody", {})
    assert json.dumps(taken) == text
    assert other.run.state == {"a": {"n": 1}}


def test_crash_runs_again_what_ran() -> None:
    """What ran is started again, in the same order and with its slots; what waited still waits; a pause is over."""
    run = Driver(OPEN)
    run.start()
    run.done("a", sent=[event("Later", n=n) for n in range(3)])
    run.apply(Paused(0.0))
    before = [run.run_of("b")]
    assert of(run.crash(), RunStep) == before
    assert len(run.engine.run.scheduler.queues["b"].waiting) == 2


@pytest.mark.parametrize(("protocol", "attempts"), [(2, [0, 0]), (3, [1, 2])])
def test_a_step_that_is_moved_is_tried_again(protocol: int, attempts: list[int]) -> None:
    """Each time as another attempt, which the driver does not know of by itself; older runs go on as they began."""
    run = Driver(flow(step("a", "StartEvent", "StopEvent"), protocol=protocol))
    run.start()
    records = [command.record for _ in range(2) for command in of(run.crash(moved=True), RunStep)]
    assert [0 if record is None else record.attempts for record in records] == attempts
    assert run.engine.run.invocations[1].origin == 1


def test_crash_sets_timers_again() -> None:
    """At the times they had."""
    run = Driver(flow(step("a", "StartEvent", "StopEvent"), timeout=30.0))
    run.start()
    run.now = 20.0
    assert of(run.crash(), SetTimer) == [SetTimer("run-timeout", 30.0)]


def test_newer_protocol_is_refused() -> None:
    """A worker that is too old says so and touches nothing."""
    with pytest.raises(ValueError, match="Run a worker with a newer everstep"):
        Engine(flow(step("a", "StartEvent", "StopEvent"), protocol=PROTOCOL + 1))


def test_definition_survives_json_with_sorted_keys() -> None:
    """Order of steps and all fields come back; unknown fields of a later version are left out."""
    data = json.loads(json.dumps(OPEN.to_json(), sort_keys=True))
    data["steps"][0]["from_the_future"] = 1
    assert type(OPEN).from_json(data) == OPEN


def test_example_of_the_docstring() -> None:
    """Starting gives the first step to run."""
    started = Engine(SIMPLE).apply(StartRun(0.0, event("StartEvent", topic="x")))
    assert started == [RunStep(1, "a", event("StartEvent", topic="x"))]
