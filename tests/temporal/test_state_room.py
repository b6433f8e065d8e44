"""A run's state is bounded by what the server takes as one payload: it is read by query."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from everstep import Context, Workflow, step
from everstep.errors import StepFailedError
from everstep.events import Event, StartEvent, StopEvent
from everstep.temporal import Limits, TemporalRuntime, serving


class More(Event):
    number: int
    how: str


class Grows(Workflow):
    """Writes 20,000 characters more in each step."""

    @step
    async def begin(self, ev: StartEvent) -> More:
        return More(number=0, how=ev.how)

    @step
    async def write(self, ctx: Context, ev: More) -> More | StopEvent:
        if ev.how == "edit":
            async with ctx.store.edit_state() as state:
                state[f"part{ev.number}"] = "x" * 20_000
        else:
            await ctx.store.set(f"part{ev.number}", "x" * 20_000)
        return More(number=ev.number + 1, how=ev.how) if ev.number < 9 else StopEvent()


@pytest.mark.parametrize("how", ["set", "edit"])
async def test_a_state_that_would_be_too_large_fails_the_step_that_writes_it(
    client: Client, task_queue: str, how: str
) -> None:
    """It says how large and what to do; the state stays what it was, and can be read."""
    async with serving(client, [Grows], task_queue=task_queue, limits=Limits(payload=50_000)):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Grows", {"how": how})
        with pytest.raises(
            StepFailedError, match=r"the run's state 60,\d\d\d bytes large, over .* 50,000 .* references"
        ):
            await handler
        assert list(await handler.state()) == ["part0", "part1"]
