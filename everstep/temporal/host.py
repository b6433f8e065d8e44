"""Where user code runs in a worker: an event loop in a thread of its own for async steps, threads for sync ones.

A few threads more are for the user's code beside steps: what judges events and answers, and retry policies.
The worker's own loop, which polls and heartbeats, never runs user code; a step that blocks loses nobody's heartbeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from everstep.errors import WorkflowRuntimeError
from everstep.resource_pool import ResourcePool
from everstep.temporal.left_threads import LeftThreads
from everstep.temporal.loop_watch import LoopWatch

P = ParamSpec("P")
T = TypeVar("T")


_log = logging.getLogger("everstep.worker")

STOP_SECONDS = 5.0
"""How long the steps' loop has to end, with what is open on it."""


ASIDE_THREADS = 4
"""How many calls of user's code beside steps run at one time; such code is short, and sync."""


class StepsLoopDied(WorkflowRuntimeError):
    """The event loop on which steps run has ended by itself: this process can run no steps any more."""


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

    def __init__(self, work: Coroutine[Any, Any, Any], name: str, done: asyncio.Future[Any], back: _Door) -> None:
        self._work = work
        self._name = name
        self._done = done
        self._back = back
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        """On the steps' loop."""
        self._task = asyncio.get_running_loop().create_task(self._work, name=self._name, context=self._context)
        self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """On the steps' loop, behind `begin`."""
        if self._task is not None:
            self._task.cancel()

    def lose(self, error: BaseException) -> None:
        """From the thread of the steps' loop, which has died: whoever waits is told."""
        with contextlib.suppress(RuntimeError):
            self._back.put(partial(self._lost, error))

    def _lost(self, error: BaseException) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # whoever waited for it has gone, and closed its loop
            self._back.put(self._settle)

    def _settle(self) -> None:
        """On the loop that waits."""
        task, done = self._task, self._done
        assert task is not None
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
        watch: looks after its loop.
    """

    def __init__(self, threads: int, watch: LoopWatch) -> None:
        self._threads = threads
        self._watch = watch
        self._users = 0
        self._stopping = False
        self._died: StepsLoopDied | None = None
        self._errands: set[_Errand] = set()
        self._when_dead: list[Callable[[BaseException], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self.left = LeftThreads()
        self._executor: ThreadPoolExecutor | None = None
        self._aside: ThreadPoolExecutor | None = None
        self._resources: ResourcePool | None = None
        self._there: _Door | None = None
        self._back: _Door | None = None

    @property
    def users(self) -> int:
        """How many workers need it."""
        return self._users

    @property
    def running(self) -> int:
        """How many attempts of steps are under way."""
        return len(self._errands)

    def acquire(self, when_dead: Callable[[BaseException], None] | None = None) -> None:
        """One more worker needs it; `when_dead` is called, from another thread, if the steps' loop dies."""
        self._users += 1
        if when_dead is not None:
            self._when_dead.append(when_dead)
        if self._users == 1:
            self._stopping = False
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="everstep-step")
            self._aside = ThreadPoolExecutor(ASIDE_THREADS, thread_name_prefix="everstep-aside")
            self._loop = asyncio.new_event_loop()
            self._there = _Door(self._loop)
            self._resources = ResourcePool()
            self._loop_thread = threading.Thread(
                target=self._live, args=(self._loop, self._resources), name="everstep-steps", daemon=True
            )
            self._loop_thread.start()
            assert self._loop_thread.ident is not None
            self._watch.add("steps'", self._loop, self._loop_thread.ident)

    def release(self) -> None:
        """One worker has stopped; after the last one, threads that do not return are left behind."""
        self._users -= 1
        if self._users == 0 and self._loop is not None and self._loop_thread is not None and self._executor is not None:
            self._stopping = True
            self._watch.remove(self._loop)
            with contextlib.suppress(RuntimeError):  # it has died
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop_thread.join(timeout=STOP_SECONDS)
            self._executor.shutdown(wait=False, cancel_futures=True)
            if self._aside is not None:
                self._aside.shutdown(wait=False, cancel_futures=True)
            self._loop = self._there = self._back = None
            self._when_dead.clear()

    def resources(self) -> ResourcePool:
        """The resources of the steps' loop."""
        if self._resources is None:
            raise WorkflowRuntimeError("the worker has stopped; no step can run in it")
        return self._resources

    async def run(self, work: Coroutine[Any, Any, T], name: str = "a step") -> T:
        """Run a coroutine on the steps' loop, from another loop; cancelling this cancels it there.

        Raises:
            StepsLoopDied: it can run nothing any more.
        """
        there = self._there
        if there is None or self._died is not None:
            work.close()
            raise self._died or WorkflowRuntimeError("the worker has stopped; no step can run in it")
        loop = asyncio.get_running_loop()
        back = self._back
        if back is None or back.loop is not loop:
            back = self._back = _Door(loop)
        done: asyncio.Future[T] = loop.create_future()
        errand = _Errand(work, name, done, back)
        self._errands.add(errand)  # from here on it is told if the loop dies
        try:
            with contextlib.suppress(RuntimeError):  # it has died in this moment
                there.put(errand.begin)
            return await done
        except asyncio.CancelledError:
            with contextlib.suppress(RuntimeError):  # it has died
                there.put(errand.cancel)
            raise
        finally:
            self._errands.discard(errand)

    async def aside(self, function: Callable[[], T]) -> T:
        """Run the user's code beside steps, off the worker's loop: validators, `check_answer`, retry policies.

        Its threads are not those of sync steps: when all of these hang, answers are still judged.
        """
        if self._aside is None:
            raise WorkflowRuntimeError("the worker has stopped; nothing can be judged in it")
        return await asyncio.get_running_loop().run_in_executor(self._aside, _without_exit, function)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a sync function in one of the threads."""
        if self._executor is None:
            raise WorkflowRuntimeError("the worker has stopped; no step can run in it")
        return self._executor.submit(fn, *args, **kwargs)

    def _live(self, loop: asyncio.AbstractEventLoop, resources: ResourcePool) -> None:
        """The life of the steps' loop, in its thread."""
        asyncio.set_event_loop(loop)
        try:
            while True:
                try:
                    loop.run_forever()
                except (SystemExit, KeyboardInterrupt) as error:
                    # A task that a step has started, and which asyncio lets out of the loop; the step hears of it.
                    _log.error("%s in a task of a step was taken as its failure, and ends nothing else", repr(error))
                    continue
                if self._stopping:
                    break
                _log.error("a step has stopped the event loop that all steps run on; it is started again")
        except BaseException as error:
            self._die(error)
            return
        _close(loop, resources)

    def _die(self, error: BaseException) -> None:
        """On the thread of the loop: nothing runs there any more."""
        _log.critical("the event loop of the steps has died: %r", error, exc_info=error)
        died = self._died = StepsLoopDied(
            f"the event loop of the steps has died ({type(error).__name__}: {error}): a step, or a library that it "
            "uses, has broken it. The worker cannot go on and must be started anew."
        )
        for errand in list(self._errands):
            errand.lose(died)
        for tell in self._when_dead:
            tell(died)


def _without_exit(function: Callable[[], T]) -> T:
    """Call it; it may end itself, not the worker's loop."""
    try:
        return function()
    except (SystemExit, KeyboardInterrupt) as error:
        raise WorkflowRuntimeError(
            f"code that judges events or retries raised {error!r}; it is to return, or to raise an Exception"
        ) from error


def _close(loop: asyncio.AbstractEventLoop, resources: ResourcePool) -> None:
    """End what is left on a loop that has stopped."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(resources.aclose())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
