"""Steps with several parameters: when they start, with what, and what happens to events that find no partner."""

from everstep.engine import views
from everstep.engine.commands import FailRun, Publish, RunStep
from everstep.engine.messages import Sent
from everstep.flow.definition import StepDefinition
from tests.support.engine_driver import STOP, Driver, event, flow, of, several, step


def given(command: RunStep) -> list[str]:
    """What an invocation was given, as type and number."""
    assert command.event is None
    return [f"{one.type}{one.data['n']}" for one in command.batch or ()]


def sending(both: StepDefinition, *sent: str, bases: dict[str, str] | None = None) -> Driver:
    """A run whose first step sends events of these types, numbered in order, to a step with several parameters."""
    run = Driver(flow(step("begin", "StartEvent"), both, step("later", "Later", "StopEvent"), bases=bases))
    run.start()
    run.done("begin", sent=[event(kind, n=n) for n, kind in enumerate(sent)])
    return run


def batches(run: Driver, name: str = "both") -> list[list[str]]:
    """What the invocations of a step were given, in order."""
    return [given(one) for one in of(run.commands, RunStep) if one.step == name]


def unhandled(run: Driver) -> list[tuple[str, str]]:
    """The types of the events told as unhandled, with the step that kept them."""
    told = [one.event.data for one in of(run.commands, Publish) if one.event.type == "UnhandledEvent"]
    return [(data["event_type"], data["step_name"]) for data in told]


def test_it_starts_when_one_of_each_has_come() -> None:
    """In the order of its parameters, whatever comes first."""
    assert batches(sending(several("both", "a:A b:B"), "B")) == []
    assert batches(sending(several("both", "a:A b:B"), "B", "A")) == [["A1", "B0"]]


def test_surplus_waits_for_its_partner() -> None:
    """Each type in order of arrival."""
    assert batches(sending(several("both", "a:A b:B"), *"AAABB")) == [["A0", "B3"], ["A1", "B4"]]


def test_a_parameter_may_take_one_of_several_types() -> None:
    """The older comes first, whatever its type."""
    run = sending(several("both", "a:A|B c:C"), *"BACC")
    assert batches(run) == [["B0", "C2"], ["A1", "C3"]]


def test_a_type_may_stand_twice() -> None:
    """Two of it are needed then."""
    run = sending(several("both", "a:A b:A c:B"), *"ABA")
    assert batches(run) == [["A0", "A2", "B1"]]


def test_an_event_makes_room_where_another_would_do() -> None:
    """What may go to two parameters does not take the one that something else needs."""
    assert batches(sending(several("both", "x:A|B y:A"), *"AB")) == [["B1", "A0"]]
    assert batches(sending(several("both", "x:A|B|C y:A|B z:A"), *"ABC")) == [["C2", "B1", "A0"]]


def test_subclasses_are_taken_where_the_step_opted_in() -> None:
    """By the parameter of their base."""
    bases = {"Sub": "A"}
    assert batches(sending(several("both", "a:A b:B", accept_event_subclasses=True), "Sub", "B", bases=bases)) == [
        ["Sub0", "B1"]
    ]
    assert batches(sending(several("both", "a:A b:B"), "Sub", "B", bases=bases)) == []


NESTED = (
    step("split", "StartEvent", "[Item]", feeds=("join",)),
    step("left", "Item", "L", num_workers=9),
    step("right", "Item", "R", num_workers=9),
    several("both", "l:L r:R", "Done", num_workers=9),
    step("join", "Done", "Joined", join=True),
    step("later", "Later", "StopEvent"),
)


def test_streams_are_not_mixed() -> None:
    """What comes from two streams is not paired, though both run at one time."""
    run = Driver(flow(step("begin", "StartEvent", "Go"), step("open", "Go", "[L] [R]"), several("both", "l:L r:R")))
    run.start()
    run.done("begin", sent=[event("Go"), event("Go")])
    run.done("open", [event("L", n=1)])
    run.done("open", [event("R", n=2), event("L", n=3)])
    assert batches(run) == [["L3", "R2"]]
    assert unhandled(run) == [("L", "both")]


def test_what_it_returns_belongs_to_the_stream() -> None:
    """The join of the stream waits for it, and gets it."""
    run = Driver(flow(*NESTED))
    run.start()
    run.done("split", [event("Item"), event("Item")])
    for name, kind in (("left", "L"), ("left", "L"), ("right", "R")):
        run.done(name, event(kind, n=0))
    assert run.names() == ["right", "both"]
    run.done("both", event("Done"))
    run.done("right", event("R", n=1))
    assert run.names() == ["both"]
    run.done("both", event("Done"))
    (command,) = of(run.last, RunStep)
    assert (command.step, len(command.batch or ())) == ("join", 2)


def test_what_is_left_when_a_stream_ends_is_told_as_unhandled() -> None:
    """It keeps no stream open; the join goes on without it."""
    run = Driver(flow(*NESTED))
    run.start()
    run.done("split", [event("Item")])
    run.done("left", event("L", n=0))
    run.done("right")
    assert unhandled(run) == [("L", "both")]
    assert run.engine.run.unhandled == 1
    assert run.names() == ["join"]


def test_what_is_left_when_the_run_ends_is_told_as_unhandled() -> None:
    """Before the end of the run itself."""
    run = sending(several("both", "a:A b:B"), "A")
    run.send("Later")
    run.judge()
    run.done("later", STOP)
    assert unhandled(run) == [("A", "both")]


def test_a_run_with_unmatched_events_is_idle_where_something_may_come() -> None:
    """The other one may come from outside."""
    run = sending(several("both", "a:A b:B"), "A", "A")
    assert views.status(run.engine.run) == "idle"
    assert "step 'both' has A ×2, and nothing came for b: B" in views.describe(run.engine.run)
    assert views.progress(run.engine.run)["unmatched"] == [{"step": "both", "has": {"A": 2}, "lacks": ["b: B"]}]
    run.send("B", {"n": 9})
    run.judge()
    assert batches(run) == [["A0", "B9"]]


def test_a_run_that_can_get_no_partner_is_stuck_and_says_so() -> None:
    """The message names the step, what it has, and what it lacks."""
    run = Driver(flow(step("begin", "StartEvent", "A B"), several("both", "a:A b:B", "StopEvent")))
    run.start()
    (stuck,) = of(run.done("begin", event("A")), FailRun)
    assert stuck.kind == "stuck"
    assert stuck.message.endswith("Step 'both' has A, and nothing came for b: B.")
    assert unhandled(run) == [("A", "both")]


def test_what_lacks_a_partner_is_told_in_order_of_arrival() -> None:
    """The same before and after a restore."""
    run = sending(several("both", "a:A|B c:C"), *"ABAC")
    told = views.describe(run.engine.run)
    assert "step 'both' has B, A, and nothing came for c: C" in told
    run.restore()
    assert views.describe(run.engine.run) == told


def test_a_failed_one_hands_all_its_events_to_its_handler() -> None:
    """As one event that holds them, in the order of the parameters; the recoveries of all of them are used up."""
    run = Driver(
        flow(
            step("begin", "StartEvent", "A B"),
            several("both", "a:A b:B", "StopEvent"),
            step("help", "StepFailedEvent", "A B", role="catch_error"),
        )
    )
    run.start()
    run.done("begin", sent=[event("B", n=1), event("A", n=0)])
    (call,) = of(run.fail("both"), RunStep)
    assert call.event is not None
    assert call.event.data["input_event"] == {
        "type": "tuple[A, B]",
        "data": {"events": [{"type": "A", "data": {"n": 0}}, {"type": "B", "data": {"n": 1}}]},
    }
    run.done("help", sent=[event("A", n=0), event("B", n=1)])
    (failed,) = of(run.fail("both"), FailRun)
    assert failed.event == "A, B"
    assert "has used its max_recoveries of 1" in failed.message


def test_it_keeps_its_events_while_it_waits() -> None:
    """Behind the wait it has the same."""
    run = sending(several("both", "a:A b:B", waits=True), *"AB")
    run.wait("both", "Word")
    run.send("Word")
    run.judge()
    assert batches(run) == [["A0", "B1"]] * 2


def test_an_event_sent_to_it_alone_is_kept_there() -> None:
    """Others that take it are not given it."""
    run = Driver(flow(step("begin", "StartEvent", "A B"), several("both", "a:A b:B"), step("other", "A", "StopEvent")))
    run.start()
    run.done("begin", sent=[Sent(event("A", n=0), "both"), Sent(event("B", n=1))])
    assert run.names() == ["both"]


def test_what_is_kept_survives_a_crash() -> None:
    """Outside of streams and in them, with lineage and order."""
    run = sending(several("both", "a:A|B c:C"), *"BA")
    run.crash()
    run.send("C", {"n": 7})
    run.judge()
    run.crash()
    run.send("C", {"n": 8})
    run.judge()
    assert [given(one) for one in run.running.values()] == [["B0", "C7"], ["A1", "C8"]]
