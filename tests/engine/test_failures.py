"""Steps that failed for good: error handlers, their budgets, and how a run fails without one."""

from typing import Any

import pytest

from everstep.engine.commands import FailRun, RunStep
from everstep.engine.inputs import StepFailed, StepSucceeded
from everstep.engine.messages import Failure
from tests.support.engine_driver import Driver, event, flow, of, step


def handler(name: str, **options: Any):
    """An error handler that may give the work back."""
    return step(name, "StepFailedEvent", "Item StopEvent", role="catch_error", **options)


def working(*handlers: Any) -> Driver:
    """A started run whose step `work` takes the start event's Item."""
    run = Driver(flow(step("begin", "StartEvent", "Item"), step("work", "Item", "StopEvent"), *handlers))
    run.start()
    run.done("begin", event("Item", n=1))
    return run


def test_unhandled_failure_fails_the_run_and_says_where() -> None:
    """Without a handler the run ends, naming step, event and cause."""
    run = working()
    (failed,) = of(run.fail("work", "no luck"), FailRun)
    assert (failed.kind, failed.step, failed.event) == ("step", "work", "Item")
    assert failed.message == "step 'work' failed: ValueError: no luck"


def test_handler_is_given_the_failure() -> None:
    """The handler's event tells step, input, exception, attempts and times."""
    run = working(handler("help"))
    run.now = 60.0
    (call,) = of(run.fail("work", "no luck"), RunStep)
    assert call.event is not None
    assert call.event.type == "StepFailedEvent"
    assert call.event.data == {
        "step_name": "work",
        "input_event": {"type": "Item", "data": {"n": 1}},
        "exception": {"type": "ValueError", "message": "no luck"},
        "attempts": 3,
        "elapsed_seconds": 1.5,
        "failed_at": "1970-01-01T00:01:00+00:00",
        "traceback": "Traceback …",
    }


def test_failed_join_hands_its_batch_to_the_handler() -> None:
    """A join has no one input event: its handler gets an event that holds them all."""
    run = Driver(
        flow(
            step("split", "StartEvent", "[Item]", feeds=("join",)),
            step("join", "Item", "StopEvent", join=True),
            handler("help"),
        )
    )
    run.start()
    run.done("split", [event("Item", n=1)])
    (call,) = of(run.fail("join"), RunStep)
    assert call.event is not None
    batch = {"events": [{"type": "Item", "data": {"n": 1}}]}
    assert call.event.data["input_event"] == {"type": "list[Item]", "data": batch}


@pytest.mark.parametrize("order", [("any", "mine"), ("mine", "any")])
def test_handler_that_names_the_step_goes_before_the_one_for_all(order: tuple[str, str]) -> None:
    """Whatever their order in the flow."""
    makers = {"any": handler("any"), "mine": handler("mine", for_steps=("work",))}
    run = working(*(makers[name] for name in order))
    run.fail("work")
    assert run.names() == ["mine"]


def test_handler_for_other_steps_does_not_help() -> None:
    """A scoped handler covers the steps it names and no others."""
    assert of(working(handler("mine", for_steps=("begin",))).fail("work"), FailRun)


def test_recoveries_are_counted_along_the_lineage() -> None:
    """A handler that gives the work back helps `max_recoveries` times; then the run fails and says so."""
    run = working(handler("help", max_recoveries=2))
    for _ in range(2):
        run.fail("work")
        run.done("help", event("Item", n=1))
    (failed,) = of(run.fail("work"), FailRun)
    assert failed.message.endswith("(its error handler 'help' has used its max_recoveries of 2)")


def test_each_lineage_has_its_own_budget() -> None:
    """Two events that descend from no common failure are helped once each."""
    run = working(handler("help"))
    run.done("work", sent=[event("Item", n=2), event("Item", n=3)])
    run.fail("work")
    run.fail("work")
    assert run.names() == ["help", "help"]


def test_join_continues_the_lineage_of_its_members() -> None:
    """What a member's recovery used is used for the join too."""
    run = Driver(
        flow(
            step("split", "StartEvent", "[Item]", feeds=("join",)),
            step("work", "Item", "Done"),
            step("join", "Done", "StopEvent", join=True),
            step("help", "StepFailedEvent", "Done", role="catch_error"),
        )
    )
    run.start()
    run.done("split", [event("Item")])
    run.fail("work")
    run.done("help", event("Done"))
    assert of(run.fail("join"), FailRun)


def test_batches_of_the_runs_own_scope_have_separate_lineages() -> None:
    """A recovery behind an earlier batch does not use up the budget of a later one."""
    run = Driver(
        flow(
            step("begin", "StartEvent"),
            step("work", "Item", "Done"),
            step("join", "Done", "Joined", join=True),
            step("help", "StepFailedEvent", "Done", role="catch_error"),
            step("other", "Later", "StopEvent"),
        )
    )
    run.start()
    run.done("begin", event("Item"))
    run.fail("work")
    run.done("help", event("Done"))
    run.done("join")
    run.send("Later")
    run.judge()
    run.done("other", event("Done"))
    run.fail("join")
    assert run.names() == ["help"]


def test_failing_handler_fails_the_run() -> None:
    """Nobody handles a handler."""
    run = working(handler("help"), handler("other"))
    run.fail("work")
    assert of(run.fail("help"), FailRun)[0].step == "help"


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (5, "an outcome must be a JSON object; got 5"),
        ({"returned": "Item"}, "an event must be a JSON object; got 'Item'"),
        ({"returned": {"data": {}}}, "an event needs a type, the name of its class; got None"),
        ({"returned": [{"type": "Item", "data": 3}]}, "the data of Item must be a JSON object; got 3"),
        ({"returned": {"type": "Ask", "due_in": "soon"}}, "when a request is due is a number of seconds"),
        ({"returned": {"type": "Ask", "due_at": 10**400}}, "when a request is due is a number of seconds"),
        ({"sent": {"event": {}}}, "'sent' of an outcome must be a list"),
        ({"sent": [{"step": "work"}]}, "an event needs a type"),
        ({"sent": [{"event": {"type": "Item"}, "step": 3}]}, "the step that a sent event is for is named by a string"),
        ({"state": [["set", "a..b", 1]]}, "is no change of state"),
        ({"attempts": "many"}, "the attempts of an outcome are a whole number"),
    ],
)
def test_malformed_outcome_is_a_failure_of_its_step(raw: Any, fault: str) -> None:
    """What a worker reports may not break the run: handlers may help, and the cause is named."""
    run = working(handler("help"))
    (call,) = of(run.apply(StepSucceeded.from_json(0.0, 2, raw)), RunStep)
    assert call.step == "help"
    assert call.event is not None
    assert fault in call.event.data["exception"]["message"]


def test_failure_from_json_takes_what_it_finds() -> None:
    """An exception of an unknown shape still fails the step with what is known."""
    run = working()
    (failed,) = of(run.apply(StepFailed(0.0, 2, Failure.from_json({"message": "gone"}))), FailRun)
    assert failed.message == "step 'work' failed: Exception: gone"


def test_lineage_keeps_the_counts_of_all_handlers() -> None:
    """A recovery by one handler does not give another its budget back."""
    run = Driver(
        flow(
            step("begin", "StartEvent", "Item"),
            step("left", "Item", "StopEvent"),
            step("right", "Other", "StopEvent"),
            step("help_left", "StepFailedEvent", "Other", role="catch_error", for_steps=("left",)),
            step("help_right", "StepFailedEvent", "Item", role="catch_error", for_steps=("right",)),
        )
    )
    run.start()
    run.done("begin", event("Item"))
    run.fail("left")
    run.done("help_left", event("Other"))
    run.fail("right")
    run.done("help_right", event("Item"))
    assert of(run.fail("left"), FailRun)
