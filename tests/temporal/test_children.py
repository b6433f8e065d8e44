"""Children on a Temporal server: child workflows, messages by plain signal, workers without the flow, hard ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from everstep import Context, Workflow, step
from everstep.errors import ChildFailedError
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import Limits, TemporalRuntime, serving
from everstep.temporal.handler import TemporalHandler
from everstep.temporal.obstacles import obstacles
from everstep.temporal.runs import inbox, terminate_run
from tests.support.waiting import until

pytestmark = pytest.mark.slow


class Note(Event):
    pass


class Question(InputRequiredEvent):
    about: str


class Answer(HumanResponseEvent):
    approved: bool


class Review(Workflow):
    """Asks one person."""

    @step
    async def ask(self, ev: StartEvent) -> Question:
        return Question(about=ev.about)

    @step
    async def done(self, ev: Answer) -> StopEvent:
        return StopEvent(result=ev.approved)


class Chapter(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await ctx.run(Review, about=ev.about))


class Book(Workflow):
    """Has its chapter reviewed, and takes notes meanwhile."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        try:
            return StopEvent(result=await ctx.run(Chapter, about="it"))
        except ChildFailedError as error:
            return StopEvent(result=str(error))

    @step(num_workers=1, skip_graph_checks=["reachability"])
    async def note(self, ctx: Context, ev: Note) -> None:
        await ctx.store.set("notes", await ctx.store.get("notes", default=0) + 1)


ALL = (Book, Chapter, Review)


async def _started(client: Client, queue: str, count: int = 1) -> tuple[TemporalHandler, str]:
    """A run that waits for a person below it, and the id of the request."""
    handler = await TemporalRuntime(client, task_queue=queue).start_flow("Book")
    (request,) = await until(handler.requests)
    return handler, request["id"]


async def _has(client: Client, run: str, status: WorkflowExecutionStatus) -> bool:
    return (await client.get_workflow_handle(run).describe()).status == status


async def test_a_child_is_a_child_workflow_and_waits_as_any_run(client: Client, task_queue: str) -> None:
    """The server knows whose child it is; the index finds it, and what is above it, among the runs that wait."""
    async with serving(client, ALL, task_queue=task_queue):
        handler, request = await _started(client, task_queue)
        child = f"{handler.run_id}/work-1"
        found = await client.get_workflow_handle(child).describe()
        info = found.raw_description.workflow_execution_info
        assert (info.parent_execution.workflow_id, found.workflow_type) == (handler.run_id, "Chapter")
        assert (await handler.progress())["status"] == "waiting"

        async def box() -> list[Any]:
            return [one for one in (await inbox(client, task_queue=task_queue)).requests if one]

        (seen,) = await until(box)
        assert (seen.run_id, seen.flow, seen.request["id"]) == (f"{child}/work-1", "Review", "ask-1")
        (above,) = (await inbox(client, task_queue=task_queue, flow="Book")).requests
        assert (above.run_id, above.request["id"]) == (handler.run_id, request)
        await handler.respond({"approved": True}, request=request)
        assert await handler is True


async def test_a_plain_signal_to_the_run_above_reaches_the_child(client: Client, task_queue: str) -> None:
    """With the request's id; what does not fit is refused where it was asked, and kept on the record there."""
    async with serving(client, ALL, task_queue=task_queue):
        handler, request = await _started(client, task_queue)
        workflow = client.get_workflow_handle(handler.run_id)
        await workflow.signal("respond", {"request": request, "approved": "perhaps", "by": "bob"})
        asks = TemporalHandler(client, f"{handler.run_id}/work-1/work-1")

        async def refused() -> list[Any]:
            return (await asks.requests())[0]["refused"]

        assert [one["by"] for one in await until(refused)] == ["bob"]
        await workflow.signal("respond", {"approved": True})
        assert await handler is True


async def test_a_flow_that_no_worker_serves_is_told_and_waited_for(client: Client, task_queue: str) -> None:
    """What holds the run up names the child and its flow; with a worker that has it the run goes on."""
    async with serving(client, (Book, Review), task_queue=task_queue, max_cached_workflows=0):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Book")

        async def told() -> list[str]:
            return [one.text for one in await obstacles(client, handler.run_id)]

        (text,) = await until(told)
        assert text.startswith(f"child run {handler.run_id}/work-1: no worker on task queue {task_queue!r} serves flow")
        assert "'Chapter'" in text
    async with serving(client, ALL, task_queue=task_queue):
        await until(handler.requests)
        await handler.respond({"approved": True})
        assert await handler is True


async def test_a_child_that_was_terminated_has_failed(client: Client, task_queue: str) -> None:
    """The step is told, also behind continue-as-new, where the server does not tell the run."""
    for notes in (0, 15):
        async with serving(client, ALL, task_queue=task_queue, limits=Limits(continue_at_events=40)):
            handler, _ = await _started(client, task_queue)
            for _ in range(notes):
                await handler.send_event(Note())
            child = client.get_workflow_handle(f"{handler.run_id}/work-1")
            await child.terminate("enough")
            assert "gave no result: it was terminated" in str(await asyncio.wait_for(handler, 20))
            first = (await client.get_workflow_handle(handler.run_id).describe()).raw_description
            crossed = first.workflow_execution_info.first_run_id != first.workflow_execution_info.execution.run_id
            assert crossed == bool(notes)


async def test_a_child_whose_run_was_terminated_ends(client: Client, task_queue: str) -> None:
    """A server that ends a run tells nobody: its child finds out when it has something to tell, and is cancelled."""
    async with serving(client, ALL, task_queue=task_queue):
        handler, request = await _started(client, task_queue)
        child = f"{handler.run_id}/work-1"
        await client.get_workflow_handle(handler.run_id).terminate()
        await TemporalHandler(client, child).respond({"approved": True}, request=request)
        await until(lambda: _ended(client, child))


async def _ended(client: Client, run: str) -> bool:
    return not await _has(client, run, WorkflowExecutionStatus.RUNNING)


async def test_terminating_a_run_by_its_id_ends_what_is_below(client: Client, task_queue: str) -> None:
    """`starter.py cancel --terminate` leaves nothing behind."""
    async with serving(client, ALL, task_queue=task_queue):
        handler, _ = await _started(client, task_queue)
        await terminate_run(client, handler.run_id, "enough")
        for run in (handler.run_id, f"{handler.run_id}/work-1", f"{handler.run_id}/work-1/work-1"):
            assert await _has(client, run, WorkflowExecutionStatus.TERMINATED)


async def test_a_run_that_is_begun_again_begins_its_children_again(client: Client, task_queue: str) -> None:
    """Under the ids that they had."""
    async with serving(client, ALL, task_queue=task_queue):
        runtime = TemporalRuntime(client, task_queue=task_queue)
        run_id = f"again-{task_queue}"
        for _ in range(2):
            handler = await runtime.start_flow("Book", run_id=run_id)
            await until(handler.requests, within=60)
            await handler.cancel_run()
            await until(lambda: _ended(client, f"{run_id}/work-1/work-1"))
            await until(lambda: _ended(client, run_id))


async def test_internal_events_of_a_run_with_children(client: Client, task_queue: str) -> None:
    """They are derived from its history as those of any run."""
    async with serving(client, ALL, task_queue=task_queue):
        handler, _ = await _started(client, task_queue)
        await handler.respond({"approved": True})
        shown = [item.event.type async for item in handler.stream_published(internal=True)]
    assert shown == ["StepStateChanged"] * 2 + ["Question"] + ["StepStateChanged"] * 2 + ["StopEvent"]
