"""A person answers while no worker is there: the answer counts, though the run has not heard of its question yet."""

from __future__ import annotations

import asyncio

from temporalio.client import Client

from everstep import Workflow, step
from everstep.errors import ResponseRefusedError
from everstep.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import TemporalRuntime, serving
from tests.support.waiting import until


class Question(InputRequiredEvent):
    text: str


class Answer(HumanResponseEvent):
    approved: bool


class OutageFlow(Workflow):
    """Its question comes from another task queue than the one that is down."""

    @step(task_queue="outage-questions")
    async def ask(self, ev: StartEvent) -> Question:
        return Question(text="Shall we?")

    @step
    async def end(self, ev: Answer) -> StopEvent:
        return StopEvent(result=ev.approved)


async def test_an_answer_given_while_workers_are_down_is_taken(client: Client, task_queue: str) -> None:
    """The signal and the outcome that asked come to the run in one workflow task; a second answer is still refused."""
    runtime = TemporalRuntime(client, task_queue=task_queue)
    async with serving(client, [OutageFlow], task_queue=task_queue):
        handler = await runtime.start_flow("OutageFlow")

        async def under_way() -> bool:
            return "activity_task_scheduled_event_attributes" in await _events(client, handler.run_id)

        await until(under_way)
    async with serving(client, [OutageFlow], task_queue="outage-questions"):

        async def asked() -> bool:
            return "activity_task_completed_event_attributes" in await _events(client, handler.run_id)

        await until(asked)
    await handler.workflow.signal("respond", {"approved": True, "by": "ann"})
    second = asyncio.ensure_future(handler.respond({"approved": False}))
    async with serving(client, [OutageFlow], task_queue=task_queue):
        assert await asyncio.wait_for(handler, 30) is True
        (request,) = await handler.requests(only_open=False)
        assert (request["status"], request["answered_by"]) == ("answered", "ann")
        assert isinstance((await asyncio.gather(second, return_exceptions=True))[0], ResponseRefusedError)


async def _events(client: Client, run_id: str) -> set[str]:
    """The kinds of events in a run's history."""
    history = await client.get_workflow_handle(run_id).fetch_history()
    return {event.WhichOneof("attributes") or "" for event in history.events}
