"""`LocalRuntime`: starts runs in this process."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Self
from weakref import WeakKeyDictionary

from everstep.context.snapshot import Snapshot
from everstep.events import Event
from everstep.handler import WorkflowHandler
from everstep.invoke import Invoker
from everstep.local.children import Above
from everstep.local.clock import Clock
from everstep.local.handler import LocalHandler, state_of
from everstep.local.run import LocalRun
from everstep.resource_pool import ResourcePool
from everstep.runtime import require_loop
from everstep.state_store import begin_state
from everstep.workflow import Workflow

SYNC_STEP_THREADS = 128
"""How many sync steps may run at one time in a process, over all runs."""


class LocalRuntime:
    """Runs flows on the present event loop; sync steps run in threads.

    Args:
        clock: what timers and waits go by; tests give one that skips them, `everstep.testing.SkippingClock`.

    Resources that its steps were given are closed by `aclose`, at the end of an ``async with``, or with the event loop.

    Example:
        >>> with use_runtime(LocalRuntime()):
        ...     result = await MyFlow().run(topic="x")
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._executor = ThreadPoolExecutor(SYNC_STEP_THREADS, thread_name_prefix="everstep-step")
        self._gates: WeakKeyDictionary[Workflow, Gate] = WeakKeyDictionary()
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopPool] = WeakKeyDictionary()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _resources(self) -> ResourcePool:
        """The resources of the present event loop."""
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = _LoopPool()
        return pool.resources

    async def aclose(self) -> None:
        """Close the resources that steps were given on this event loop; the end of the loop does so too."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.open.aclose()

    def start(
        self,
        flow: Workflow,
        start_event: Event,
        *,
        run_id: str | None = None,
        ctx: Any | None = None,
    ) -> WorkflowHandler:
        """Start a run; see `Workflow.run`.

        Raises:
            StateValueError: `ctx` is no state that the flow can begin with.
            WorkflowRuntimeError: there is no running event loop.
        """
        run = self._new_run(flow, run_id)
        state = begin_state(run.invoker.types.state, state_of(ctx))
        return self._begin(flow, run, lambda: run.start(start_event, state))

    def resume(self, flow: Workflow, snapshot: Snapshot, *, run_id: str | None = None) -> WorkflowHandler:
        """Go on with a run that was taken down; see `Context.from_dict`.

        Raises:
            WorkflowRuntimeError: there is no running event loop.
        """
        run = self._new_run(flow, run_id or snapshot.run_id)
        return self._begin(flow, run, lambda: run.resume(snapshot))

    def _new_run(self, flow: Workflow, run_id: str | None) -> LocalRun:
        return self._run(flow, run_id or str(uuid.uuid4()), require_loop(flow))

    def _begin(self, flow: Workflow, run: LocalRun, begin: Callable[[], None]) -> WorkflowHandler:
        if flow.num_concurrent_runs is None:
            begin()
        else:
            gate = self._gates.setdefault(flow, Gate(flow.num_concurrent_runs))
            gate.enter(begin)
            run.ended.add_done_callback(gate.leave)
        return LocalHandler(run)

    def _run(
        self,
        flow: Workflow,
        run_id: str,
        loop: asyncio.AbstractEventLoop,
        timeout: float | None = None,
        above: Above | None = None,
    ) -> LocalRun:
        """A run that has not begun, and makes its children likewise."""

        def make(flow: Workflow, run_id: str, timeout: float | None, above: Above) -> LocalRun:
            return self._run(flow, run_id, loop, timeout, above)

        invoker = Invoker(flow, self._executor, self._resources)
        return LocalRun(invoker, run_id, loop, self._clock, make, timeout=timeout, above=above)


class _LoopPool:
    """The resources of one event loop; closed with the loop, at the latest."""

    def __init__(self) -> None:
        self.resources = ResourcePool()
        # A loop that ends closes the asynchronous generators that were begun on it: that is when resources end too.
        self.open = self._until_closed()
        with suppress(StopIteration):  # it begins without waiting for anything
            self.open.__anext__().send(None)

    async def _until_closed(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self.resources.aclose()


class Gate:
    """Lets a number of runs of one flow go on at a time; the others wait for their turn."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._waiting: deque[Callable[[], None]] = deque()

    def enter(self, begin: Callable[[], None]) -> None:
        """Begin now, or when a place is free."""
        if self._places:
            self._places -= 1
            begin()
        else:
            self._waiting.append(begin)

    def leave(self, _: object) -> None:
        """A run has ended: the next one begins."""
        if self._waiting:
            self._waiting.popleft()()
        else:
            self._places += 1
