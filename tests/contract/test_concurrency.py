"""How many invocations run at one time: per step, and over the whole run."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from everstep import Context, Workflow, step
from everstep.events import Event, StartEvent, StopEvent
from tests.support.drivers import Driver


class Crowd:
    """Counts who is inside at one time, per run."""

    def __init__(self) -> None:
        self._now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    @contextmanager
    def inside(self, run_id: str) -> Iterator[None]:
        """Be inside for the block."""
        self._now[run_id] += 1
        self.most[run_id] = max(self.most[run_id], self._now[run_id])
        try:
            yield
        finally:
            self._now[run_id] -= 1


CROWD = Crowd()


class Job(Event):
    number: int


class Done(Event):
    number: int


class Bounded(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Job]:
        return [Job(number=n) for n in range(12)]

    @step(num_workers=3)
    async def work(self, ctx: Context, ev: Job) -> Done:
        with CROWD.inside(ctx.run_id):
            await asyncio.sleep(0.1)
        return Done(number=ev.number)

    @step
    async def join(self, evs: list[Done]) -> StopEvent:
        return StopEvent(result=len(evs))


class OneByOne(Bounded):
    @step(num_workers=1)
    async def work(self, ctx: Context, ev: Job) -> Done:
        with CROWD.inside(ctx.run_id):
            await asyncio.sleep(0.01)
        return Done(number=ev.number)

    @step
    async def join(self, evs: list[Done]) -> StopEvent:
        return StopEvent(result=[ev.number for ev in evs])


class Capped(Bounded):
    max_in_flight = 5

    @step(num_workers=50)
    async def work(self, ctx: Context, ev: Job) -> Done:
        with CROWD.inside(ctx.run_id):
            await asyncio.sleep(0.1)
        return Done(number=ev.number)


@pytest.mark.parametrize(("flow", "most"), [(Bounded, 3), (Capped, 5)])
async def test_the_bound_is_kept_and_used(driver: Driver, flow: type[Workflow], most: int) -> None:
    """num_workers bounds a step and max_in_flight the run; up to the bound, work goes on side by side."""
    handler = await driver.run(flow)
    assert await handler == 12
    assert CROWD.most[handler.run_id] == most


async def test_one_worker_keeps_the_order(driver: Driver) -> None:
    """A step with one worker takes its events one after the other, in the order in which they were sent."""
    handler = await driver.run(OneByOne)
    assert await handler == list(range(12))
    assert CROWD.most[handler.run_id] == 1
