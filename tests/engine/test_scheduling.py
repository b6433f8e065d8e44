"""Who runs next: queues, slots, the cap, turns between steps, pauses."""

from everstep.engine.commands import RunStep
from everstep.engine.inputs import Paused, Resumed
from tests.support.engine_driver import Driver, event, flow, of, step


def fan(*workers: int, cap: int = 45) -> Driver:
    """A started run whose first step may send events S0, S1 … to steps s0, s1 … with these numbers of workers."""
    steps = [step(f"s{i}", f"S{i}", num_workers=count) for i, count in enumerate(workers)]
    run = Driver(flow(step("begin", "StartEvent"), *steps, step("last", "Later", "StopEvent"), max_in_flight=cap))
    run.start()
    return run


def test_a_step_runs_at_most_num_workers_at_a_time() -> None:
    """Further events wait for a slot."""
    run = fan(2)
    run.done("begin", sent=[event("S0")] * 3)
    assert run.names() == ["s0", "s0"]
    run.done("s0")
    assert run.names() == ["s0", "s0"]
    assert run.done("s0") == []


def test_events_of_a_step_start_in_order_of_arrival() -> None:
    """First in, first out."""
    run = fan(1)
    run.done("begin", sent=[event("S0", n=n) for n in range(4)])
    seen: list[int] = []
    while run.running:
        call = run.run_of("s0").event
        assert call is not None
        seen.append(call.data["n"])
        run.done("s0")
    assert seen == [0, 1, 2, 3]


def test_cap_bounds_all_steps_together() -> None:
    """No more than `max_in_flight` invocations run, whatever slots the steps have."""
    run = fan(4, 4, cap=3)
    run.done("begin", sent=[event("S0"), event("S1")] * 4)
    assert len(run.running) == 3
    run.done("s0")
    assert len(run.running) == 3


def test_steps_take_turns_under_the_cap() -> None:
    """A step with many events waiting does not keep the others from starting."""
    run = fan(100, 100, cap=1)
    run.done("begin", sent=[*[event("S0")] * 50, event("S1")])
    run.done("s0")
    assert run.names() == ["s1"]


def test_nothing_starts_during_a_pause() -> None:
    """A paused run takes results in and starts what waits when it is resumed."""
    run = fan(1)
    run.apply(Paused(0))
    assert run.done("begin", sent=[event("S0")]) == []
    assert [one.step for one in of(run.apply(Resumed(0)), RunStep)] == ["s0"]


def test_what_an_unknown_invocation_reports_is_ignored() -> None:
    """Neither a number that never was nor one that only waits is taken for an end."""
    run = fan(1)
    run.done("begin", sent=[event("S0"), event("S0")])
    waiting = [one.id for one in run.engine.run.invocations.values() if not one.running]
    before = run.engine.snapshot()
    for number in (99, 1, *waiting):
        run.running[number] = RunStep(number, "s0x", None)
        assert run.done("s0x") == []
        run.running[number] = RunStep(number, "s0x", None)
        assert run.fail("s0x") == []
    assert run.engine.snapshot() == before


def test_counts_per_step() -> None:
    """Ends well and badly are counted apart."""
    run = Driver(
        flow(step("a", "StartEvent"), step("b", "X", "StopEvent"), step("help", "StepFailedEvent", role="catch_error"))
    )
    run.start()
    run.done("a", sent=[event("X"), event("X")])
    run.fail("b")
    run.done("b")
    queue = run.engine.run.scheduler.queues["b"]
    assert (queue.done, queue.failed, queue.running) == (1, 1, 0)
