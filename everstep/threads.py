"""The threads in which sync code of steps runs, for whoever runs such code within an async step.

They are the driver's, as many as it runs steps at one time: asyncio's own are a few, and shared with all else.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import ContextVar
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class AttemptThreads(Executor):
    """The threads that one attempt of a step uses. None can be stopped: `left` are those that have not returned.

    Args:
        executor: the driver's.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._used: list[Future[Any]] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in one of them."""
        future = self._executor.submit(fn, *args, **kwargs)
        self._used.append(future)
        return future

    def left(self) -> list[Future[Any]]:
        """What has not ended yet."""
        return [future for future in self._used if not future.done()]


step_threads: ContextVar[Executor | None] = ContextVar("everstep_step_threads", default=None)
"""Set where a step begins."""


async def in_step_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What a sync function returns, run in a thread for steps; outside of steps in one of asyncio's."""
    work = partial(contextvars.copy_context().run, partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(step_threads.get(), work)
