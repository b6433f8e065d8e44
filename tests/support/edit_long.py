"""Flows whose edits cross boundaries and wait for each other."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from everstep import Context, Workflow, step
from everstep.events import Event, StartEvent, StopEvent


class Count(BaseModel):
    """The counter."""

    count: int = 0


class Add(Event):
    """One to add."""

    number: int


class Added(Event):
    """It was added, to what the block saw."""

    saw: int


class AddFlow(Workflow):
    """Adds `steps` times, many at one time; a block takes `seconds`, that of step 0 `first` seconds."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> list[Add]:
        await ctx.store.set("count", 0)
        return [Add(number=number) for number in range(ev.steps)]

    @step(num_workers=30)
    async def add(self, ctx: Context[Count], ev: Add) -> Added:
        async with ctx.store.edit_state() as state:
            saw = state.count
            state.count = saw + 1
            if ev.number == 0:
                await asyncio.sleep(1.0)
        return Added(saw=saw)

    @step
    async def end(self, ctx: Context[Count], ev: list[Added]) -> StopEvent:
        assert sorted(each.saw for each in ev) == list(range(len(ev)))
        return StopEvent(result=await ctx.store.get("count"))


class LongBlock(Workflow):
    """One block lasts longer than a silent holder may keep the lock; another step waits for it."""

    @step
    async def begin(self, ev: StartEvent) -> list[Add]:
        return [Add(number=0), Add(number=1)]

    @step
    async def add(self, ctx: Context[Count], ev: Add) -> Added:
        if ev.number:
            await asyncio.sleep(0.3)
        async with ctx.store.edit_state() as state:
            saw = state.count
            if not ev.number:
                await asyncio.sleep(4)
            state.count = saw + 1
        return Added(saw=saw)

    @step
    async def end(self, ctx: Context[Count], ev: list[Added]) -> StopEvent:
        return StopEvent(result=[*(each.saw for each in ev), await ctx.store.get("count")])


class OneStep(Workflow):
    """One step that edits the state many times; it is longer than one execution may be."""

    @step
    async def work(self, ctx: Context[Count], ev: StartEvent) -> StopEvent:
        seen: list[int] = []
        for _ in range(ev.edits):
            async with ctx.store.edit_state() as state:
                seen.append(state.count)
                state.count += 1
        return StopEvent(result=seen)
