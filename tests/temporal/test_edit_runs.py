"""`edit_state` on a server: within its limits on updates, over the boundaries of a run, and in replay."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import Replayer

from everstep.temporal import Limits, TemporalRuntime, serving
from everstep.temporal.devserver import DevServer
from everstep.temporal.handler import TemporalHandler
from everstep.temporal.interpreter import workflow_class
from tests.support.edit_long import AddFlow, LongBlock, OneStep

pytestmark = pytest.mark.slow

MOVED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW


async def _executions(client: Client, handler: TemporalHandler) -> int:
    """How many executions a run had; each is replayed."""
    count = 0
    run_id: str | None = (await handler.workflow.describe()).raw_description.workflow_execution_info.first_run_id
    while run_id:
        history = await client.get_workflow_handle(handler.run_id, run_id=run_id).fetch_history()
        flow = history.events[0].workflow_execution_started_event_attributes.workflow_type.name
        await Replayer(workflows=[workflow_class(flow)]).replay_workflow(history)
        count += 1
        last = history.events[-1]
        attributes = last.workflow_execution_continued_as_new_event_attributes
        run_id = attributes.new_execution_run_id if last.event_type == MOVED else None
    return count


async def test_more_workers_than_updates_may_be_under_way(
    client: Client, dev_server: DevServer, task_queue: str
) -> None:
    """A server lets ten updates of a run be under way; fourteen workers that all ask get their turns."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(14):
            own = await Client.connect(dev_server.address)  # a client serves a task queue once
            await stack.enter_async_context(
                serving(own, [AddFlow], task_queue=task_queue, max_concurrent_steps=3, graceful_shutdown=0.5)
            )
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("AddFlow", {"steps": 60})
        assert await asyncio.wait_for(handler, 60) == 60


async def test_edits_are_kept_over_boundaries(client: Client, task_queue: str) -> None:
    """A run that continues as new again and again while steps edit its state: each counts once, each replays."""
    limits = Limits(continue_at_events=60, heartbeat_seconds=2)
    async with serving(client, [AddFlow], task_queue=task_queue, limits=limits):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("AddFlow", {"steps": 60})
        assert await asyncio.wait_for(handler, 60) == 60
    assert await _executions(client, handler) > 2


async def test_a_step_with_many_edits_is_moved_over_boundaries(client: Client, task_queue: str) -> None:
    """It runs again from its beginning, sees what it saw, and commits nothing twice."""
    limits = Limits(continue_at_events=20, heartbeat_seconds=2, drain_seconds=0.2)
    async with serving(client, [OneStep], task_queue=task_queue, limits=limits):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("OneStep", {"edits": 25})
        assert await asyncio.wait_for(handler, 60) == list(range(25))
        assert await handler.state() == {"count": 25}
    assert await _executions(client, handler) > 1


async def test_a_holder_that_is_at_work_keeps_the_lock(client: Client, task_queue: str) -> None:
    """However long its block is: its worker says now and then that it is alive."""
    limits = Limits(heartbeat_seconds=1)
    async with serving(client, [LongBlock], task_queue=task_queue, limits=limits):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("LongBlock", {})
        assert await asyncio.wait_for(handler, 30) == [0, 1, 2]
