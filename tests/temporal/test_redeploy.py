"""A redeploy never breaks a run: it goes on with the definition that was pinned at its start."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from everstep import Workflow
from everstep.temporal import TemporalRuntime, serving
from everstep.temporal.handler import TemporalHandler
from tests.support.versioned_flows import version_1, version_2, version_3, version_renamed
from tests.support.waiting import until

pytestmark = pytest.mark.slow


async def _waiting_run(client: Client, queue: str, flow: type[Workflow]) -> TemporalHandler:
    """A run that waits for its approval, started under `flow`; its worker has stopped."""
    runtime = TemporalRuntime(client, task_queue=queue)
    async with serving(client, [flow], task_queue=queue, max_cached_workflows=0):
        handler = await runtime.start_flow("OrderFlow", {"order": "A-7"})
        await until(handler.requests)
    return handler


async def _task_failures(handler: TemporalHandler) -> list[Any]:
    history = await handler.workflow.fetch_history()
    return [event for event in history.events if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED]


async def test_a_run_that_waits_ends_right_under_a_later_version(client: Client, task_queue: str) -> None:
    """Steps removed (a local one too), renamed, added and reordered: the run goes on, no workflow task fails."""
    handler = await _waiting_run(client, task_queue, version_1())
    async with serving(client, [version_2()], task_queue=task_queue, max_cached_workflows=0):
        await handler.respond({"approved": True})
        assert await handler == {"version": 2, "approved": True, "priced_by": 1}
    assert not await _task_failures(handler)


async def test_a_new_run_has_the_new_version(client: Client, task_queue: str) -> None:
    """The definition is read anew for each run."""
    async with serving(client, [version_2()], task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("OrderFlow", {"order": "B"})
        await until(handler.requests)
        await handler.respond({"approved": False})
        assert await handler == {"version": 2, "approved": False, "priced_by": 2}


async def test_a_step_that_is_gone_waits_visibly_for_a_worker_that_has_it(client: Client, task_queue: str) -> None:
    """The run does not fail: the pending activity says what is missing, and the old version may come back."""
    handler = await _waiting_run(client, task_queue, version_1())
    async with serving(client, [version_3()], task_queue=task_queue, max_cached_workflows=0):
        await handler.respond({"approved": True})

        async def complaint() -> str:
            described = await handler.workflow.describe()
            pending = described.raw_description.pending_activities
            return pending[0].last_failure.message if pending else ""

        text = await until(complaint)
        assert "no step 'OrderFlow.finish'" in text
        assert "waits for a worker that has it" in text
    async with serving(client, [version_1()], task_queue=task_queue, max_cached_workflows=0):
        assert await handler == {"version": 1, "approved": True, "priced_by": 1}
    assert not await _task_failures(handler)


async def test_a_renamed_step_runs_for_runs_that_knew_its_former_name(client: Client, task_queue: str) -> None:
    """Under that name's idempotency keys: what an attempt before the redeploy has done is not done again."""
    handler = await _waiting_run(client, task_queue, version_1())
    async with serving(client, [version_renamed()], task_queue=task_queue, max_cached_workflows=0):
        await handler.respond({"approved": True})
        result = await handler
    assert result["version"] == "renamed"
    assert result["key"].startswith(f"{handler.run_id}/finish/")
    assert not await _task_failures(handler)
