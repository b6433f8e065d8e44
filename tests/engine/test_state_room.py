"""The bound of a run's state: what would pass it fails its step, and nothing of it takes effect."""

from everstep.engine import state_room
from everstep.engine.commands import CancelStep, FailRun, RunStep
from everstep.engine.inputs import LockReleased, LockRequested, StepSucceeded
from everstep.engine.messages import Outcome
from everstep.engine.paths import size_in_bytes
from tests.support.engine_driver import Driver, event, flow, of, step

FLOW = flow(step("a", "StartEvent", "[Item]"), step("b", "Item", "StopEvent"), protocol=3)


def running(limit: int, protocol: int = 3) -> Driver:
    """A run with invocations 2 and 3 of step b under way, whose state has so many bytes at most."""
    run = Driver(flow(*FLOW.steps.values(), protocol=protocol))
    state_room.bound(run.engine.run, limit)
    run.start({"n": 0})
    run.done("a", [event("Item", n=1), event("Item", n=2)])
    return run


def write(run: Driver, invocation: int, *changes: list[object]) -> list[FailRun]:
    """A step ends with these changes; gives the failure of the run that comes of it."""
    return of(run.apply(StepSucceeded(run.now, invocation, Outcome(state=changes))), FailRun)


def test_what_passes_the_bound_fails_its_step() -> None:
    """By name, with the remedy; the state is what it was."""
    run = running(100)
    assert write(run, 2, ["set", "a.b", "x" * 60]) == []
    (failed,) = write(run, 3, ["set", "a.c", "é" * 40])
    assert failed.step == "b"
    assert "step 'b' makes the run's state 167 bytes large, over the server's limit of 100 for" in failed.message
    assert "Keep references" in failed.message
    assert run.engine.run.state == {"n": 0, "a": {"b": "x" * 60}}


def test_what_is_replaced_or_deleted_makes_room() -> None:
    """The bound is of what is there, however much was ever written."""
    run = Driver(flow(step("a", "StartEvent | Item", "Item"), protocol=3))
    state_room.bound(run.engine.run, 100)
    run.start()
    for invocation in range(1, 50):
        changes = [["set", "text", "x" * 70]] if invocation % 2 else [["delete", "text"], ["set", "n", invocation]]
        ended = run.apply(StepSucceeded(run.now, invocation, Outcome(event("Item"), state=changes)))
        assert of(ended, RunStep), "it goes on"
    assert size_in_bytes(run.engine.run.state) <= run.engine.run.state_ceiling <= 100


def test_an_edit_that_passes_the_bound_ends_its_step() -> None:
    """Where others have written meanwhile: the block has been told nothing, and is cancelled."""
    run = running(100)
    run.apply(LockRequested(run.now, 2, 1, 1, 10.0))
    commands = run.apply(LockReleased(run.now, 2, 1, 1, [["set", "text", "x" * 100]]))
    assert of(commands, CancelStep)[0] == CancelStep(2)
    assert of(commands, FailRun)[0].step == "b"
    assert run.engine.run.state == {"n": 0}


def test_runs_of_older_protocols_go_on_as_they_began() -> None:
    """Without a bound."""
    run = running(100, protocol=2)
    assert write(run, 2, ["set", "text", "x" * 200]) == []
