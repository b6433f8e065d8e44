"""`Held`: something that is opened when it is needed, shared while it is in use, and closed when nobody wants it.

Rule: the task that opens it closes it, as cancel scopes demand.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Held(Generic[T]):
    """Belongs to one event loop.

    Args:
        open: gives what is held, as a context manager.
        idle: seconds after which it is closed when nobody uses it.
    """

    def __init__(self, open: Callable[[], AbstractAsyncContextManager[T]], idle: float) -> None:
        self._open = open
        self._idle = idle
        self._users = 0
        self._freed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[T] | None = None

    @property
    def in_use(self) -> bool:
        """Whether somebody uses it."""
        return self._users > 0

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[T]:
        """It, open for the length of the block.

        Raises:
            Exception: what opening it raises.
        """
        if self._ready is None or self._task is None or self._task.done():
            self._ready = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._hold(self._ready), name="everstep-held")
        self._users += 1
        try:
            yield await asyncio.shield(self._ready)
        finally:
            self._users -= 1
            self._freed.set()

    async def aclose(self) -> None:
        """Close it, also where it is in use."""
        task, self._task, self._ready = self._task, None, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    async def _hold(self, ready: asyncio.Future[T]) -> None:
        try:
            async with self._open() as value:
                ready.set_result(value)
                await self._until_idle()
        except Exception as error:
            # What breaks later, those who use it are told by what they use it for.
            if not ready.done():
                ready.set_exception(error)
                ready.exception()  # looked at, if only here
        finally:
            if not ready.done():
                ready.set_exception(ConnectionError("it was closed while it was being opened"))
                ready.exception()

    async def _until_idle(self) -> None:
        while True:
            self._freed.clear()
            try:
                async with asyncio.timeout(self._idle):
                    await self._freed.wait()
            except TimeoutError:
                if not self._users:
                    return
