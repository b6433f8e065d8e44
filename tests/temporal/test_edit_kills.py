"""`edit_state` under fire: a worker is killed while it holds the run's lock, and no change is lost or made twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client

from everstep.temporal import TemporalRuntime
from everstep.temporal.devserver import DevServer
from tests.support.waiting import until
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.slow

FLOW = "tests.support.edit_flows:CountFlow"


async def test_a_counter_is_right_after_a_holder_was_killed(
    client: Client, dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    """200 steps on two workers add to one counter; the one that holds the lock is killed: 200, each once."""
    env = {"DURABLE_FOLDER": str(tmp_path)}
    runtime = TemporalRuntime(client, task_queue=task_queue)
    first = WorkerProcess(dev_server.address, task_queue, FLOW, env=env)
    second = WorkerProcess(dev_server.address, task_queue, FLOW, env=env)

    async def both_hang() -> bool:
        return (tmp_path / "within").exists() and (tmp_path / "after").exists()

    with first, second:
        handler = await runtime.start_flow("CountFlow", {"steps": 200})
        await until(both_hang, within=60)
        pid = int((tmp_path / "within").read_text())
        killed, other = (first, second) if first.pid == pid else (second, first)
        assert killed.pid == pid
        killed.kill()
        if (
            int((tmp_path / "after").read_text()) == other.pid
        ):  # it would hang on, alive: end it too, and start it again
            other.kill()
            other.start()
        result = await asyncio.wait_for(handler, 90)
    assert result["count"] == 200
    assert result["by"] == list(range(200))
    assert result["saw"] == list(range(200)), "each block saw what the one before it had left, also when it came again"
