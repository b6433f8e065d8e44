"""Messages from outside and steps of one run do not get into each other's way."""

from __future__ import annotations

import asyncio

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import Client

from everstep import Workflow, step
from everstep.events import Event, HumanResponseEvent, StartEvent, StopEvent
from everstep.temporal import TemporalRuntime, serving


class Item(Event):
    number: int


class Done(Event):
    number: int


class Note(HumanResponseEvent):
    number: int


class NotedFanOut(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Item]:
        return [Item(number=number) for number in range(60)]

    @step(num_workers=10)
    async def work(self, ev: Item) -> Done:
        return Done(number=ev.number)

    @step
    async def note(self, ev: Note) -> None:
        return None

    @step
    async def note_too(self, ev: Note) -> None:  # the second to take it: so it is judged by an activity
        return None

    @step
    async def total(self, evs: list[Done]) -> StopEvent:
        return StopEvent(result=len(evs))


async def test_messages_that_are_judged_share_no_activity_id_with_steps(client: Client, task_queue: str) -> None:
    """A server refuses a workflow task that schedules an activity under the id of one that runs."""
    async with serving(client, [NotedFanOut], task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("NotedFanOut")
        for number in range(15):
            await handler.workflow.signal("send_event", {"type": "Note", "data": {"number": number}})
            await asyncio.sleep(0.01)
        assert await asyncio.wait_for(handler.workflow.result(), 30)
    history = await handler.workflow.fetch_history()
    failures = [
        event.workflow_task_failed_event_attributes
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    ]
    # A server has a task done again where a message came while it ended the run; that is no fault.
    raced = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
    assert not [failure for failure in failures if failure.cause != raced]
