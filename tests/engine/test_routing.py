"""Which step takes what: by exact type, by ancestry where it opted in, by name where it was addressed."""

import pytest

from everstep.engine.commands import CompleteRun, FailRun, Publish, RunStep
from everstep.engine.messages import Envelope, Sent
from everstep.engine.routing import Router
from tests.support.engine_driver import STOP, Driver, event, flow, of, step

ANIMALS = {"Animal": "Event", "Dog": "Animal", "Puppy": "Dog"}

ROUTES = flow(
    step("begin", "StartEvent"),
    step("exact", "Animal"),
    step("deep", "Animal", accept_event_subclasses=True),
    step("dogs", "Dog Cat", accept_event_subclasses=True),
    step("help", "StepFailedEvent", role="catch_error"),
    bases=ANIMALS,
)


@pytest.mark.parametrize(
    ("sent", "target", "takers"),
    [
        (event("Animal"), None, ["exact", "deep"]),
        (event("Dog"), None, ["deep", "dogs"]),
        (event("Puppy"), None, ["deep", "dogs"]),
        (event("Cat"), None, ["dogs"]),
        (event("Animal"), "deep", ["deep"]),
        (event("Animal"), "dogs", []),
        (event("Animal"), "nobody", []),
        (event("StepFailedEvent"), None, []),
        (event("Unknown"), None, []),
        (Envelope("Poodle", {}, ("Dog", "Animal", "Event")), None, ["deep", "dogs"]),
        (Envelope("Dog", {}, ("StartEvent",)), None, ["deep", "dogs"]),
    ],
)
def test_routes(sent: Envelope, target: str | None, takers: list[str]) -> None:
    """An event goes to the steps that take it, in the flow's order; the definition's ancestors win over given ones."""
    assert [one.name for one in Router(ROUTES).steps_for(sent, target)] == takers


def test_every_taker_gets_its_own_delivery() -> None:
    """Two steps that accept one type both run."""
    run = Driver(flow(step("a", "StartEvent", "StopEvent"), step("b", "StartEvent")))
    assert [one.step for one in of(run.start(), RunStep)] == ["a", "b"]


def test_sent_event_reaches_only_the_step_it_names() -> None:
    """A targeted event is delivered to one of its takers."""
    run = Driver(flow(step("a", "StartEvent"), step("b", "X"), step("c", "X", "StopEvent")))
    run.start()
    run.done("a", sent=[Sent(event("X"), "c")])
    assert run.names() == ["c"]


def test_event_nobody_takes_is_counted_and_shown() -> None:
    """An unhandled event is published as such."""
    run = Driver(flow(step("a", "StartEvent"), step("b", "Later", "StopEvent")))
    run.start()
    (shown, _idle) = of(run.done("a", sent=[Sent(event("X"), "b")]), Publish)
    assert shown.event.data == {"event_type": "X", "qualified_name": "X", "step_name": "b", "idle": True}
    assert run.engine.run.unhandled == 1


def test_first_stop_event_wins_and_ends_the_rest() -> None:
    """What runs when a stop event comes is cancelled; what it reports later changes nothing."""
    run = Driver(flow(step("a", "StartEvent", "StopEvent"), step("b", "StartEvent", "StopEvent")))
    run.start()
    assert [type(one).__name__ for one in run.done("a", STOP)] == ["CancelStep", "CompleteRun"]
    assert run.done("b", event("StopEvent", result="late")) == []


def test_stop_event_among_sent_events_ends_the_run() -> None:
    """A stop event needs not be returned; what stands behind it is dropped with the run."""
    run = Driver(flow(step("a", "StartEvent"), step("b", "X")))
    run.start()
    assert of(run.done("a", sent=[event("X"), STOP, event("X")]), CompleteRun)
    assert run.names() == []


def test_subclass_of_stop_event_ends_the_run() -> None:
    """A typed stop event is one, even where the definition lists only the base."""
    run = Driver(flow(step("a", "StartEvent", "Total"), bases={"Total": "StopEvent"}))
    run.start()
    (end,) = of(run.done("a", event("Total", sum=3)), CompleteRun)
    assert end.event.data == {"sum": 3}


def test_start_event_that_no_step_takes_fails_the_run() -> None:
    """A run that cannot begin says so at once."""
    run = Driver(flow(step("a", "Other", "StopEvent")))
    (failed,) = of(run.start(), FailRun)
    assert (failed.kind, failed.message) == ("start", "no step of Flow accepts StartEvent; start it with StartEvent")


def test_second_start_is_ignored() -> None:
    """A run starts once."""
    run = Driver(flow(step("a", "StartEvent", "StopEvent")))
    run.start()
    assert run.start() == []
