"""Waits: who is suspended, which event answers whom, what a later pass is told, and what ends a wait."""

import pytest

from everstep.engine import views
from everstep.engine.commands import CancelTimer, JudgeMessage, Publish, RunStep, SetTimer
from everstep.engine.messages import Envelope, Outcome, Wait
from everstep.engine.waiters import KEPT
from tests.support.engine_driver import STOP, Driver, event, flow, of, step

BASES = {"Ask": "InputRequiredEvent", "Reply": "HumanResponseEvent", "Sub": "Go"}


def waiting(*, workers: int = 1, count: int = 1, **options: object) -> Driver:
    """A run with `count` members, whose step `work` is running on the first of them."""
    run = Driver(
        flow(
            step("begin", "StartEvent", "[Item]", feeds=("join",)),
            step("work", "Item", "Done", num_workers=workers, waits=True, **options),
            step("join", "Done", "StopEvent", join=True),
            bases=BASES,
        )
    )
    run.start()
    run.done("begin", [event("Item", n=n) for n in range(count)])
    return run


def test_a_waiting_step_holds_no_slot_and_keeps_its_stream_open() -> None:
    """The next member starts; the join does not fire before the answer has been worked on."""
    run = waiting(count=2)
    run.wait("work", "Go")
    assert run.names() == ["work"]
    run.done("work", event("Done"))
    assert run.names() == []
    run.send("Go")
    run.judge()
    assert run.names() == ["work"]
    run.done("work", event("Done"))
    assert run.names() == ["join"]


def test_the_next_pass_is_told_answers_effects_and_tries() -> None:
    """The pass after the second wait has both answers, all effects merged, and the invocation's first number."""
    run = waiting()
    first = run.run_of("work").invocation
    run.done("work", wait=Wait("Go", {}), effects=[("set a", 1), ("wait Go", 1)], tries={"failures": 1})
    run.send("Go", {"n": 1})
    (second,) = of(run.judge(), RunStep)
    assert second.invocation != first
    run.done("work", wait=Wait("Go", {}), effects=[("wait Go", 1)])
    run.send("Go", {"n": 2})
    (third,) = of(run.judge(), RunStep)
    record = third.record
    assert record is not None
    assert record.origin == first
    assert [answer.data for answer in record.answers if answer] == [{"n": 1}, {"n": 2}]
    assert (record.effects, record.tries) == ((("set a", 1), ("wait Go", 2)), {"failures": 1})


def test_one_event_answers_the_one_that_waited_longest() -> None:
    """Each of several waits wants an event of its own."""
    run = waiting(workers=2, count=2)
    run.wait("work", "Go")
    run.wait("work", "Go")
    run.send("Go")
    (first,) = of(run.judge(), RunStep)
    assert first.event == event("Item", n=0)
    run.send("Go")
    (second,) = of(run.judge(), RunStep)
    assert second.event == event("Item", n=1)


def test_requirements_are_met_by_top_level_fields() -> None:
    """Equal numbers are equal however they are written; an event that lacks a field does not fit."""
    run = waiting(workers=3, count=3)
    run.wait("work", "Go", n=1, tag={"a": [1]})
    run.wait("work", "Go", n=2)
    run.wait("work", "Go", n=True)
    for data, expected in (({"n": 2.0}, 1), ({"tag": {"a": [1]}, "n": 1, "more": 0}, 0), ({"n": True}, 2)):
        run.send("Go", data)
        (resumed,) = of(run.judge(), RunStep)
        assert resumed.event == event("Item", n=expected)
    run.send("Go", {})
    assert not of(run.judge(), RunStep)


@pytest.mark.parametrize(("opted", "resumed"), [(False, 0), (True, 1)])
def test_subclasses_answer_where_the_step_opted_in(opted: bool, resumed: int) -> None:
    """By the same option as for its deliveries."""
    run = waiting(accept_event_subclasses=opted)
    run.wait("work", "Go")
    run.send("Sub")
    assert len(of(run.judge(), RunStep)) == resumed


def test_an_early_event_is_kept_and_answers_at_once() -> None:
    """In the order of arrival, and only if it fits; nothing is unhandled."""
    run = waiting()
    for n in (1, 2, 1):
        run.send("Go", {"n": n})
        run.judge()
        assert run.reply() == (True, "")
    (again,) = of(run.wait("work", "Go", n=2), RunStep)
    assert again.record is not None
    assert again.record.answers == (event("Go", n=2),)
    assert [one.data["n"] for one, _ in run.engine.run.kept.by_type["Go"]] == [1, 1]
    assert run.engine.run.unhandled == 0


def test_a_flow_that_never_waits_keeps_nothing() -> None:
    """Its unhandled events are told of, as ever, and those from outside are refused."""
    run = Driver(flow(step("begin", "StartEvent", "StopEvent")))
    run.start()
    run.send("Go")
    run.judge()
    assert run.reply()[0] is False
    assert not run.engine.run.kept.by_type


def test_kept_events_are_bounded() -> None:
    """When there are too many of one type the oldest is unhandled, and said to be."""
    run = waiting()
    commands = run.done("work", sent=[event("Go", n=n) for n in range(KEPT + 1)])
    (told,) = of(commands, Publish)
    assert told.event.data["event_type"] == "Go"
    kept = run.engine.run.kept.by_type["Go"]
    assert (len(kept), kept[0][0].data) == (KEPT, {"n": 1})


def test_an_event_for_one_step_answers_only_its_waits() -> None:
    """A target narrows waits as it narrows deliveries; who took it by waiting is not given it again."""
    run = Driver(
        flow(
            step("begin", "StartEvent", "Go"),
            step("other", "Go", "StopEvent"),
            step("self", "Go", "StopEvent", waits=True),
        )
    )
    run.start()
    run.done("begin", event("Go", n=1))
    run.wait("self", "Go")
    run.done("other")
    run.send("Go", {"n": 2}, step="other")
    run.judge()
    assert run.names() == ["other"]
    run.send("Go", {"n": 3})
    run.judge()
    assert run.names() == ["other", "self", "other"]


def test_a_wait_times_out_by_a_timer() -> None:
    """The pass is told None; an answer in time cancels the timer."""
    run = waiting(workers=2, count=2)
    (timer,) = of(run.wait("work", "Go", 5.0), SetTimer)
    (other,) = of(run.wait("work", "Go", 6.0), SetTimer)
    (late,) = of(run.fire(timer.timer, 5.0), RunStep)
    assert late.record is not None
    assert late.record.answers == (None,)
    run.send("Go")
    assert of(run.judge(), CancelTimer) == [CancelTimer(other.timer)]


def asked(**question: float) -> Driver:
    """A run whose step `work` has asked and waits for a reply within 10 s."""
    run = waiting()
    run.done("work", wait=Wait("Reply", {}, 10.0, question=Envelope("Ask", {}, **question)))  # type: ignore[arg-type]
    return run


def test_a_question_opens_a_request_whose_answer_goes_to_the_wait() -> None:
    """It is due when the wait ends, is judged as what is waited for, and is recorded as answered."""
    run = asked()
    (request,) = views.requests(run.engine.run)
    assert (request["id"], request["answer_types"]) == ("work-1", ["Reply"])
    assert request["due_at"] == "1970-01-01T00:00:10+00:00"
    (judged,) = of(run.respond({"yes": 1}, by="ann"), JudgeMessage)
    assert (judged.types, judged.waited) == (("Reply",), True)
    (again,) = of(run.judge(), RunStep)
    assert again.record is not None
    assert again.record.answers == (event("Reply", yes=1),)
    (request,) = views.requests(run.engine.run)
    assert (request["status"], request["answered_by"]) == ("answered", "ann")
    run.respond({"yes": 2}, request="work-1")
    assert "was already answered" in run.reply()[1]


def test_an_event_of_another_kind_may_answer_a_request() -> None:
    """What is waited for counts, not whether it descends from HumanResponseEvent."""
    run = waiting()
    run.done("work", wait=Wait("Go", {}, question=Envelope("Ask", {})))
    run.send("Go")
    (again,) = of(run.judge(), RunStep)
    assert again.step == "work"
    assert views.requests(run.engine.run)[0]["status"] == "answered"


@pytest.mark.parametrize(("question", "due"), [({}, 10.0), ({"due_in": 3.0}, 3.0), ({"due_in": 30.0}, 10.0)])
def test_the_earlier_of_timeout_and_due_ends_the_wait(question: dict[str, float], due: float) -> None:
    """With a TimeoutError in the step; the request has expired."""
    run = asked(**question)
    assert run.engine.run.timers["due:work-1"] == due
    (again,) = of(run.fire("due:work-1", due), RunStep)
    assert again.record is not None
    assert again.record.answers == (None,)
    assert views.requests(run.engine.run)[0]["status"] == "expired"


def test_a_response_reaches_a_wait_that_asked_nobody() -> None:
    """While no request is open, an answer goes to whoever waits for one."""
    run = waiting()
    run.wait("work", "Reply")
    (judged,) = of(run.respond({"yes": 1}), JudgeMessage)
    assert judged.types == ("Reply",)
    assert of(run.judge(), RunStep)


def test_a_run_in_which_all_wait_is_idle_once() -> None:
    """It says so once, shows what it waits for, and is never stuck."""
    run = waiting()
    (idle,) = of(run.wait("work", "Go"), Publish)
    assert idle.event.type == "WorkflowIdleEvent"
    assert views.status(run.engine.run) == "idle"
    assert "work waits for Go" in views.describe(run.engine.run)
    (shown,) = views.progress(run.engine.run)["waits"]
    assert (shown["step"], shown["type"]) == ("work", "Go")
    run.send("Nothing")
    run.judge("unknown")
    assert views.status(run.engine.run) in ("idle", "running")
    asked_run = asked()
    assert views.status(asked_run.engine.run) == "waiting"


def test_recoveries_are_kept_over_a_wait() -> None:
    """A handler's budget is that of the lineage."""
    run = Driver(
        flow(
            step("begin", "StartEvent", "Item"),
            step("work", "Item", "StopEvent", waits=True),
            step("help", "StepFailedEvent", "Item", role="catch_error", max_recoveries=1),
        )
    )
    run.start()
    run.done("begin", event("Item"))
    run.fail("work")
    run.done("help", event("Item"))
    run.wait("work", "Go")
    run.send("Go")
    run.judge()
    run.fail("work")
    assert "has used its max_recoveries of 1" in str(run.last)


def test_waits_survive_a_crash() -> None:
    """Restored from JSON, the waits, their timers and what is kept are as they were."""
    run = waiting(workers=2, count=2)
    run.wait("work", "Go", 5.0, n=1)
    run.done("work", sent=[event("Later", n=2)], wait=Wait("Reply", {}, question=Envelope("Ask", {})))
    before = run.engine.snapshot()
    commands = run.crash()
    assert run.engine.snapshot() == before
    assert [one.timer for one in of(commands, SetTimer)] == list(before["timers"][0][:1])
    run.send("Go", {"n": 1})
    assert of(run.judge(), RunStep)
    run.respond({})
    (again,) = of(run.judge(), RunStep)
    assert of(run.done("work"), RunStep) == []
    (kept,) = of(run.wait("work", "Later"), RunStep)
    assert kept.invocation > again.invocation


def test_an_end_forgets_the_waits() -> None:
    """A stop event ends the run, whoever waits."""
    run = waiting()
    run.wait("work", "Go")
    run.send("StopEvent")
    run.judge(STOP)
    assert run.engine.run.status == "completed"
    assert not run.engine.run.waiters


def test_an_outcome_with_a_malformed_wait_is_a_failure() -> None:
    """What a worker reports is checked where it is read."""
    for wrong in ({"wait": 3}, {"wait": {}}, {"gathers": [{}]}, {"effects": [["a", 0]]}):
        with pytest.raises(ValueError, match=r"wait|collection|row"):
            Outcome.from_json(wrong)
    wait = Wait("Go", {"n": 1}, 2.0, "id", event("Ask"))
    outcome = Outcome(wait=wait, effects=[("wait Go", 1)], tries={"failures": 2})
    read = Outcome.from_json(outcome.to_json())
    assert (read.wait, list(read.effects), read.tries) == (wait, [("wait Go", 1)], {"failures": 2})
