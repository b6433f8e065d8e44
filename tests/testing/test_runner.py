"""`WorkflowTestRunner`: a flow run to its end, and what is seen of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from everstep import Context, LocalRuntime, Workflow, step, use_runtime
from everstep.events import Event, StartEvent, StepStateChanged, StopEvent, UnhandledEvent
from everstep.handler import WorkflowHandler
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from everstep.testing import WorkflowTestRunner


class Said(Event):
    text: str


class Middle(Event):
    pass


class Talk(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Middle:
        await ctx.store.set("name", ev.get("name", "nobody"))
        ctx.write_event_to_stream(Said(text="hello"))
        ctx.write_event_to_stream(Said(text="again"))
        return Middle()

    @step
    async def end(self, ctx: Context, ev: Middle) -> StopEvent:
        return StopEvent(result=await ctx.store.get("name"))


async def test_result_events_and_context_are_given() -> None:
    """The whole stream, counted by type, and the state of the run."""
    seen = await WorkflowTestRunner(Talk()).run(StartEvent(name="ann"))
    assert seen.result == "ann"
    assert [event.text for event in seen.collected if isinstance(event, Said)] == ["hello", "again"]
    assert seen.event_types == {StepStateChanged: 4, Said: 2, StopEvent: 1}
    assert await seen.ctx.store.get("name") == "ann"


async def test_types_can_be_left_out() -> None:
    """Of the events that are collected."""
    seen = await WorkflowTestRunner(Talk()).run(exclude_events=[Said, StepStateChanged])
    assert seen.event_types == {StopEvent: 1}
    assert seen.result == "nobody"


async def test_a_run_begins_with_the_context_it_is_given() -> None:
    """As a second run does with the first one's."""

    class Counts(Workflow):
        @step
        async def count(self, ctx: Context, ev: StartEvent) -> StopEvent:
            count = await ctx.store.get("count", default=0) + 1
            await ctx.store.set("count", count)
            return StopEvent(result=count)

    runner = WorkflowTestRunner(Counts())
    first = await runner.run()
    second = await runner.run(ctx=first.ctx)
    assert (first.result, second.result) == (1, 2)


class Stubborn(Workflow):
    timeout = 86400.0

    @step(retry_policy=retry_policy(wait=wait_fixed(3600), stop=stop_after_attempt(10)))
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        if ctx.retry_info().retry_number < 3:
            raise ConnectionError("not yet")
        return StopEvent(result=round(ctx.retry_info().elapsed_seconds / 3600))


async def test_delays_are_skipped() -> None:
    """Hours of retries take no time, and the step is told that they have passed."""
    begun = time.monotonic()
    seen = await WorkflowTestRunner(Stubborn()).run()
    assert seen.result == 3
    assert time.monotonic() - begun < 5


async def test_what_a_run_raises_is_raised() -> None:
    """The step's own exception."""
    runner = WorkflowTestRunner(Stubborn(), fakes={"work": ValueError("broken")})
    with pytest.raises(ValueError, match="broken"):
        await runner.run()


class Forgetful(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Middle:
        ctx.send_event(Said(text="to nobody"))
        return Middle()

    @step
    async def end(self, ev: Middle) -> StopEvent:
        return StopEvent()


async def test_internal_events_are_collected_unless_they_are_not_wanted() -> None:
    """By default they are."""
    runner = WorkflowTestRunner(Forgetful())
    seen = await runner.run()
    assert seen.event_types == {StepStateChanged: 4, UnhandledEvent: 1, StopEvent: 1}
    assert (await runner.run(expose_internal=False)).event_types == {StopEvent: 1}


async def test_a_flow_runs_on_the_runtime_that_it_has() -> None:
    """One of its own, or that of the block around, is not replaced."""

    class Own(LocalRuntime):
        begun = 0

        def start(self, *arguments: Any, **options: Any) -> WorkflowHandler:
            self.begun += 1
            return super().start(*arguments, **options)

    own = Own()
    await WorkflowTestRunner(Talk(runtime=own)).run()
    with use_runtime(own):
        await WorkflowTestRunner(Talk()).run()
    assert own.begun == 2
