"""Continue-as-new where it is hard: long steps, large queues, cancellation, messages at the boundary."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from everstep import Context, Workflow, step
from everstep.errors import WorkflowCancelledByUser, WorkflowConfigurationError, WorkflowRuntimeError
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import EverstepPlugin, Limits, TemporalRuntime, serving
from everstep.temporal.handler import TemporalHandler
from everstep.temporal.internal import replayed_events
from tests.support.waiting import until
from tests.temporal.test_internal_events import followed, histories


class Item(Event):
    number: int
    text: str = ""


class Result(Event):
    number: int


class Question(InputRequiredEvent):
    pass


class Answer(HumanResponseEvent):
    word: str


class LongAndShort(Workflow):
    """A step that takes long, beside a chain of short ones that make the history grow."""

    max_in_flight = 50

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> list[Item | Result]:
        return [Result(number=ev.seconds), *([] if ev.get("only_long") else [Item(number=0)])]

    @step
    async def long(self, ctx: Context, ev: Result) -> Question | None:
        await ctx.store.set("long", await ctx.store.get("long", default=0) + 1)
        ctx.write_event_to_stream(Event(text="long begins"))
        await asyncio.sleep(ev.number)
        return Question() if ev.number == 1 else None

    @step
    async def short(self, ctx: Context, ev: Item) -> Item | Question:
        await ctx.store.set("short", ev.number)
        return Item(number=ev.number + 1) if ev.number < 60 else Question()

    @step
    async def end(self, ctx: Context, ev: Answer) -> StopEvent:
        return StopEvent(result=[await ctx.store.get("short", default=None), ev.word])


class Wide(Workflow):
    """A fan-out whose queue is large when the run continues as new."""

    @step
    async def begin(self, ev: StartEvent) -> list[Item]:
        return [Item(number=number, text=ev.text) for number in range(ev.width)]

    @step(num_workers=20)
    async def work(self, ev: Item) -> Result:
        return Result(number=ev.number)

    @step
    async def join(self, ev: list[Result]) -> StopEvent:
        return StopEvent(result=[len(ev), sum(result.number for result in ev)])


STARTS: list[str] = []
"""The runs whose long step was started, each time."""


class LongBesideEndless(Workflow):
    """A step that takes long, beside a chain that goes on until it has ended."""

    @step
    async def begin(self, ev: StartEvent) -> list[Item | Result]:
        return [Result(number=ev.seconds), Item(number=0)]

    @step
    async def long(self, ctx: Context, ev: Result) -> StopEvent:
        STARTS.append(ctx.run_id)
        await asyncio.sleep(ev.number)
        return StopEvent()

    @step
    async def short(self, ev: Item) -> Item | StopEvent:
        return Item(number=ev.number + 1) if ev.number < 100_000 else StopEvent()


async def _executions(client: Client, handler: TemporalHandler) -> list[WorkflowExecutionStatus | None]:
    """How the executions of a run that has ended ended, once the server's list tells it: that comes a moment later."""

    async def listed() -> list[WorkflowExecutionStatus | None]:
        runs = [run async for run in client.list_workflows(f"WorkflowId = '{handler.run_id}'")]
        statuses = [run.status for run in sorted(runs, key=lambda run: run.start_time)]
        return [] if WorkflowExecutionStatus.RUNNING in statuses else statuses

    return await until(listed)


async def _has_begun(handler: TemporalHandler) -> bool:
    return (await handler.state()).get("long") == 1 or any(
        row["step"] == "long" and row["running"] for row in (await handler.progress())["steps"]
    )


async def _run(client: Client, queue: str, flow: str, fields: Mapping[str, Any]) -> TemporalHandler:
    return await TemporalRuntime(client, task_queue=queue).start_flow(flow, fields)


@pytest.mark.slow
async def test_a_long_step_delays_the_boundary_and_the_run_goes_on(client: Client, task_queue: str) -> None:
    """Steps drain for a while; if one does not end the others go on, and the boundary is crossed later."""
    limits = Limits(continue_at_events=40, drain_seconds=0.3)
    async with serving(client, [LongAndShort], task_queue=task_queue, limits=limits):
        handler = await _run(client, task_queue, "LongAndShort", {"seconds": 2})
        await until(handler.requests, within=60)
        await handler.respond({"word": "yes"})
        assert await handler == [60, "yes"]
        assert len(await _executions(client, handler)) > 1


@pytest.mark.slow
async def test_past_the_hard_limit_a_running_step_moves_to_the_next_execution(client: Client, task_queue: str) -> None:
    """It runs again behind the boundary, and has failed nothing."""
    limits = Limits(continue_at_events=40, drain_seconds=0.1, heartbeat_seconds=1)
    async with serving(client, [LongAndShort], task_queue=task_queue, limits=limits):
        handler = await _run(client, task_queue, "LongAndShort", {"seconds": 300})
        await until(handler.requests, within=60)
        await handler.respond({"word": "now"})
        assert await handler == [60, "now"]
        assert len(await _executions(client, handler)) > 1
        steps = {row["step"]: row for row in (await handler.progress())["steps"]}
        assert steps["long"]["failed"] == 0
        told = [item.attempt async for item in handler.stream_items() if item.event.get("text") == "long begins"]
        assert told == [*range(1, len(told) + 1)]
        assert len(told) > 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("continue_at_events", 3),
        ("continue_at_bytes", -1),
        ("drain_seconds", float("nan")),
        ("heartbeat_seconds", 0),
        ("payload", 0),
    ],
)
def test_limits_with_which_no_run_could_go_on_are_refused(name: str, value: float) -> None:
    """By name, where a worker is given them; what stands in a history is taken as it is."""
    recorded = Limits.from_json({name: value})
    with pytest.raises(WorkflowConfigurationError, match=f"{name}={value!r} is too small .* at least"):
        EverstepPlugin(flows=[Wide], limits=recorded)


@pytest.mark.slow
async def test_a_step_that_is_moved_gets_longer_each_time(client: Client, task_queue: str) -> None:
    """It would otherwise begin from the top for ever: each move doubles the next drain, until the step can end."""
    limits = Limits(continue_at_events=20, drain_seconds=0.05)
    async with serving(client, [LongBesideEndless], task_queue=task_queue, limits=limits):
        handler = await _run(client, task_queue, "LongBesideEndless", {"seconds": 3})
        await asyncio.wait_for(handler, 40)
        assert 1 < STARTS.count(handler.run_id) <= 5


async def test_what_steps_show_counts_for_the_boundary(client: Client, task_queue: str) -> None:
    """A run whose history grows only by events shown begins to drain, and leaves once its step has ended."""
    limits = Limits(continue_at_events=20)
    async with serving(client, [LongAndShort], task_queue=task_queue, limits=limits):
        handler = await _run(client, task_queue, "LongAndShort", {"seconds": 1, "only_long": True})
        await until(lambda: _has_begun(handler))
        for number in range(8):
            shown = {"invocation": 2, "attempt": 1, "events": [{"type": "Word", "data": {"number": number}}]}
            await handler.workflow.signal("everstep.publish", shown)
            await asyncio.sleep(0.02)
        await until(handler.requests)
        await handler.respond({"word": "yes"})
        assert await handler == [None, "yes"]
        first, *others = await histories(handler, client)
        assert len(others) == 1
        kinds = [event.WhichOneof("attributes") for event in first]
        drain = kinds.index("timer_started_event_attributes")
        assert "activity_task_completed_event_attributes" in kinds[drain:]
        for history in (first, *others):
            assert await followed(client, history) == await replayed_events(client, "run", history)


async def test_a_large_queue_is_carried_over(client: Client, task_queue: str) -> None:
    """Thousands of waiting events, far above a payload's limit as JSON, come along compressed."""
    limits = Limits(continue_at_events=100, payload=250_000)
    async with serving(client, [Wide], task_queue=task_queue, limits=limits):
        handler = await _run(client, task_queue, "Wide", {"width": 230, "text": "long text " * 100})
        assert await handler == [230, 26335]
        assert len(await _executions(client, handler)) > 3


async def test_a_run_that_cannot_be_carried_over_fails_and_says_why(client: Client, task_queue: str) -> None:
    """It would be stuck otherwise: the server refuses what is larger than its limit."""
    limits = Limits(continue_at_events=20, payload=3_000)
    async with serving(client, [Wide], task_queue=task_queue, limits=limits):
        handler = await _run(client, task_queue, "Wide", {"width": 60, "text": ""})
        with pytest.raises(WorkflowRuntimeError, match="over the server's limit of 3000"):
            await handler


async def test_a_run_is_cancelled_wherever_it_is(client: Client, task_queue: str) -> None:
    """Also in the middle of crossing: no execution goes on after a cancellation."""
    limits = Limits(continue_at_events=10)
    async with serving(client, [LongAndShort], task_queue=task_queue, limits=limits):
        handlers = [await _run(client, task_queue, "LongAndShort", {"seconds": 0}) for _ in range(5)]
        for number, handler in enumerate(handlers):
            await asyncio.sleep(0.05 * number)
            await handler.cancel_run("enough", timeout=0)
        for handler in handlers:
            with pytest.raises(WorkflowCancelledByUser):
                await handler
            statuses = await _executions(client, handler)
            assert statuses[-1] == WorkflowExecutionStatus.CANCELED
            assert set(statuses[:-1]) <= {WorkflowExecutionStatus.CONTINUED_AS_NEW}
