"""The run's lock: one holder at a time, first come first served, commits once, fences, leases."""

from everstep.engine.commands import CompleteRun, GrantLock, RefuseLock, RunStep
from everstep.engine.inputs import LockReleased, LockRenewed, LockRequested, StepSucceeded
from everstep.engine.messages import Outcome
from tests.support.engine_driver import STOP, Driver, event, flow, of, step

FLOW = flow(step("a", "StartEvent", "[Item]"), step("b", "Item", "StopEvent"))


def running(steps: int = 3) -> Driver:
    """A run with invocations 2, 3, … of step b under way."""
    run = Driver(FLOW)
    run.start({"n": 0})
    run.done("a", [event("Item", n=n) for n in range(steps)])
    return run


def ask(run: Driver, invocation: int, edit: int = 1, token: int = 1, lease: float | None = 10.0) -> list[GrantLock]:
    """A block asks; gives what was granted."""
    return of(run.apply(LockRequested(run.now, invocation, edit, token, lease)), GrantLock)


def commit(run: Driver, invocation: int, value: int, edit: int = 1, token: int = 1) -> list[GrantLock]:
    """A block commits; gives what was granted next."""
    return of(run.apply(LockReleased(run.now, invocation, edit, token, [["set", "n", value]])), GrantLock)


def state(run: Driver) -> dict[str, object]:
    """The run's state."""
    return run.engine.run.state


def test_blocks_have_the_lock_one_after_the_other() -> None:
    """In the order in which they asked; each sees what the one before it left."""
    run = running()
    assert ask(run, 3) == [GrantLock(3, 1, 1, {"n": 0})]
    assert ask(run, 2) == ask(run, 4) == []
    assert commit(run, 3, 1) == [GrantLock(2, 1, 1, {"n": 1})]
    assert commit(run, 2, 2) == [GrantLock(4, 1, 1, {"n": 2})]


def test_a_block_that_changes_nothing_lets_the_next_one_go_on() -> None:
    """It is not remembered: if it comes again it sees the newest state."""
    run = running()
    ask(run, 2)
    ask(run, 3)
    assert of(run.apply(LockReleased(0.0, 2, 1, 1)), GrantLock) == [GrantLock(3, 1, 1, {"n": 0})]
    commit(run, 3, 5)
    assert ask(run, 2, token=2) == [GrantLock(2, 1, 2, {"n": 5})]


def test_a_block_of_a_later_attempt_sees_what_the_first_one_saw() -> None:
    """It holds nothing, and what it commits is dropped."""
    run = running()
    ask(run, 2)
    commit(run, 2, 1)
    ask(run, 3)
    commit(run, 3, 2)
    assert ask(run, 2, token=2) == [GrantLock(2, 1, 2, {"n": 0}, applied=True)]
    commit(run, 2, 1, token=2)
    assert state(run) == {"n": 2}
    assert ask(run, 2, edit=2, token=2) == [GrantLock(2, 2, 2, {"n": 2})]


def test_a_later_attempt_is_told_of_all_blocks_that_were_committed() -> None:
    """It need not ask for each of them."""
    run = running()
    for edit in (1, 2, 3):
        ask(run, 2, edit)
        commit(run, 2, edit, edit)
    (granted,) = ask(run, 2, 2, token=2)
    assert granted == GrantLock(2, 2, 2, {"n": 1}, applied=True, also={3: {"n": 2}})


def test_a_later_attempt_takes_over_from_an_earlier_one() -> None:
    """What the earlier one still says is not listened to."""
    run = running()
    ask(run, 2, token=1)
    assert ask(run, 2, token=2) == [GrantLock(2, 1, 2, {"n": 0})]
    commit(run, 2, 9, token=1)
    assert state(run) == {"n": 0}
    assert of(run.apply(LockRequested(0.0, 2, 1, 1)), RefuseLock)[0].reason == (
        "a later attempt of this step is under way"
    )
    commit(run, 2, 1, token=2)
    assert state(run) == {"n": 1}


def test_the_end_of_a_step_frees_its_lock() -> None:
    """Also when it failed without a word about its block."""
    run = Driver(
        flow(
            step("a", "StartEvent", "[Item]"),
            step("b", "Item", "StopEvent"),
            step("h", "StepFailedEvent", role="catch_error", max_recoveries=9),
        )
    )
    run.start()
    run.done("a", [event("Item"), event("Item")])
    ask(run, 2)
    ask(run, 3)
    assert of(run.fail("b"), GrantLock) == [GrantLock(3, 1, 1, {})]


def test_a_silent_holder_loses_the_lock() -> None:
    """When one that waits asks after it; one that is heard of keeps it."""
    run = running()
    ask(run, 2)
    ask(run, 3)
    run.apply(LockRenewed(8.0, 2, 1, 1))
    assert run.apply(LockRenewed(17.0, 3, 1, 1)) == run.apply(LockRenewed(18.0, 4, 1, 1)) == []
    assert run.apply(LockRenewed(18.0, 3, 1, 1)) == [GrantLock(3, 1, 1, {"n": 0})]
    commit(run, 2, 9)
    assert state(run) == {"n": 0}


def test_a_holder_without_a_lease_keeps_the_lock() -> None:
    """However long it is silent."""
    run = running()
    ask(run, 2, lease=None)
    ask(run, 3)
    assert run.apply(LockRenewed(1e9, 3, 1, 1)) == []


def test_a_block_that_comes_again_sees_what_its_step_had_set_before_it() -> None:
    """Also when that was not committed yet."""
    run = running()
    ask(run, 2)
    run.apply(LockReleased(0.0, 2, 1, 1, [["set", "n", 2]], [["set", "n", 1], ["set", "m", 1]]))
    assert state(run) == {"n": 2}
    assert ask(run, 2, token=2) == [GrantLock(2, 1, 2, {"n": 1, "m": 1}, applied=True)]


def test_a_step_whose_block_was_not_committed_runs_again() -> None:
    """It lost the lock without knowing; nothing of its outcome counts."""
    run = running(2)
    outcome = Outcome(STOP, state=[["set", "x", 1]], edits=[1])
    (again,) = run.apply(StepSucceeded(0.0, 2, outcome))
    assert again == RunStep(2, "b", event("Item", n=0))
    assert state(run) == {"n": 0}
    ask(run, 2)
    commit(run, 2, 1)
    assert of(run.apply(StepSucceeded(0.0, 2, outcome)), CompleteRun) == [CompleteRun(STOP)]
    assert state(run) == {"n": 1, "x": 1}


def test_the_end_of_the_run_refuses_whoever_waits() -> None:
    """And whoever asks afterwards."""
    run = running()
    ask(run, 3)
    ask(run, 4)
    assert [one.invocation for one in of(run.done("b", STOP), RefuseLock)] == [4]
    assert of(run.apply(LockRequested(0.0, 4, 1, 1)), RefuseLock)[0].reason == "the run has ended, or the step has"


def test_a_block_that_waits_no_more_is_answered() -> None:
    """A driver that keeps a request open for it can close that."""
    run = running()
    ask(run, 2)
    ask(run, 3)
    assert [one.invocation for one in of(run.apply(LockReleased(0.0, 3, 1, 1)), RefuseLock)] == [3]
    assert commit(run, 2, 1) == []


def test_what_was_committed_outlives_a_crash() -> None:
    """Who held the lock or waited for it is gone; tokens begin anew."""
    run = running()
    ask(run, 2, token=5)
    commit(run, 2, 1, token=5)
    ask(run, 2, edit=2, token=5)
    ask(run, 3, token=5)
    run.crash()
    assert ask(run, 3, token=1) == [GrantLock(3, 1, 1, {"n": 1})]
    assert ask(run, 2, token=1) == [GrantLock(2, 1, 1, {"n": 0}, applied=True)]


def test_a_state_is_cleared() -> None:
    """All that was there is gone, whoever had set it."""
    run = Driver(flow(step("a", "StartEvent", "Item"), step("b", "Item", "StopEvent")))
    run.start({"a": 1, "b": {"c": 2}})
    run.done("a", event("Item"), state=[["set", "d", 1], ["clear"], ["set", "e", 2]])
    assert state(run) == {"e": 2}
