"""The way that a run took is told the same on every driver."""

from __future__ import annotations

from everstep import Context, Workflow, catch_error, step
from everstep.events import Event, StartEvent, StepFailedEvent, StopEvent
from everstep.temporal import Limits
from tests.support.drivers import Driver, TemporalDriver
from tests.support.shop_flow import Shop


async def test_steps_are_counted_with_their_attempts_and_arrows(driver: Driver) -> None:
    """Invocations, tries, members of a stream, and how often each event went where."""
    handler = await driver.run(Shop, pieces=3, bad=1)
    await driver.open_requests(handler)
    path = await handler.path()
    assert path.status == "waiting"
    assert path.open == {"AskApproval": 1}
    await handler.respond({"approved": True})
    assert await handler == "sent"
    path = await handler.path()
    assert path.status == "completed"
    assert path.ended_at is not None
    assert {name: (step.invocations, step.done, step.attempts) for name, step in path.steps.items()} == {
        "split": (1, 1, 1),
        "pack": (3, 3, 4),
        "join": (1, 1, 1),
        "send": (1, 1, 1),
    }
    assert path.given == {
        ("split", "Item"): 3,
        ("pack", "Packed"): 3,
        ("join", "AskApproval"): 1,
        ("send", "StopEvent"): 1,
    }
    assert path.taken == {("Order", "split"): 1, ("Item", "pack"): 3, ("Packed", "join"): 3, ("Approval", "send"): 1}
    assert path.answered == {("AskApproval", "Approval"): 1}
    assert path.to_json()["steps"][0]["seconds"] >= 0


async def test_failures_and_their_handlers_are_counted(driver: Driver) -> None:
    """With the last error."""
    handler = await driver.run(_Mended)
    await handler
    path = await handler.path()
    assert (path.steps["work"].failed, path.steps["work"].last_error) == (2, "ValueError: number 1")
    assert path.recovered == {("work", "mend"): 2}


async def test_a_run_that_failed_tells_why(driver: Driver) -> None:
    """Its status and the message."""
    seen = await driver.run(_Failing)
    await driver.seen(seen)
    path = await seen.path()
    assert path.status == "failed"
    assert "out of luck" in path.error


class Go(Event):
    pass


class _Waits(Workflow):
    @step
    async def wait(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(Go)
        await ctx.wait_for_event(Go)
        return StopEvent()


async def test_waits_inside_a_step_are_one_invocation(driver: Driver) -> None:
    """Suspended once, answered twice."""
    handler = await driver.run(_Waits)
    await driver.in_status(handler, "idle")
    path = await handler.path()
    assert (path.steps["wait"].waiting, path.steps["wait"].done) == (1, 0)
    await handler.send_event(Go())
    await handler.send_event(Go())
    await handler
    path = await handler.path()
    counted = path.steps["wait"]
    assert (counted.invocations, counted.waiting, counted.done) == (1, 0, 1)
    assert path.waited == {("Go", "wait"): 2}


class Round(Event):
    number: int


class _Rounds(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> Round:
        return Round(number=1)

    @step
    async def again(self, ev: Round) -> Round | StopEvent:
        return Round(number=ev.number + 1) if ev.number < 60 else StopEvent()


async def test_the_way_leads_over_continue_as_new(temporal_driver: TemporalDriver) -> None:
    """Nothing is counted twice, and nothing is lost."""
    temporal_driver.limits = Limits(continue_at_events=60)
    handler = await temporal_driver.run(_Rounds)
    await handler
    path = await handler.path()
    assert path.steps["again"].done == 60
    assert path.taken["Round", "again"] == 60


async def test_a_pass_that_is_dropped_counts_once(driver: Driver) -> None:
    """Collections that are told "not yet" and run again are one invocation each."""
    handler = await driver.run(_Collects)
    await handler
    path = await handler.path()
    assert path.steps["take"].invocations == path.steps["take"].done == 4


class Piece(Event):
    pass


class _Collects(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Piece | None:
        for _ in range(4):
            ctx.send_event(Piece())
        return None

    @step
    async def take(self, ctx: Context, ev: Piece) -> StopEvent | None:
        return None if ctx.collect_events(ev, [Piece] * 4) is None else StopEvent()


class Part(Event):
    number: int


class Done(Event):
    pass


class _Mended(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> list[Part]:
        return [Part(number=n) for n in range(3)]

    @step(num_workers=1)
    async def work(self, ev: Part) -> Done:
        if ev.number < 2:
            raise ValueError(f"number {ev.number}")
        return Done()

    @step
    async def join(self, evs: list[Done]) -> StopEvent:
        return StopEvent(result=len(evs))

    @catch_error
    async def mend(self, ev: StepFailedEvent) -> Done:
        return Done()


class _Failing(Workflow):
    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        raise ValueError("out of luck")
