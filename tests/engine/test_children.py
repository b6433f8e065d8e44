"""Children: who waits for them, how many go on at a time, what their end brings, and whose requests are told."""

from __future__ import annotations

from typing import Any

from everstep.engine import views
from everstep.engine.calls import ChildCall
from everstep.engine.children import AT_ONCE
from everstep.engine.commands import CancelChild, ForwardAnswer, Publish, RequestChanged, RunStep, StartChild
from everstep.engine.inputs import CancelRequested, ChildAsked, ChildEnded, Paused, Resumed
from everstep.engine.passes import ChildEnd
from tests.support.engine_driver import STOP, Driver, event, flow, of, step


def calling(*, workers: int = 1, count: int = 1) -> Driver:
    """A run `R` with `count` members, whose step `work` is running on the first of them."""
    run = Driver(
        flow(
            step("begin", "StartEvent", "[Item]", feeds=("join",)),
            step("work", "Item", "Done", num_workers=workers),
            step("join", "Done", "StopEvent", join=True),
        ),
        "R",
    )
    run.start()
    run.done("begin", [event("Item", n=n) for n in range(count)])
    return run


def call(flow_name: str = "Other", **options: Any) -> ChildCall:
    """A flow that a step runs."""
    return ChildCall(flow_name, {"x": 1}, **options)


def end(run: Driver, name: str, result: Any = None) -> list[Any]:
    """A child ends with a result."""
    return run.apply(ChildEnded(run.now, ChildEnd(name, event("StopEvent", result=result))))


def ask(driver: Driver, child: str, name: str = "ask-1", status: str = "open", **more: Any) -> list[Any]:
    """A child tells of a request."""
    view = {"id": name, "type": "Ask", "question": {}, "answer_types": ["Reply"], "status": status, **more}
    return driver.apply(ChildAsked(driver.now, child, view))


def test_a_step_that_runs_a_child_holds_no_slot_and_keeps_its_stream_open() -> None:
    """The next member starts; the join does not fire before the child has ended and its step has gone on."""
    run = calling(count=2)
    (started,) = of(run.done("work", calls=[call()], effects=[("run Other", 1)]), StartChild)
    assert (started.run, started.call) == ("R/work-1", call())
    assert run.names() == ["work"]
    run.done("work", event("Done"))
    assert run.names() == []
    assert views.status(run.engine.run) == "running"
    (again,) = of(end(run, "R/work-1", 7), RunStep)
    assert again.record is not None
    assert [found.run for found in again.record.children] == ["R/work-1"]
    assert again.record.origin != again.invocation
    run.done("work", event("Done"))
    assert run.names() == ["join"]


def test_the_step_goes_on_when_all_children_of_its_pass_have_ended() -> None:
    """In the order of their calls, whatever ends first; a failure is one of the ends."""
    run = calling()
    started = of(run.done("work", calls=[call("A"), call("B")]), StartChild)
    assert [one.run for one in started] == ["R/work-1", "R/work-2"]
    assert end(run, "R/work-2", "b") == []
    failed = ChildEnd.failed("R/work-1", "ValueError", "no")
    (again,) = of(run.apply(ChildEnded(run.now, failed)), RunStep)
    assert again.record is not None
    assert again.record.children[0] == failed
    assert again.record.children[1].event == event("StopEvent", result="b")


def test_later_passes_know_all_children_and_answers() -> None:
    """Children and waits of one invocation are told each by its own order."""
    run = calling()
    run.done("work", calls=[call()])
    end(run, "R/work-1", 1)
    run.wait("work", "Go")
    run.send("Go", {"n": 1})
    run.judge()
    run.done("work", calls=[call()])
    (again,) = of(end(run, "R/work-2", 2), RunStep)
    assert again.record is not None
    assert [found.event.data["result"] for found in again.record.children if found.event] == [1, 2]
    assert len(again.record.answers) == 1


def test_an_id_that_is_taken_is_told_at_once() -> None:
    """Two children of one id: the second has failed, and its step goes on with that."""
    run = calling(workers=2, count=2)
    run.done("work", calls=[call(run_id="mine")])
    (again,) = of(run.done("work", calls=[call(run_id="mine")]), RunStep)
    assert again.record is not None
    (told,) = again.record.children
    assert told.failure is not None
    assert told.failure.type == "everstep.errors.RunAlreadyStartedError"


def test_only_so_many_go_on_at_one_time() -> None:
    """The others begin in their order, as places get free; none while the run is paused."""
    run = calling()
    started = of(run.done("work", calls=[call() for _ in range(AT_ONCE + 2)]), StartChild)
    assert len(started) == AT_ONCE
    assert [one.run for one in of(end(run, "R/work-3"), StartChild)] == [f"R/work-{AT_ONCE + 1}"]
    run.apply(Paused(run.now))
    assert of(end(run, "R/work-1"), StartChild) == []
    assert [one.run for one in of(run.apply(Resumed(run.now)), StartChild)] == [f"R/work-{AT_ONCE + 2}"]
    assert views.progress(run.engine.run)["children"][0]["run"] == "R/work-2"


def test_children_end_with_their_run() -> None:
    """Those that run are cancelled; one that waits for its turn never begins; what they tell later is not heard."""
    run = calling()
    run.done("work", calls=[call() for _ in range(AT_ONCE + 1)])
    cancelled = of(run.apply(CancelRequested(run.now, "enough")), CancelChild)
    assert len(cancelled) == AT_ONCE
    before = run.engine.snapshot()
    assert end(run, "R/work-1") == ask(run, "R/work-1") == []
    assert run.engine.snapshot() == before


def test_a_child_outlives_a_restart() -> None:
    """It is asked for again; one that had to wait for its turn still does."""
    run = calling()
    run.done("work", calls=[call() for _ in range(AT_ONCE + 1)])
    ask(run, "R/work-2")
    commands = of(run.crash(), StartChild)
    assert [one.run for one in commands] == [f"R/work-{n}" for n in range(1, AT_ONCE + 1)]
    assert all(one.again for one in commands)
    assert [one["id"] for one in views.requests(run.engine.run, only_open=True)] == ["R/work-2/ask-1"]


def test_a_request_of_a_child_is_the_run_s_too() -> None:
    """It is told by an id that names the child; a second telling of it is no news to the run above."""
    run = calling()
    run.done("work", calls=[call()])
    assert of(ask(run, "R/work-1"), RequestChanged) == [RequestChanged("R/work-1/ask-1", opened=True)]
    assert of(ask(run, "R/work-1"), RequestChanged) == [RequestChanged("R/work-1/ask-1")]
    (seen,) = views.requests(run.engine.run)
    assert (seen["id"], seen["run"], seen["request"]) == ("R/work-1/ask-1", "R/work-1", "ask-1")
    assert views.status(run.engine.run) == "waiting"
    assert "waits for child R/work-1 of Other (which waits for a person)" in views.describe(run.engine.run)
    ask(run, "R/work-1", status="answered")
    assert views.requests(run.engine.run, only_open=True) == []
    assert views.status(run.engine.run) == "running"


def test_requests_from_further_below_keep_their_id() -> None:
    """A child tells of its child's: the id names the run that asks, at every height."""
    run = calling()
    run.done("work", calls=[call()])
    ask(run, "R/work-1", "R/work-1/step-1/ask-1", run="R/work-1/step-1", request="ask-1")
    (seen,) = views.requests(run.engine.run)
    assert seen["id"] == "R/work-1/step-1/ask-1"
    run.respond({"ok": 1}, request=seen["id"])
    (passed_on,) = of(run.last, ForwardAnswer)
    assert (passed_on.child, passed_on.run, passed_on.request) == ("R/work-1", "R/work-1/step-1", "ask-1")


def test_an_answer_is_passed_on_by_its_id_or_as_the_only_one() -> None:
    """Also an event of a type that answers it; where several are open one must be named."""
    run = calling()
    run.done("work", calls=[call()])
    ask(run, "R/work-1")
    for commands in (
        run.respond({"ok": 1}),
        run.respond({"ok": 1}, request="R/work-1/ask-1"),
        run.send("Reply", {"ok": 1}),
        run.send("Reply", {"ok": 1, "request_id": "R/work-1/ask-1"}),
    ):
        (passed_on,) = of(commands, ForwardAnswer)
        assert (passed_on.run, passed_on.request, passed_on.data) == ("R/work-1", "ask-1", {"ok": 1})
    ask(run, "R/work-1", "ask-2")
    run.respond({"ok": 1})
    accepted, reason = run.reply()
    assert not accepted
    assert "R/work-1/ask-1, R/work-1/ask-2" in reason


def test_what_a_child_asked_is_closed_when_it_ends() -> None:
    """An answer that comes then is refused, with the reason."""
    run = calling(workers=2, count=2)
    run.done("work", calls=[call()])
    ask(run, "R/work-1")
    assert of(end(run, "R/work-1"), RequestChanged) == [RequestChanged("R/work-1/ask-1")]
    run.respond({"ok": 1}, request="R/work-1/ask-1")
    assert run.reply() == (False, "request R/work-1/ask-1 was closed when run R/work-1 ended")


def test_a_request_is_answered_by_its_full_id_too() -> None:
    """The id that the runs above know is good in the run that asks."""
    run = Driver(
        flow(
            step("begin", "StartEvent", "Ask"),
            step("end", "Reply", "StopEvent"),
            bases={
                "Ask": "InputRequiredEvent",
                "Reply": "HumanResponseEvent",
            },
        ),
        "R",
    )
    run.start()
    run.done("begin", event("Ask"))
    run.respond({}, request="R/begin-1")
    run.judge()
    assert run.reply()[0]


def test_a_run_whose_child_goes_on_is_not_idle() -> None:
    """The child moves it on, nobody from outside has to."""
    run = calling(workers=2, count=2)
    run.wait("work", "Go")
    assert not of(run.done("work", calls=[call()]), Publish)
    end(run, "R/work-1")
    (idle,) = of(run.done("work", event("Done")), Publish)
    assert idle.event.type == "WorkflowIdleEvent"


def test_a_stop_event_before_a_call_ends_the_run_without_it() -> None:
    """What a pass sent comes first: no child begins in a run that has ended."""
    run = calling()
    assert of(run.done("work", sent=[STOP], calls=[call()]), StartChild) == []
