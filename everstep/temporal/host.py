"""Where user code runs in a worker: an event loop in a thread of its own for async steps, threads for sync ones.

The worker's own loop, which polls and heartbeats, never runs user code; a step that blocks loses nobody's heartbeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from everstep.errors import WorkflowRuntimeError
from everstep.resource_pool import ResourcePool

P = ParamSpec("P")
T = TypeVar("T")


STOP_SECONDS = 10.0
"""How long the steps' loop has to end, with what is open on it."""


class _Door:
    """Calls from other threads into a loop: one wake-up for all that come before it takes them in.

    Each wake-up is a system call on either side and a fight for the interpreter's lock, which cost more than a short
    step. Needs no lock: a call is put down before the bell is looked at, the bell is cleared before calls are taken.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        self._rung = False

    def put(self, call: Callable[[], None]) -> None:
        """Have `call` made on the loop; in order. It must not raise."""
        self._calls.append(call)
        if not self._rung:
            self._rung = True
            self.loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._rung = False
        while self._calls:
            self._calls.popleft()()


class _Errand:
    """One coroutine on its way to the steps' loop and back."""

    def __init__(self, work: Coroutine[Any, Any, Any], done: asyncio.Future[Any], back: _Door) -> None:
        self._work = work
        self._done = done
        self._back = back
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        """On the steps' loop."""
        self._task = asyncio.get_running_loop().create_task(self._work, context=self._context)
        self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """On the steps' loop, behind `begin`."""
        if self._task is not None:
            self._task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # whoever waited for it has gone, and closed its loop
            self._back.put(partial(self._settle, task))

    def _settle(self, task: asyncio.Task[Any]) -> None:
        """On the loop that waits."""
        done = self._done
        if task.cancelled():
            done.cancel()
        elif (error := task.exception()) is not None:  # asked for in any case, or asyncio would log it
            if not done.done():
                done.set_exception(error)
        elif not done.done():
            done.set_result(task.result())


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
        self._there: _Door | None = None
        self._back: _Door | None = None

    def acquire(self) -> None:
        """One more worker needs it."""
        self._users += 1
        if self._users == 1:
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="everstep-step")
            self._loop = asyncio.new_event_loop()
            self._there = _Door(self._loop)
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
            self._loop = self._there = self._back = None

    def resources(self) -> ResourcePool:
        """The resources of the steps' loop."""
        if self._resources is None:
            raise WorkflowRuntimeError("the worker has stopped; no step can run in it")
        return self._resources

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the steps' loop, from another loop; cancelling this cancels it there."""
        there = self._there
        if there is None:
            work.close()
            raise WorkflowRuntimeError("the worker has stopped; no step can run in it")
        loop = asyncio.get_running_loop()
        back = self._back
        if back is None or back.loop is not loop:
            back = self._back = _Door(loop)
        done: asyncio.Future[T] = loop.create_future()
        errand = _Errand(work, done, back)
        there.put(errand.begin)
        try:
            return await done
        except asyncio.CancelledError:
            there.put(errand.cancel)
            raise

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
