"""Where user code runs in a worker: an event loop in a thread of its own for async steps, threads for sync ones.

The worker's own loop, which polls and heartbeats, never runs user code; a step that blocks loses nobody's heartbeat.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from everstep.errors import WorkflowRuntimeError
from everstep.resource_pool import ResourcePool

P = ParamSpec("P")
T = TypeVar("T")


STOP_SECONDS = 10.0
"""How long the steps' loop has to end, with what is open on it."""


class StepHost(Executor):
    """Shared by the workers of one plugin: the first to start starts it, the last to stop stops it.

    As an executor it runs sync functions in its threads.

    Args:
        threads: how many sync steps may run at one time; one that was given up keeps its thread until it returns.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._resources: ResourcePool | None = None

    def acquire(self) -> None:
        """One more worker needs it."""
        self._users += 1
        if self._users == 1:
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="everstep-step")
            self._loop = asyncio.new_event_loop()
            self._resources = ResourcePool()
            self._loop_thread = threading.Thread(
                target=_run, args=(self._loop, self._resources), name="everstep-steps", daemon=True
            )
            self._loop_thread.start()

    def release(self) -> None:
        """One worker has stopped; threads of sync steps that do not return are left behind."""
        self._users -= 1
        if self._users == 0 and self._loop is not None and self._loop_thread is not None and self._executor is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop_thread.join(timeout=STOP_SECONDS)
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._loop = None

    def resources(self) -> ResourcePool:
        """The resources of the steps' loop."""
        if self._resources is None:
            raise WorkflowRuntimeError("the worker has stopped; no step can run in it")
        return self._resources

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the steps' loop, from another loop; cancelling this cancels it there."""
        if self._loop is None:
            work.close()
            raise WorkflowRuntimeError("the worker has stopped; no step can run in it")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a sync function in one of the threads."""
        if self._executor is None:
            raise WorkflowRuntimeError("the worker has stopped; no step can run in it")
        return self._executor.submit(fn, *args, **kwargs)


def _run(loop: asyncio.AbstractEventLoop, resources: ResourcePool) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(resources.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
