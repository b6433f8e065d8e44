"""The drivers that the contract suite runs on, behind one interface: in process, time-skipping server, dev server.

A flow is served by a worker of its own, started when a test first runs it and stopped at the test's end.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

from temporalio.api.testservice.v1 import SleepRequest
from temporalio.client import Client

from everstep import LocalRuntime, Workflow, use_runtime
from everstep.errors import WorkflowRuntimeError
from everstep.events import Event
from everstep.handler import StreamItem, WorkflowHandler
from everstep.runtime import Runtime
from everstep.temporal import Limits, TemporalRuntime, names, serving
from everstep.temporal.handler import TemporalHandler
from tests.support.time_skipping import SkipWhileWaiting

PATIENCE = 20.0
"""Seconds after which something that a test waits for is taken to come no more."""

Flow = Workflow | type[Workflow]


@dataclass
class Seen:
    """All that is seen of a run from outside: its stream, its state, and how it ended."""

    events: list[Event]
    state: dict[str, Any]
    result: Any = None
    error: Exception | None = None
    items: list[StreamItem] = field(default_factory=list[StreamItem])

    def types(self) -> list[str]:
        """The types of the events, in order."""
        return [type(event).__name__ for event in self.events]


class Driver(ABC):
    """Runs flows for one test. `also` are flows that workers serve beside the one that is run: its children."""

    name = ""
    temporal = False
    skips_time = False

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self.limits = Limits()
        self.also: list[Flow] = []
        self.begun: dict[str, float] = {}

    @abstractmethod
    async def runtime(self, flow: Flow) -> Runtime:
        """What runs a flow, with a worker that serves it where it needs one."""

    @abstractmethod
    async def let_pass(self, seconds: float) -> None:
        """Let time pass for the runs."""

    def at_real_pace(self) -> None:
        """Let time pass as it does, where it is skipped otherwise: for people who answer what a stream shows."""
        self.skips_time = False

    @abstractmethod
    async def serve(self, flow: Flow, task_queue: str) -> None:
        """Serve a flow on a task queue of this name too, where there are any."""

    def span(self, short: float, long: float) -> float:
        """A time to wait for, in seconds: `short` where it is waited out, `long` where it is skipped."""
        return long if self.skips_time else short

    async def run(self, flow: Flow, *, run_id: str | None = None, ctx: Any = None, **start: Any) -> WorkflowHandler:
        """Begin a run; the start event's fields as keywords."""
        runtime = await self.runtime(flow)
        instance = flow() if isinstance(flow, type) else flow
        with use_runtime(runtime):
            handler = instance.run(ctx, run_id=run_id, **start)
        self.begun[handler.run_id] = time.monotonic()
        if isinstance(handler, TemporalHandler):
            await handler.started()
        return handler

    @abstractmethod
    async def took(self, handler: WorkflowHandler) -> float:
        """How many seconds a run took that has just ended, by the clock that its timers go by."""

    async def see(self, flow: Flow, *, ctx: Any = None, **start: Any) -> Seen:
        """Run a flow to its end and look at it from all sides."""
        return await self.seen(await self.run(flow, ctx=ctx, **start))

    async def seen(self, handler: WorkflowHandler) -> Seen:
        """Wait for the end of a run and look at it from all sides."""
        async with asyncio.timeout(PATIENCE):
            items = [item async for item in handler.stream_items()]
            result, error = None, None
            try:
                result = await handler
            except Exception as raised:
                error = raised
            return Seen([item.event for item in items], await handler.state(), result, error, items)

    async def open_requests(self, handler: WorkflowHandler, count: int = 1) -> list[dict[str, Any]]:
        """The open requests of a run, once there are `count`. Does not let time skip."""

        async def found() -> list[dict[str, Any]] | None:
            requests = await self.asked(handler, handler.requests)
            return requests if len(requests) == count else None

        return await eventually(found)

    async def in_status(self, handler: WorkflowHandler, status: str) -> dict[str, Any]:
        """The progress of a run, once it has this status. Does not let time skip."""

        async def found() -> dict[str, Any] | None:
            progress = await self.asked(handler, handler.progress)
            return progress if progress["status"] == status else None

        return await eventually(found)

    async def asked(self, handler: WorkflowHandler, query: Callable[[], Awaitable[Any]]) -> Any:
        """What a run answers to a query."""
        return await query()


async def eventually(find: Callable[[], Awaitable[Any]]) -> Any:
    """What `find` gives once it gives something; asked again for a while."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = await find()
        if found:
            return found
        assert time.monotonic() < deadline, "what this test waits for did not come"
        await asyncio.sleep(0.02)


class LocalDriver(Driver):
    """In this process."""

    name = "local"

    async def runtime(self, flow: Flow) -> Runtime:
        return LocalRuntime()

    async def serve(self, flow: Flow, task_queue: str) -> None:
        """There are no task queues."""

    async def took(self, handler: WorkflowHandler) -> float:
        return time.monotonic() - self.begun[handler.run_id]

    async def let_pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class TemporalDriver(Driver):
    """On a Temporal server; one worker for each flow."""

    name = "dev-server"
    temporal = True

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client
        self._runtimes: dict[Any, TemporalRuntime] = {}

    @classmethod
    async def connect(cls, address: str) -> Self:
        """The driver for the server at this address."""
        return cls(await Client.connect(address))

    async def runtime(self, flow: Flow) -> TemporalRuntime:
        runtime = self._runtimes.get(flow)
        if runtime is None:
            queue = f"contract-{uuid.uuid4()}"
            await self.serve(flow, queue)
            runtime = self._runtimes[flow] = TemporalRuntime(self.client, task_queue=queue)
        return runtime

    async def serve(self, flow: Flow, task_queue: str) -> None:
        worker = serving(
            self.client, [flow, *self.also], task_queue=task_queue, limits=self.limits, graceful_shutdown=0.5
        )
        await self.stack.enter_async_context(worker)

    async def took(self, handler: WorkflowHandler) -> float:
        found = await self.client.get_workflow_handle(handler.run_id).describe()
        assert found.close_time is not None
        return (found.close_time - found.start_time).total_seconds()

    async def let_pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class TimeSkippingDriver(TemporalDriver):
    """On the test server, whose time skips while somebody waits for a run."""

    name = "time-skipping"
    skips_time = True

    def __init__(self, client: Client, skips: SkipWhileWaiting) -> None:
        super().__init__(client)
        self._skips = skips

    @classmethod
    async def connect(cls, address: str) -> Self:
        skips = SkipWhileWaiting()
        return cls(await Client.connect(address, interceptors=[skips]), skips)

    def at_real_pace(self) -> None:
        super().at_real_pace()
        self._skips.real_pace = True

    async def asked(self, handler: WorkflowHandler, query: Callable[[], Awaitable[Any]]) -> Any:
        """A query right after continue-as-new hangs on this server until the next workflow task: bring one about."""
        for _ in range(4):
            try:
                async with asyncio.timeout(4):
                    return await query()
            except (TimeoutError, WorkflowRuntimeError):
                nothing: dict[str, Any] = {"invocation": 0, "attempt": 0, "events": []}
                await self.client.get_workflow_handle(handler.run_id).signal(names.PUBLISH, nothing)
        return await query()

    async def let_pass(self, seconds: float) -> None:
        request = SleepRequest()
        request.duration.FromTimedelta(timedelta(seconds=seconds))
        await self.client.test_service.unlock_time_skipping_with_sleep(request)
