"""Whether runs are traced is a setting of the present worker: what a run has done replays with it and without."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from temporalio.client import Client
from temporalio.worker import Replayer

from everstep import Workflow, step
from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine.messages import Envelope
from everstep.events import Event, StartEvent, StopEvent
from everstep.temporal import Limits, TemporalRuntime, serving
from everstep.temporal.interpreter import workflow_class
from everstep.temporal.payloads import dump
from everstep.temporal.step_runner import TASK_BYTES
from everstep.wire import StepCall

RUN = "large-items"
WIDTH = 40


class Item(Event):
    text: str


class Done(Event):
    pass


class LargeItems(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> list[Item]:
        return [Item(text="x" * ev.size) for _ in range(WIDTH)]

    @step(num_workers=WIDTH)
    async def work(self, ev: Item) -> Done:
        return Done()

    @step
    async def join(self, evs: list[Done]) -> StopEvent:
        return StopEvent(result=len(evs))


class Traced:
    """What tells a run's steps where its spans belong."""

    traceparent: str | None = f"00-{'a' * 32}-{'b' * 16}-01"

    def applied(self, what: happened.Input, commands: Sequence[do.Command], *, live: bool) -> None:
        """Nothing is to be told here."""


def _task_bytes(size: int) -> int:
    """How much all inputs of the step make."""
    calls = [StepCall(RUN, number, Envelope("Item", {"text": "x" * size})) for number in range(2, WIDTH + 2)]
    return sum(len(dump(call.to_json())) for call in calls)


@pytest.mark.slow
async def test_at_the_brink_of_a_task_a_traced_worker_does_the_same(client: Client, task_queue: str) -> None:
    """The inputs just fit one workflow task; with the bytes of the trace, one would be left to the next."""
    size = next(size for size in range(37_600, 30_000, -1) if _task_bytes(size) <= TASK_BYTES)
    async with serving(client, [LargeItems], task_queue=task_queue, limits=Limits(continue_at_bytes=10_000_000)):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow(
            "LargeItems", {"size": size}, run_id=RUN
        )
        assert await handler == WIDTH
    history = await handler.workflow.fetch_history()
    for flow in (workflow_class("LargeItems"), workflow_class("LargeItems", watcher=lambda run: Traced())):
        await Replayer(workflows=[flow]).replay_workflow(history)
