"""What comes while a run leaves for its next execution: ends, cancellations, answers that somebody waits for.

Each is made to come with the very workflow task that decides to leave, or leaves: no worker is there before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client

from everstep import Context, Workflow, step
from everstep.errors import ResponseRefusedError, StepFailedError, WorkflowCancelledByUser
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.flow.definition import PROTOCOL, FlowDefinition
from everstep.temporal import Limits, TemporalRuntime, boundary, serving
from everstep.temporal.child_runs import ChildRuns
from everstep.temporal.handler import TemporalHandler
from everstep.temporal.internal import replayed_events
from everstep.temporal.start_input import carried_over
from tests.support.waiting import until
from tests.temporal.test_internal_events import followed


class One(Event):
    pass


class Other(Event):
    fails: bool


class Question(InputRequiredEvent):
    pass


class Answer(HumanResponseEvent):
    approved: bool


class Begin(StartEvent):
    fails: bool = False
    asks: bool = False


class Pair(Workflow):
    """Two steps side by side, on a task queue of their own; one of them ends the run, or asks."""

    @step
    async def begin(self, ev: Begin) -> list[One | Other]:
        return [One(), Other(fails=ev.fails)]

    @step(task_queue="leaving-steps")
    async def one(self, ev: One) -> None:
        return None

    @step(task_queue="leaving-steps")
    async def other(self, ev: Other) -> StopEvent:
        await asyncio.sleep(0.1)
        if ev.fails:
            raise ValueError("no")
        return StopEvent(result="ended")


class Asks(Workflow):
    """Asks on a task queue of its own, and waits for a person."""

    @step(task_queue="leaving-questions")
    async def ask(self, ev: Begin) -> Question:
        return Question()

    @step
    async def end(self, ctx: Context, ev: Answer) -> StopEvent:
        return StopEvent(result=ev.approved)


async def _kinds(client: Client, handler: TemporalHandler) -> list[str]:
    history = await client.get_workflow_handle(handler.run_id).fetch_history()
    return [event.WhichOneof("attributes") or "" for event in history.events]


async def _input(client: Client, handler: TemporalHandler) -> Sequence[Payload]:
    """What the present execution was begun with."""
    history = await client.get_workflow_handle(handler.run_id).fetch_history()
    return history.events[0].workflow_execution_started_event_attributes.input.payloads


async def _has(client: Client, handler: TemporalHandler, number: int, *kinds: str) -> None:
    """Wait until the present execution has so many such events."""

    async def there() -> bool:
        return sum(kind.startswith(kinds) for kind in await _kinds(client, handler)) == number

    await until(there)


async def _mirrored(client: Client, handler: TemporalHandler) -> int:
    """That a reader of each execution sees what its replay gives; how many executions there are."""
    found: dict[str, Any] = {}
    run: str | None = (await handler.workflow.describe()).raw_description.workflow_execution_info.first_run_id
    while run:
        history = list((await client.get_workflow_handle(handler.run_id, run_id=run).fetch_history()).events)
        assert await followed(client, history) == await replayed_events(client, "run", history)
        found[run] = history
        run = history[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id or None
    return len(found)


async def _nonsense(handler: TemporalHandler, number: int = 20) -> None:
    """Signals that are refused at once, enough for the boundary to be due."""
    for _ in range(number):
        await handler.workflow.signal("respond", "nonsense")


@asynccontextmanager
async def _pair(client: Client, task_queue: str, limits: Limits, **start: Any) -> AsyncGenerator[TemporalHandler]:
    """A run of `Pair` whose steps are scheduled, while no worker has it, and far past the hard limit."""
    async with serving(client, [Pair], task_queue=task_queue, limits=limits):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Pair", start)
        await _has(client, handler, 3, "activity_task_scheduled")
    await _nonsense(handler, 160)
    yield handler


@pytest.mark.parametrize("fails", [False, True])
async def test_an_end_in_the_task_that_decides_to_leave_is_kept(client: Client, task_queue: str, fails: bool) -> None:
    """Past the hard limit two steps end in one task: by the first the run would leave, the second one ends it."""
    limits = Limits(continue_at_events=20)
    async with _pair(client, task_queue, limits, fails=fails) as handler:
        async with serving(client, [Pair], task_queue="leaving-steps", steps_only=True):
            await _has(client, handler, 3, "activity_task_completed", "activity_task_failed")
        async with serving(client, [Pair], task_queue=task_queue, limits=limits):
            if fails:
                with pytest.raises(StepFailedError, match="no"):
                    await asyncio.wait_for(handler, 20)
            else:
                assert await asyncio.wait_for(handler, 20) == "ended"
        await _mirrored(client, handler)


async def test_an_end_in_the_task_that_leaves_is_kept(
    client: Client, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer by which the run leaves, and the end of its last step, come in one task."""
    monkeypatch.setattr(boundary, "LEAVE_SECONDS", 0.5)
    limits = Limits(continue_at_events=20)
    async with _pair(client, task_queue, limits) as handler:
        async with serving(client, [Pair], task_queue=task_queue, limits=limits):
            await _has(client, handler, 1, "timer_started")
        async with serving(client, [Pair], task_queue="leaving-steps", steps_only=True):
            await _has(client, handler, 3, "activity_task_completed")
        await _has(client, handler, 1, "timer_fired")
        async with serving(client, [Pair], task_queue=task_queue, limits=limits):
            assert await asyncio.wait_for(handler, 20) == "ended"
        await _mirrored(client, handler)


async def _waiting(client: Client, task_queue: str, limits: Limits, flow: Workflow | None = None) -> TemporalHandler:
    """A run of `Asks` that waits for a person."""
    async with (
        serving(client, [flow or Asks], task_queue=task_queue, limits=limits),
        serving(client, [Asks], task_queue="leaving-questions", steps_only=True),
    ):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Asks")
        await until(handler.requests)
    return handler


async def test_an_answer_that_is_looked_at_again_is_taken_before_the_run_leaves(
    client: Client, task_queue: str
) -> None:
    """It came with the outcome that asks, by update, when the boundary was due: its sender is told."""
    limits = Limits(continue_at_events=10)
    async with serving(client, [Asks], task_queue=task_queue, limits=limits):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Asks")
        await _has(client, handler, 1, "activity_task_scheduled")
    async with serving(client, [Asks], task_queue="leaving-questions", steps_only=True):
        await _has(client, handler, 1, "activity_task_completed")
    await _nonsense(handler)
    answers = [asyncio.ensure_future(handler.respond({"approved": True})) for _ in range(2)]
    await asyncio.sleep(0.3)
    async with serving(client, [Asks], task_queue=task_queue, limits=limits):
        assert await asyncio.wait_for(handler, 20) is True
        first, second = await asyncio.gather(*answers, return_exceptions=True)
    assert {type(first), type(second)} == {type(None), ResponseRefusedError}
    await _mirrored(client, handler)


async def test_an_answer_in_the_task_that_decides_to_leave_is_taken(client: Client, task_queue: str) -> None:
    """What came before it makes the boundary due; the answer is judged first, and its sender told."""
    limits = Limits(continue_at_events=25)
    handler = await _waiting(client, task_queue, limits)
    await _nonsense(handler)
    answer = asyncio.ensure_future(handler.respond({"approved": True}))
    await asyncio.sleep(0.3)
    async with serving(client, [Asks], task_queue=task_queue, limits=limits):
        assert await asyncio.wait_for(handler, 20) is True
        await answer
    assert await _mirrored(client, handler) == 2


async def test_an_answer_in_the_task_that_leaves_is_taken(
    client: Client, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes with the timer by which the run leaves: the run stays until the sender is told."""
    monkeypatch.setattr(boundary, "LEAVE_SECONDS", 0.5)
    limits = Limits(continue_at_events=25)
    handler = await _waiting(client, task_queue, limits)
    await _nonsense(handler)
    async with serving(client, [Asks], task_queue=task_queue, limits=limits):
        await _has(client, handler, 1, "timer_started")
    answer = asyncio.ensure_future(handler.respond({"approved": True}))
    await _has(client, handler, 1, "timer_fired")
    async with serving(client, [Asks], task_queue=task_queue, limits=limits):
        assert await asyncio.wait_for(handler, 20) is True
        await answer
    assert await _mirrored(client, handler) == 2


async def test_a_cancellation_beside_messages_at_the_boundary_counts(client: Client, task_queue: str) -> None:
    """Workflow code sees the messages of a task first: by them it must not leave, or nobody would be cancelled."""
    limits = Limits(continue_at_events=25)
    handler = await _waiting(client, task_queue, limits)
    await _nonsense(handler)
    await handler.workflow.cancel()
    async with serving(client, [Asks], task_queue=task_queue, limits=limits):
        with pytest.raises(WorkflowCancelledByUser):
            await asyncio.wait_for(handler, 20)
    assert await _mirrored(client, handler) == 1


class Older(Asks):
    """As a version of old began it."""

    @property
    def workflow_name(self) -> str:
        return "Asks"

    @property
    def definition(self) -> FlowDefinition:
        return replace(Asks().definition, protocol=2)


async def test_a_run_of_protocol_2_moves_up_as_it_leaves(client: Client, task_queue: str) -> None:
    """Its next execution has the present protocol; this one goes on as it began."""
    limits = Limits(continue_at_events=25)
    handler = await _waiting(client, task_queue, limits, Older())
    await _nonsense(handler)
    async with serving(client, [Asks], task_queue=task_queue, limits=limits):

        async def moved() -> Any:
            return carried_over(await client.data_converter.decode(await _input(client, handler)))

        carried = await until(moved)
        await handler.respond({"approved": True})
        assert await asyncio.wait_for(handler, 20) is True
    assert carried["definition"]["protocol"] == PROTOCOL
    assert await _mirrored(client, handler) == 2


class Slow(Workflow):
    """Ends while a child of it is at work."""

    @step
    async def begin(self, ev: Begin) -> list[One | Other]:
        return [One(), Other(fails=False)]

    @step
    async def one(self, ctx: Context, ev: One) -> None:
        await ctx.run(Asks)

    @step
    async def other(self, ctx: Context, ev: Other) -> StopEvent:
        await ctx.wait_for_event(Answer)
        return StopEvent(result="ended")


async def test_a_cancellation_after_the_end_changes_nothing(
    client: Client, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has ended, and has yet to tell its children: its result stands."""
    cancel = ChildRuns._cancel

    async def slowly(self: ChildRuns, run: str) -> None:
        await workflow.sleep(0.5)
        await cancel(self, run)

    monkeypatch.setattr(ChildRuns, "_cancel", slowly)
    async with serving(client, [Slow, Asks], task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Slow")
        await _has(client, handler, 1, "child_workflow_execution_started")
        await handler.send_event(Answer(approved=True))
        await _has(client, handler, 1, "timer_started")
        await handler.workflow.cancel()
        assert await asyncio.wait_for(handler, 20) == "ended"
