"""A query that nobody answers, as whoever took it has ended: it is put again and reaches who is there now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from everstep import Workflow, step
from everstep.events import InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import TemporalRuntime, live, serving
from everstep.temporal.devserver import DevServer
from tests.support.grpc_proxy import GrpcProxy

QUERY = "QueryWorkflow"

Ask = Callable[..., Awaitable[Any]]


class Waits(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent | StopEvent:
        return InputRequiredEvent(prompt="well?")


@pytest.fixture
async def swallowed(client: Client, dev_server: DevServer, task_queue: str) -> AsyncIterator[tuple[GrpcProxy, Ask]]:
    """A way to ask a run, whose queries a proxy keeps to itself."""
    async with serving(client, [Waits], task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Waits")
        with GrpcProxy(dev_server.address) as proxy:
            far = await Client.connect(proxy.address)
            proxy.delays[QUERY] = 60
            yield proxy, partial(live.put_query, far, handler.run_id, "requests")


async def test_a_query_that_is_never_answered_is_put_again(
    swallowed: tuple[GrpcProxy, Ask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one is answered, though the first hangs for as long as its caller lets it."""
    monkeypatch.setattr(live, "TRY_SECONDS", 0.6)
    proxy, ask = swallowed
    asked = asyncio.ensure_future(ask())
    await asyncio.sleep(0.3)
    proxy.delays.clear()
    began = time.monotonic()
    assert isinstance(await asyncio.wait_for(asked, 10), list)
    assert time.monotonic() - began > 0.2


async def test_who_says_how_long_to_wait_waits_no_longer(
    swallowed: tuple[GrpcProxy, Ask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying again is no way around it."""
    monkeypatch.setattr(live, "TRY_SECONDS", 0.2)
    _, ask = swallowed
    began = time.monotonic()
    with pytest.raises(RPCError):
        await ask(seconds=1)
    assert time.monotonic() - began < 3
