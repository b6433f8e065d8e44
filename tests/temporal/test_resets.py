"""A run that is reset on the server: whoever reads it goes on where it goes on."""

from __future__ import annotations

import asyncio

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client

from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.handler import StreamItem
from everstep.temporal import TemporalRuntime, serving
from everstep.temporal.handler import TemporalHandler
from everstep.temporal.step_log import step_changes
from tests.support.waiting import until


class Next(Event):
    pass


class Telling(Workflow):
    """Tells what it does, asks, and ends."""

    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Next:
        ctx.write_event_to_stream(Event(text="first"))
        return Next()

    @step
    async def second(self, ctx: Context, ev: Next) -> InputRequiredEvent:
        return InputRequiredEvent(text="well?")

    @step
    async def end(self, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent(result=ev.get("text"))


async def _reset(client: Client, handler: TemporalHandler, step: str | None) -> None:
    """Reset a run to the workflow task that has scheduled a step, or to its last one."""
    task = 0
    for event in (await handler.workflow.fetch_history()).events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            task = event.event_id
        elif event.HasField("activity_task_scheduled_event_attributes"):
            scheduled = event.activity_task_scheduled_event_attributes
            if scheduled.activity_type.name == f"Telling.{step}":
                task = scheduled.workflow_task_completed_event_id
                break
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handler.run_id),
            reason="once more",
            workflow_task_finish_event_id=task,
            request_id=f"{handler.run_id}-{step}",
        )
    )


async def _read(handler: TemporalHandler, into: list[StreamItem], **options: str) -> list[str]:
    async for item in handler.stream_items(**options):  # type: ignore[arg-type]
        into.append(item)
    return _texts(into)


def _texts(items: list[StreamItem]) -> list[str]:
    return [str(item.event.get("text") or item.event.get("result")) for item in items]


async def test_readers_go_on_where_a_reset_goes_on(client: Client, task_queue: str) -> None:
    """One that follows has seen what was undone; one that begins later sees what counts; any offset is good."""
    async with serving(client, [Telling], task_queue=task_queue):
        runtime = TemporalRuntime(client, task_queue=task_queue)
        handler = await runtime.start_flow("Telling")
        seen: list[StreamItem] = []
        following = asyncio.create_task(_read(runtime.handle(handler.run_id), seen))
        for step, told in (("first", 2), (None, 4)):
            await until(handler.requests)
            await until(lambda told=told: _so_many(seen, told))
            await _reset(client, handler, step)
        await until(handler.requests)
        await handler.respond({"text": "done"})
        assert await handler == "done"
        assert await asyncio.wait_for(following, 10) == ["first", "well?", "first", "well?", "done"]
        again = runtime.handle(handler.run_id)
        assert await _read(again, []) == ["first", "well?", "done"]
        assert await _read(again, [], after=seen[1].offset) == ["first", "well?", "done"]
        assert await _read(again, [], after=seen[3].offset) == ["done"]
        done = [one.step async for one in step_changes(client, handler.run_id) if one.change == "done"]
        assert done == ["first", "second", "end"]
        assert {name: one.done for name, one in (await handler.path()).steps.items()} == dict.fromkeys(done, 1)


async def _so_many(seen: list[StreamItem], count: int) -> bool:
    return len(seen) >= count


async def test_the_end_that_was_undone_is_not_told(client: Client, task_queue: str) -> None:
    """A run that had ended goes on when it is reset; its stream ends where it ends now."""
    async with serving(client, [Telling], task_queue=task_queue):
        runtime = TemporalRuntime(client, task_queue=task_queue)
        handler = await runtime.start_flow("Telling")
        await until(handler.requests)
        await handler.workflow.signal("respond", {"text": "one"})
        assert await handler == "one"
        await _reset(client, handler, "first")
        again = runtime.handle(handler.run_id)
        following = asyncio.create_task(_read(again, []))
        await until(again.requests)
        await again.respond({"text": "two"})
        assert await asyncio.wait_for(following, 20) == ["first", "well?", "two"]
