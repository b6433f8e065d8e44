"""Agents under fire: workers are killed in a tool and while a person is asked, and nothing is done twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client

from activities.ledger import Ledger
from everstep.temporal import TemporalRuntime
from everstep.temporal.devserver import DevServer
from tests.support import durable_flows
from tests.support.waiting import until
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.slow

FLOW = "tests.support.agent_flows:PayDesk"


async def test_a_worker_killed_in_a_tool_repeats_neither_payments_nor_calls_of_models(
    client: Client, dev_server: DevServer, task_queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool that was running runs again under its key; a second kill, while a person is asked, changes nothing."""
    monkeypatch.setenv("DURABLE_FOLDER", str(tmp_path))
    runtime = TemporalRuntime(client, task_queue=task_queue)

    async def hangs() -> bool:
        return all(durable_flows.marks(f"pay-{bill}") for bill in range(3))

    with WorkerProcess(dev_server.address, task_queue, FLOW, env={"DURABLE_FOLDER": str(tmp_path)}) as worker:
        handler = await runtime.start_flow("PayDesk", {"user_msg": "Pay all bills."})
        await until(hangs)
        worker.kill()
        worker.start()
        (request,) = await until(handler.requests, within=40)
        worker.kill()
        worker.start()
        await handler.respond({"approved": True}, request=request["id"])
        result = await handler
    assert result["response"]["content"] == "All paid."
    payments = await asyncio.to_thread(Ledger(tmp_path / "ledger.db").payments)
    assert sorted(payment.order_id for payment in payments) == ["order-0", "order-1", "order-2"]
    assert len({payment.idempotency_key for payment in payments}) == 3
    assert [durable_flows.marks(f"think-{turn}") for turn in range(3)] == [1, 1, 1]
    assert (durable_flows.marks("pay-1"), durable_flows.marks("close")) == (2, 1)
