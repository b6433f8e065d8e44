"""A flow for tests that kill: many steps add to one counter, and one of them hangs while it holds the run's lock."""

from __future__ import annotations

import asyncio
import os

from pydantic import BaseModel

from everstep import Context, Workflow, step
from everstep.events import Event, StartEvent, StopEvent
from tests.support.durable_flows import folder


class Count(BaseModel):
    """The counter, and who added to it."""

    count: int = 0
    by: list[int] = []
    saw: dict[str, int] = {}


class Add(Event):
    """One to add."""

    number: int


class Added(Event):
    """It was added, to what the block saw."""

    number: int
    saw: int


class CountFlow(Workflow):
    """Adds `steps` times. One step hangs within its block when it runs for the first time, another one after its block;
    they write their process ids first."""

    @step
    async def begin(self, ev: StartEvent) -> list[Add]:
        return [Add(number=number) for number in range(ev.steps)]

    @step(num_workers=40)
    async def add(self, ctx: Context[Count], ev: Add) -> Added:
        async with ctx.store.edit_state() as state:
            saw = state.count
            if ev.number == 60:
                await _hang_once("within")
            state.count = saw + 1
            state.by.append(ev.number)
        if ev.number == 30:
            await _hang_once("after")
        return Added(number=ev.number, saw=saw)

    @step
    async def end(self, ctx: Context[Count], ev: list[Added]) -> StopEvent:
        state = await ctx.store.get_state()
        return StopEvent(
            result={"count": state.count, "by": sorted(state.by), "saw": sorted(added.saw for added in ev)}
        )


async def _hang_once(where: str) -> None:
    place = folder() / where
    if not place.exists():
        place.write_text(str(os.getpid()))
        await asyncio.sleep(300)
