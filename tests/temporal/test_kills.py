"""Durability, proved by killing: workers and servers end with SIGKILL in the middle of a step, and nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client

from activities.ledger import Ledger
from everstep.errors import StepFailedError
from everstep.temporal import TemporalRuntime
from everstep.temporal.devserver import DevServer
from everstep.temporal.handler import TemporalHandler
from tests.support import durable_flows
from tests.support.waiting import until
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.slow

PAY, SLOW, DEADLY, BOOK = (
    f"tests.support.durable_flows:{name}" for name in ("PayFlow", "SlowFlow", "DeadlyFlow", "BookFlow")
)


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of workers: where the flows leave their marks."""
    monkeypatch.setenv("DURABLE_FOLDER", str(tmp_path))
    return {"DURABLE_FOLDER": str(tmp_path)}


async def _hangs(handler: TemporalHandler, others: int) -> bool:
    """One payment is under way, and the run has heard of the end of all others."""
    steps = (await handler.progress())["steps"]
    return durable_flows.marks("pay-1") > 0 and {one["step"]: one["done"] for one in steps}["pay"] == others


async def _paid_once(bills: int) -> None:
    payments = await asyncio.to_thread(Ledger(durable_flows.folder() / "ledger.db").payments)
    assert sorted(payment.order_id for payment in payments) == sorted(f"order-{n}" for n in range(bills))


async def test_a_worker_killed_in_a_step_loses_nothing(
    client: Client, dev_server: DevServer, task_queue: str, env: dict[str, str]
) -> None:
    """The step runs again elsewhere: one payment each, each state change once, and no try counted against the step."""
    runtime = TemporalRuntime(client, task_queue=task_queue)
    with WorkerProcess(dev_server.address, task_queue, PAY, env=env) as worker:
        handler = await runtime.start_flow("PayFlow", {"bills": 5})
        await until(lambda: _hangs(handler, 4))
        worker.kill()
        worker.start()
        await until(handler.requests, within=40)
        await handler.respond({"approved": True})
        assert await handler == {"approved": True, "retries": 0}
    state = await _state_of(client, task_queue, dev_server, handler.run_id, env)
    assert state == {"begun": 1, "paid": {str(n): 1 for n in range(5)}, "payments": 5}
    await _paid_once(5)
    assert [durable_flows.marks(f"pay-{n}") for n in range(5)] == [1, 2, 1, 1, 1]


async def test_a_worker_killed_while_a_child_is_at_work_loses_nothing(
    client: Client, dev_server: DevServer, task_queue: str, env: dict[str, str]
) -> None:
    """The run above and its child both go on: one child, each payment once, each effect of the step once."""
    runtime = TemporalRuntime(client, task_queue=task_queue)
    with WorkerProcess(dev_server.address, task_queue, PAY, BOOK, env=env) as worker:
        handler = await runtime.start_flow("BookFlow", {"bills": 3})
        child = runtime.handle(f"{handler.run_id}/order-1")
        await until(lambda: _hangs(child, 2))
        worker.kill()
        worker.start()
        await until(handler.requests, within=40)
        worker.kill()
        worker.start()
        await until(handler.requests, within=40)
        await handler.respond({"approved": True})
        assert await asyncio.wait_for(handler, 40) == {"approved": True, "retries": 0}
        assert await handler.state() == {"ordered": 1, "booked": 1}
        assert await child.state() == {"begun": 1, "paid": {str(n): 1 for n in range(3)}, "payments": 3}
    await _paid_once(3)
    assert [durable_flows.marks(f"pay-{n}") for n in range(3)] == [1, 2, 1]
    history = await client.get_workflow_handle(handler.run_id).fetch_history()
    begun = [event for event in history.events if event.HasField("child_workflow_execution_started_event_attributes")]
    assert len(begun) == 1


async def _state_of(
    client: Client, queue: str, server: DevServer, run_id: str, env: dict[str, str]
) -> dict[str, object]:
    """The final state, asked of a worker that has never seen the run."""
    with WorkerProcess(server.address, queue, PAY, env=env):
        return await TemporalRuntime(client, task_queue=queue).handle(run_id).state()


async def test_a_server_killed_in_a_step_loses_nothing(task_queue: str, env: dict[str, str]) -> None:
    """On its persistent file the server comes back, the worker finds it again, and the run ends right."""
    async with DevServer.private() as server:
        with WorkerProcess(server.address, task_queue, PAY, env=env) as worker:
            client = await Client.connect(server.address)
            runtime = TemporalRuntime(client, task_queue=task_queue)
            handler = await runtime.start_flow("PayFlow", {"bills": 4})
            await until(lambda: _hangs(handler, 3))
            await asyncio.to_thread(server.kill)
            worker.kill()
            await asyncio.to_thread(server.restart)
            worker.start()
            await until(handler.requests, within=60)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)
            requests = await until(handler.requests, within=60)
            assert [request["id"] for request in requests] == ["ask-1"]
            await handler.respond({"approved": True})
            assert await handler == {"approved": True, "retries": 0}
            assert (await handler.state())["paid"] == {str(n): 1 for n in range(4)}
        await _paid_once(4)


async def test_a_worker_that_is_told_to_stop_lets_its_steps_end(
    client: Client, dev_server: DevServer, task_queue: str, env: dict[str, str]
) -> None:
    """SIGTERM: a step within the grace ends where it runs, and runs once."""
    runtime = TemporalRuntime(client, task_queue=task_queue)
    with WorkerProcess(dev_server.address, task_queue, SLOW, env=env, grace=20) as worker:
        handler = await runtime.start_flow("SlowFlow", {"seconds": 3})
        await until(_works)
        worker.terminate()
        assert await worker.ended() == 0
        worker.start()
        assert await handler == {"runs": 1, "retries": 0}


async def _works() -> bool:
    return durable_flows.marks("work") > 0


async def test_a_step_longer_than_the_grace_goes_to_another_worker_at_once(
    client: Client, dev_server: DevServer, task_queue: str, env: dict[str, str]
) -> None:
    """SIGTERM: what does not end in time runs again elsewhere, uncounted, without waiting for a heartbeat timeout."""
    runtime = TemporalRuntime(client, task_queue=task_queue)
    with WorkerProcess(dev_server.address, task_queue, SLOW, env=env, grace=1) as worker:
        handler = await runtime.start_flow("SlowFlow", {"seconds": 300})
        await until(_works)
        with WorkerProcess(dev_server.address, task_queue, SLOW, env=env):
            worker.terminate()
            assert await worker.ended() == 0
            assert await asyncio.wait_for(handler, 20) == {"runs": 2, "retries": 0}


async def test_a_step_that_kills_its_workers_ends_as_a_failure(
    client: Client, dev_server: DevServer, task_queue: str, env: dict[str, str]
) -> None:
    """After a few lost workers the run fails and says so, instead of killing workers for ever."""
    runtime = TemporalRuntime(client, task_queue=task_queue)
    with WorkerProcess(dev_server.address, task_queue, DEADLY, env=env) as worker:
        handler = await runtime.start_flow("DeadlyFlow")
        result = asyncio.ensure_future(handler.stop_event_result())
        while not result.done():
            if not worker.running:
                worker.start()
            await asyncio.sleep(0.2)
        with pytest.raises(StepFailedError, match="worker was lost 4 times"):
            await result
    assert durable_flows.marks("explode") == 4
