"""Where tests run flows, behind one interface: in process, on the time-skipping server, on a dev server.

A flow is served by a worker of its own in this process, from when a test first runs it to the test's end.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from temporalio.api.testservice.v1 import SleepRequest
from temporalio.client import Client

from everstep.errors import WorkflowRuntimeError
from everstep.events import Event
from everstep.handler import WorkflowHandler
from everstep.local import LocalRuntime
from everstep.runtime import Runtime, use_runtime
from everstep.temporal import Limits, TemporalRuntime, names, serving
from everstep.temporal.handler import TemporalHandler
from everstep.temporal.privacy import private_converter
from everstep.testing.clock import SkippingClock
from everstep.testing.time_skipping import SkipWhileWaiting
from everstep.workflow import Workflow

Flow = Workflow | type[Workflow]

PATIENCE = 20.0
"""Seconds after which something that a test waits for is taken to come no more."""

_ASKED_AGAIN = 4
_ASK_SECONDS = 4.0


class FlowEnvironment(ABC):
    """Runs flows for one test; see `everstep.testing.fixtures` for how tests get one.

    `name` is ``local``, ``time-skipping`` or ``dev-server``; `temporal` tells whether it is on a Temporal server, and
    `skips_time` whether time is skipped while the test waits for a run. `limits` are those of the workers to come, and
    `also` flows that they serve beside the one that is run: its children.

    Example:
        >>> async def test_my_flow(flow_env: FlowEnvironment) -> None:
        ...     handler = await flow_env.run(MyFlow, topic="tides")
        ...     assert await handler == "high"
    """

    name = ""
    temporal = False
    skips_time = False

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self.limits = Limits()
        self.also: list[Flow] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stack.aclose()

    @abstractmethod
    async def runtime(self, flow: Flow) -> Runtime:
        """What runs a flow, with a worker that serves it where it needs one."""

    @abstractmethod
    async def serve(self, flow: Flow, task_queue: str) -> None:
        """Serve a flow on a task queue of this name too, where there are any: for steps with ``task_queue=``."""

    async def run(self, flow: Flow, *, run_id: str | None = None, ctx: Any = None, **start: Any) -> WorkflowHandler:
        """Begin a run, and return its handle once the run is there.

        Args:
            flow: the flow's class, or an instance.
            run_id: the run's id.
            ctx: a context or a state that it begins with.
            start: the fields of the start event, or ``start_event``.
        """
        runtime = await self.runtime(flow)
        instance = flow() if isinstance(flow, type) else flow
        with use_runtime(runtime):
            handler = instance.run(ctx, run_id=run_id, **start)
        if isinstance(handler, TemporalHandler):
            await handler.started()
        return handler

    @abstractmethod
    async def let_pass(self, seconds: float) -> None:
        """Let time pass for the runs; skipped where it can be."""

    async def asked(self, handler: WorkflowHandler, query: Callable[[], Awaitable[Any]]) -> Any:
        """What a run answers to a query, such as `handler.requests`; does not let time skip."""
        return await query()

    async def open_requests(self, handler: WorkflowHandler, count: int = 1) -> list[dict[str, Any]]:
        """The open requests of a run to people, once there are `count`. Does not let time skip.

        Raises:
            AssertionError: they do not come about within 20 seconds.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            requests = await self.asked(handler, handler.requests)
            if len(requests) == count:
                return requests
            assert time.monotonic() < deadline, f"run {handler.run_id} has {len(requests)} open requests, not {count}"
            await asyncio.sleep(0.02)

    async def respond(
        self, handler: WorkflowHandler, answer: Event | Mapping[str, Any], *, by: str | None = None
    ) -> None:
        """Answer the one open request of a run, as soon as there is one.

        It waits without letting time skip; who follows the stream instead may see a question when its time is up.

        Raises:
            ResponseRefusedError: the answer was refused.
        """
        await self.open_requests(handler)
        await handler.respond(answer, by=by)


class LocalEnvironment(FlowEnvironment):
    """In this process.

    Args:
        clock: what timers go by; by default one that skips time.
    """

    name = "local"

    def __init__(self, clock: SkippingClock | None = None) -> None:
        super().__init__()
        self.clock = clock or SkippingClock()
        self.skips_time = True

    async def runtime(self, flow: Flow) -> Runtime:
        return LocalRuntime(clock=self.clock)

    async def serve(self, flow: Flow, task_queue: str) -> None:
        """There are no task queues."""

    async def let_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)


class TemporalEnvironment(FlowEnvironment):
    """On a Temporal server, such as a dev server: time passes as it does.

    Args:
        client: connected to the server.
    """

    name = "dev-server"
    temporal = True

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client
        self._runtimes: dict[Any, TemporalRuntime] = {}

    @classmethod
    async def connect(cls, address: str) -> Self:
        """The environment on the server at this address."""
        return cls(await Client.connect(address, data_converter=private_converter()))

    async def runtime(self, flow: Flow) -> TemporalRuntime:
        runtime = self._runtimes.get(flow)
        if runtime is None:
            queue = f"test-{uuid.uuid4()}"
            await self.serve(flow, queue)
            runtime = self._runtimes[flow] = TemporalRuntime(self.client, task_queue=queue)
        return runtime

    async def serve(self, flow: Flow, task_queue: str) -> None:
        flows = [flow, *self.also]
        worker = serving(self.client, flows, task_queue=task_queue, limits=self.limits, graceful_shutdown=0.5)
        await self.stack.enter_async_context(worker)

    async def let_pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class TimeSkippingEnvironment(TemporalEnvironment):
    """On Temporal's test server, whose time skips while the test waits for a run. It needs a server of its own."""

    name = "time-skipping"
    skips_time = True

    @classmethod
    async def connect(cls, address: str) -> Self:
        return cls(await Client.connect(address, interceptors=[SkipWhileWaiting()], data_converter=private_converter()))

    async def asked(self, handler: WorkflowHandler, query: Callable[[], Awaitable[Any]]) -> Any:
        """A query right after continue-as-new hangs on this server until the next workflow task: bring one about."""
        for _ in range(_ASKED_AGAIN):
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    return await query()
            except (TimeoutError, WorkflowRuntimeError):
                nothing: dict[str, Any] = {"invocation": 0, "attempt": 0, "events": []}
                await self.client.get_workflow_handle(handler.run_id).signal(names.PUBLISH, nothing)
        return await query()

    async def let_pass(self, seconds: float) -> None:
        request = SleepRequest()
        request.duration.FromTimedelta(timedelta(seconds=seconds))
        await self.client.test_service.unlock_time_skipping_with_sleep(request)
