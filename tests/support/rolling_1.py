"""The rolling update's flow as first deployed."""

from __future__ import annotations

import asyncio
import time

from everstep import Context, Workflow, step
from everstep.events import StartEvent, StopEvent
from tests.support.rolling_parts import (
    HOPS,
    STEP_SECONDS,
    TIMER_SECONDS,
    Approve,
    Approved,
    Charged,
    Checked,
    Done,
    Hop,
    Never,
    Timer,
    do,
    go,
)


class Rolling(Workflow):
    """Checks, charges, then goes by its kind: asks a person, hops on, sleeps on a timer; `step` is slow."""

    @step(local=True)
    async def check(self, ctx: Context, ev: StartEvent) -> Checked:
        do(ctx, "check")
        return Checked(kind=ev.kind)

    @step(num_workers=1)
    async def charge(self, ctx: Context, ev: Checked) -> Charged:
        do(ctx, "charge")
        await asyncio.sleep(STEP_SECONDS if ev.kind == "step" else 0)
        return Charged(kind=ev.kind)

    @step(local=True)
    async def route(self, ev: Charged) -> Approve | Hop | Timer | Done:
        if ev.kind == "person":
            return Approve()
        if ev.kind == "hops":
            return Hop(number=1)
        return Timer() if ev.kind == "timer" else Done()

    @step
    def hop(self, ctx: Context, ev: Hop) -> Hop | Done:
        do(ctx, f"hop-{ev.number}")
        while not go().exists():
            time.sleep(0.1)
        return Hop(number=ev.number + 1) if ev.number < HOPS else Done()

    @step
    async def rest(self, ctx: Context, ev: Timer) -> Done:
        do(ctx, "rest")
        try:
            await ctx.wait_for_event(Never, timeout=TIMER_SECONDS)
        except TimeoutError:
            do(ctx, "awake")
        return Done()

    @step
    async def accept(self, ctx: Context, ev: Approved) -> Done:
        do(ctx, "accept")
        return Done()

    @step(local=True)
    async def finish(self, ctx: Context, ev: Done) -> StopEvent:
        do(ctx, "finish")
        return StopEvent(result={"finished_by": 1})
