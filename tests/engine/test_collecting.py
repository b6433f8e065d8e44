"""Collected events: when a batch is complete, what is in it, and what happens to a pass that was told "not yet"."""

from everstep.engine.commands import RunStep
from everstep.engine.messages import Gather
from tests.support.engine_driver import Driver, event, flow, of, step

PAIR = (("A", 1), ("B", 1))


def collecting(*kinds: str, workers: int = 4) -> Driver:
    """A run whose step `gather` is given events of these types, numbered."""
    run = Driver(
        flow(
            step("begin", "StartEvent", "A"),
            step("gather", "A B", "Out", num_workers=workers),
            step("end", "Out", "StopEvent"),
        )
    )
    run.start()
    run.done("begin", sent=[event(kind, n=n) for n, kind in enumerate(kinds)])
    return run


def gather(run: Driver, expected: tuple[tuple[str, int], ...] = PAIR, buffer: str = "b") -> RunStep | None:
    """The oldest pass of `gather` ends, told "not yet"; gives it again if it runs again."""
    number = run.run_of("gather").invocation
    commands = run.done("gather", event("Out"), state=[["set", f"n{number}", 1]], gathers=[Gather(buffer, expected)])
    again = [one for one in of(commands, RunStep) if one.invocation == number]
    return again[0] if again else None


def batch(again: RunStep | None) -> list[str]:
    """The batch that a pass which runs again was given."""
    assert again is not None
    assert again.record is not None
    _, events = again.record.collected[-1]
    return [f"{one.type}{one.data['n']}" for one in events or ()]


def test_the_pass_that_completes_a_batch_runs_again_and_its_effects_are_dropped() -> None:
    """In its slot, at once; the others commit."""
    run = collecting("A", "B")
    assert gather(run) is None
    assert set(run.engine.run.state) == {"n2"}
    assert batch(gather(run)) == ["A0", "B1"]
    assert set(run.engine.run.state) == {"n2"}
    assert run.names() == ["end", "gather"]
    run.done("gather", state=[["set", "both", 1]])
    assert set(run.engine.run.state) == {"n2", "both"}


def test_surplus_stays_for_the_next_batch() -> None:
    """In order of arrival, each event in one batch."""
    run = collecting("A", "A", "A", "B", "B", workers=1)
    for _ in range(3):
        assert gather(run) is None
    assert batch(gather(run)) == ["A0", "B3"]
    run.done("gather")
    assert batch(gather(run)) == ["A1", "B4"]


def test_batches_are_in_the_expected_order() -> None:
    """Also where a type stands in several places."""
    run = collecting("A", "A", "B")
    gather(run, (("A", 1), ("B", 1), ("A", 1)))
    gather(run, (("A", 1), ("B", 1), ("A", 1)))
    assert batch(gather(run, (("A", 1), ("B", 1), ("A", 1)))) == ["A0", "B2", "A1"]


def test_buffers_are_apart_and_vanish_when_empty() -> None:
    """Each has its own name, within its step."""
    run = collecting("A", "A", "B")
    gather(run, buffer="x")
    gather(run, buffer="y")
    assert list(run.engine.run.buffers) == ["gather/x", "gather/y"]
    assert batch(gather(run, buffer="y")) == ["A1", "B2"]
    assert list(run.engine.run.buffers) == ["gather/x"]


def test_another_expectation_counts_anew() -> None:
    """What was kept counts for what is expected now."""
    run = collecting("A", "A", "A")
    assert gather(run, (("A", 5),)) is None
    assert gather(run, (("A", 4),)) is None
    assert batch(gather(run, (("A", 3),))) == ["A0", "A1", "A2"]


def test_buffers_survive_a_crash() -> None:
    """A pass that has a batch has it again; what is kept is kept."""
    run = collecting("A", "A", "B", "B")
    gather(run)
    gather(run)
    first = gather(run)
    run.crash()
    assert run.run_of("gather") == first
    run.done("gather")
    assert batch(gather(run)) == ["A1", "B3"]


def test_a_pass_that_collects_twice_is_told_once_for_each() -> None:
    """ "Not yet" of the first collection stands when the second is complete."""
    run = collecting("A", "A")
    number = run.run_of("gather").invocation
    run.done("gather", gathers=[Gather("one", (("A", 2),)), Gather("two", (("A", 2),))])
    assert number not in run.running
    commands = run.done("gather", gathers=[Gather("two", (("A", 2),)), Gather("one", (("A", 3),))])
    (again,) = of(commands, RunStep)
    assert again.record is not None
    assert [(name, len(found or ())) for name, found in again.record.collected] == [("two", 2)]
