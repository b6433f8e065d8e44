"""The rolling update's flow as deployed later: another order of steps, three renamed, one added, one local no more."""

from __future__ import annotations

from everstep import Context, Workflow, step
from everstep.events import Event, StartEvent, StopEvent
from tests.support.rolling_parts import (
    HOPS,
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
)


class Audited(Event):
    """A charge that was looked at; new in this version."""

    kind: str


class Rolling(Workflow):
    """As before, and each charge is audited."""

    @step(formerly=["finish"])
    async def close(self, ctx: Context, ev: Done) -> StopEvent:
        do(ctx, "finish")
        return StopEvent(result={"finished_by": 2})

    @step(formerly=["accept"], num_workers=2)
    async def take_answer(self, ctx: Context, ev: Approved) -> Done:
        do(ctx, "accept")
        return Done()

    @step
    async def rest(self, ctx: Context, ev: Timer) -> Done:
        do(ctx, "rest")
        try:
            await ctx.wait_for_event(Never, timeout=TIMER_SECONDS)
        except TimeoutError:
            do(ctx, "awake")
        return Done()

    @step
    async def hop(self, ctx: Context, ev: Hop) -> Hop | Done:
        do(ctx, f"hop-{ev.number}")
        return Hop(number=ev.number + 1) if ev.number < HOPS else Done()

    @step(local=True)
    async def audit(self, ctx: Context, ev: Charged) -> Audited:
        do(ctx, "audit")
        return Audited(kind=ev.kind)

    @step(local=True)
    async def route(self, ev: Audited) -> Approve | Hop | Timer | Done:
        # Runs of the first version give it a `Charged`, which has a kind too.
        if ev.kind == "person":
            return Approve()
        if ev.kind == "hops":
            return Hop(number=1)
        return Timer() if ev.kind == "timer" else Done()

    @step(formerly=["charge"])
    async def bill(self, ctx: Context, ev: Checked) -> Charged:
        do(ctx, "charge")
        return Charged(kind=ev.kind)

    @step
    async def check(self, ctx: Context, ev: StartEvent) -> Checked:
        do(ctx, "check")
        return Checked(kind=ev.kind)
