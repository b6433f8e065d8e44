"""A query that nobody answers, as whoever took it has ended: it is put again and reaches who is there now."""

from __future__ import annotations

import asyncio
import time

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from everstep import Workflow, step
from everstep.events import InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import TemporalRuntime, live, serving
from everstep.temporal.devserver import DevServer
from tests.support.grpc_proxy import GrpcProxy

QUERY = "QueryWorkflow"


class Waits(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent | StopEvent:
        return InputRequiredEvent(prompt="well?")


async def test_a_query_that_is_never_answered_is_put_again(
    client: Client, dev_server: DevServer, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one is answered, though the first hangs for as long as its caller lets it."""
    monkeypatch.setattr(live, "TRY_SECONDS", 0.6)
    async with serving(client, [Waits], task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Waits")
        with GrpcProxy(dev_server.address) as proxy:
            far = await Client.connect(proxy.address)
            proxy.delays[QUERY] = 60
            asked = asyncio.ensure_future(live.put_query(far, handler.run_id, "requests"))
            await asyncio.sleep(0.3)
            proxy.delays.clear()
            began = time.monotonic()
            assert isinstance(await asyncio.wait_for(asked, 10), list)
            assert time.monotonic() - began > 0.2


async def test_who_says_how_long_to_wait_waits_no_longer(
    client: Client, dev_server: DevServer, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying again is no way around it."""
    monkeypatch.setattr(live, "TRY_SECONDS", 0.2)
    async with serving(client, [Waits], task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Waits")
        with GrpcProxy(dev_server.address) as proxy:
            far = await Client.connect(proxy.address)
            proxy.delays[QUERY] = 60
            began = time.monotonic()
            with pytest.raises(RPCError):
                await live.put_query(far, handler.run_id, "requests", seconds=1)
            assert time.monotonic() - began < 3
