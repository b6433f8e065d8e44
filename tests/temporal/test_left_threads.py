"""Sync steps that do not return when they are given up: what becomes of their places, and of those behind them."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import ClassVar

import pytest
from temporalio.client import Client

from everstep import Workflow, step
from everstep.events import StartEvent, StopEvent
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from everstep.temporal import TemporalRuntime, serving
from everstep.temporal.health import Polling, Stage, WorkerHealth
from everstep.temporal.loop_watch import LoopWatch
from tests.support.waiting import until


class Hangs(Workflow):
    let_go: ClassVar[threading.Event]
    begun: ClassVar[int]

    @step(timeout=0.1, retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(3)))
    def hang(self, ev: StartEvent) -> StopEvent:
        type(self).begun += 1
        self.let_go.wait(20)
        return StopEvent(result=self.begun)


class Innocent(Workflow):
    @step(timeout=0.3)
    def work(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result="done")


async def test_a_step_that_hangs_keeps_its_place(
    client: Client, task_queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes behind waits for a place and does not time out; no attempt is counted that has not begun."""
    Hangs.let_go, Hangs.begun = threading.Event(), 0
    runtime = TemporalRuntime(client, task_queue=task_queue)

    async def told() -> bool:
        return "step Hangs.hang was given up" in caplog.text and "(2 places are kept so)" in caplog.text

    with caplog.at_level(logging.INFO, "everstep.worker"):
        async with serving(client, [Hangs, Innocent], task_queue=task_queue, max_concurrent_steps=2):
            hanging = await runtime.start_flow("Hangs", {})
            await until(told)
            innocent = await runtime.start_flow("Innocent", {})
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(innocent), 0.5)
            assert Hangs.begun == 2
            Hangs.let_go.set()
            assert await innocent == "done"
            assert await hanging == 3
    assert "has returned after" in caplog.text


async def test_a_worker_whose_places_are_all_kept_is_not_ready(client: Client, task_queue: str) -> None:
    """It says so itself; the server is not asked."""
    health = WorkerHealth(LoopWatch())
    health.stage = Stage.SERVING
    health.polling = Polling(client, task_queue, lambda: True, stuck=lambda: "all 2 places are kept")
    assert await asyncio.to_thread(health.ready) == ["all 2 places are kept"]
