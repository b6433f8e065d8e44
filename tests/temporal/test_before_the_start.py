"""What reaches a run before its first workflow task: it is kept, answered or refused, and never holds the run up."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client

from everstep import Workflow, step
from everstep.errors import (
    ResponseRefusedError,
    RunAlreadyStartedError,
    WorkflowCancelledByUser,
    WorkflowRuntimeError,
)
from everstep.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import TemporalRuntime, serving
from tests.support.waiting import until


class Begin(StartEvent):
    number: int


class Question(InputRequiredEvent):
    pass


class Answer(HumanResponseEvent):
    word: str


class AskFlow(Workflow):
    """Asks at once."""

    @step
    async def ask(self, ev: Begin) -> Question:
        return Question()

    @step
    async def end(self, ev: Answer) -> StopEvent:
        return StopEvent(result=ev.word)


async def test_a_cancel_and_an_update_before_the_first_worker_end_the_run(client: Client, task_queue: str) -> None:
    """The run is cancelled, and the sender of the update learns it."""
    handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("AskFlow", {"number": 1})
    update = asyncio.ensure_future(handler.respond({"word": "early"}))
    await asyncio.sleep(0.5)
    await handler.cancel_run("enough")
    async with serving(client, [AskFlow], task_queue=task_queue):
        with pytest.raises(WorkflowCancelledByUser):
            await asyncio.wait_for(handler.stop_event_result(), 20)
        with pytest.raises(ResponseRefusedError):
            await asyncio.wait_for(update, 20)


async def test_a_refused_start_tells_whoever_sent_something(client: Client, task_queue: str) -> None:
    """The run fails for its start event, and an update that came early is refused with that reason."""
    handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("AskFlow", {"number": "many"})
    update = asyncio.ensure_future(handler.respond({"word": "early"}))
    await asyncio.sleep(0.5)
    async with serving(client, [AskFlow], task_queue=task_queue):
        with pytest.raises(WorkflowRuntimeError, match="number"):
            await asyncio.wait_for(handler.stop_event_result(), 20)
        with pytest.raises(ResponseRefusedError):
            await asyncio.wait_for(update, 20)


async def test_a_run_id_is_free_again_only_after_a_failure(client: Client, task_queue: str) -> None:
    """A mistyped start does not use up the id of its work; work that is done is not done again."""
    runtime = TemporalRuntime(client, task_queue=task_queue)
    async with serving(client, [AskFlow], task_queue=task_queue):
        mistyped = await runtime.start_flow("AskFlow", {"nmber": 1}, run_id=task_queue)
        with pytest.raises(WorkflowRuntimeError):
            await mistyped
        handler = await runtime.start_flow("AskFlow", {"number": 1}, run_id=task_queue)
        with pytest.raises(RunAlreadyStartedError):
            await runtime.start_flow("AskFlow", {"number": 1}, run_id=task_queue)
        await until(handler.requests)
        await handler.respond({"word": "done"})
        assert await handler == "done"
        with pytest.raises(RunAlreadyStartedError):
            await runtime.start_flow("AskFlow", {"number": 1}, run_id=task_queue)


async def test_waiting_for_a_verdict_can_be_bounded(client: Client, task_queue: str) -> None:
    """Without a worker nobody judges an answer: a timeout around `respond` ends the wait."""
    handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("AskFlow", {"number": 1})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await handler.respond({"word": "nobody hears"})
    await handler.workflow.terminate()


async def test_a_large_state_travels_beside_the_start_event(client: Client, task_queue: str) -> None:
    """A run begins with it, its memo stays small, and one that its history cannot hold is refused by name."""
    runtime = TemporalRuntime(client, task_queue=task_queue)
    async with serving(client, [AskFlow], task_queue=task_queue):
        handler = await runtime.start_flow("AskFlow", {"number": 1}, state={"text": "x" * 100_000})
        await until(handler.requests)
        await handler.respond({"word": "yes"})
        assert await handler == "yes"
        assert len((await handler.state())["text"]) == 100_000
        assert not await (await handler.workflow.describe()).memo()
        with pytest.raises(WorkflowRuntimeError, match=r"AskFlow cannot start: its start event, state and definition"):
            await (await runtime.start_flow("AskFlow", {"number": 1}, state={"text": "x" * 1_999_500}))
