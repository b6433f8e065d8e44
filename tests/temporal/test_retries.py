"""Retries on Temporal: what they leave in the history, what the UI shows of them, and what drives their chance."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from everstep import Context, Workflow, step
from everstep.errors import StepFailedError
from everstep.events import StartEvent, StopEvent
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_chain, wait_fixed
from everstep.temporal import TemporalRuntime, serving
from tests.support.waiting import until

ACTIVITY = (
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
)


class Flaky(Workflow):
    """Fails as often as it is told to, after delays within an attempt of Temporal's and between two."""

    @step(retry_policy=retry_policy(wait=wait_chain(wait_fixed(0.01), wait_fixed(1)), stop=stop_after_attempt(9)))
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        if ctx.retry_info().retry_number < ev.failures:
            raise ConnectionError(f"cut {ctx.retry_info().retry_number}")
        return StopEvent(result=ctx.retry_info().retry_number)


async def test_attempts_add_nothing_to_the_history(client: Client, task_queue: str) -> None:
    """However often a step is tried, its activity stands in the history once: scheduled, started, completed."""
    lengths: list[list[Any]] = []
    async with serving(client, [Flaky], task_queue=task_queue):
        for failures in (0, 3):
            handler = Flaky(runtime=TemporalRuntime(client, task_queue=task_queue)).run(failures=failures)
            assert await handler == failures
            history = await client.get_workflow_handle(handler.run_id).fetch_history()
            lengths.append([event.event_type for event in history.events])
    assert lengths[0] == lengths[1]
    assert [kind for kind in lengths[1] if kind in ACTIVITY] == list(ACTIVITY)


async def test_the_server_tells_of_attempts_and_of_the_last_error(client: Client, task_queue: str) -> None:
    """While a step waits for its next try, its attempts and its last error are seen where Temporal's UI looks."""
    async with serving(client, [Flaky], task_queue=task_queue):
        handler = Flaky(runtime=TemporalRuntime(client, task_queue=task_queue)).run(failures=4)

        async def seen() -> bool:
            found = await client.get_workflow_handle(handler.run_id).describe()
            pending = found.raw_description.pending_activities
            return bool(pending) and pending[0].attempt >= 2 and "cut" in pending[0].last_failure.message

        assert await until(seen)
        assert await handler == 4


class Wordy(Workflow):
    """Fails with a long text, from deep below."""

    @step(retry_policy=retry_policy(wait=wait_fixed(2), stop=stop_after_attempt(2)))
    async def work(self, ev: StartEvent) -> StopEvent:
        def below(depth: int) -> StopEvent:
            if depth:
                return below(depth - 1)
            raise ConnectionError("begin " + "x" * 6_000 + " end")

        return below(3)


async def test_a_long_error_is_kept_in_part_by_the_server(client: Client, task_queue: str) -> None:
    """It keeps 4 kB of a failed attempt: start and end of the text, and the frames from the author's code on."""
    async with serving(client, [Wordy], task_queue=task_queue):
        handler = Wordy(runtime=TemporalRuntime(client, task_queue=task_queue)).run()

        async def kept() -> Any:
            found = await client.get_workflow_handle(handler.run_id).describe()
            pending = found.raw_description.pending_activities
            return pending[0].last_failure if pending and pending[0].HasField("last_failure") else None

        failure = await until(kept)
        assert failure.message.startswith("begin xxx")
        assert failure.message.endswith("xxx end")
        assert failure.cause.application_failure_info.type == "ConnectionError"
        frames = failure.cause.stack_trace.strip().split("File ")[1:]
        assert frames[0].startswith(f'"{__file__}"')
        assert "in work" in frames[0]
        assert len(frames) == 5
        with pytest.raises(StepFailedError) as told:
            await handler
        assert len(str(told.value)) > 6_000
