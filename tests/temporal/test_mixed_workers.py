"""Workers with different flows on one task queue: what they cannot answer is told in words."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from everstep import Workflow, step
from everstep.errors import FlowNotServedError
from everstep.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import TemporalRuntime, serving
from tests.support.waiting import until


class AskFlow(Workflow):
    """Asks at once."""

    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent()

    @step
    async def end(self, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent()


class OtherFlow(Workflow):
    """Another flow, of another worker."""

    @step
    async def act(self, ev: StartEvent) -> StopEvent:
        return StopEvent()


async def test_a_worker_without_the_flow_cannot_answer_for_it(client: Client, task_queue: str) -> None:
    """The error says that the workers of a queue must serve the same flows."""
    runtime = TemporalRuntime(client, task_queue=task_queue)
    async with serving(client, [AskFlow], task_queue=task_queue, max_cached_workflows=0):
        handler = await runtime.start_flow("AskFlow")
        await until(handler.requests)
    async with serving(client, [OtherFlow], task_queue=task_queue):
        with pytest.raises(FlowNotServedError, match="--task-queue"):
            await handler.progress()
