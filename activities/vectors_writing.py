"""Points written in batches: few at a time, each tried again while the store is busy.

Rule: whoever has more to write waits until there is room; nothing piles up between a fast embedder and a slow store.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from activities.errors import VectorStoreUnavailable
from activities.vectors_layout import Point

BATCH = 64
"""Points in one request: some 2 MB with vectors of 1,536 numbers."""

IN_FLIGHT = 4
"""Requests at a time, of all the sources that a process indexes into one store."""

TRIES = 5
LONGEST_WAIT = 20.0
"""Seconds. A store that wants to be left alone for longer is left to the retry policy of the step."""


class PointWriter(Protocol):
    """What points are written to."""

    async def upsert(self, points: Sequence[Point]) -> None:
        """Writes points. Raises VectorStoreError."""
        ...


class BatchWriter:
    """Writes points while it is open; leaving it waits until all are written.

    Args:
        engine: where to.
        room: how many requests may be in flight, shared by all writers of a store.

    Raises:
        VectorStoreError: on leaving, and on `put`, the first that could not be waited out.

    Example:
        async with BatchWriter(engine, asyncio.Semaphore(4)) as writer:
            await writer.put(points)
    """

    def __init__(self, engine: PointWriter, room: asyncio.Semaphore) -> None:
        self._engine = engine
        self._room = room
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._tasks.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            raise _first(group) from None

    async def put(self, points: Sequence[Point]) -> None:
        """Hands points over; waits while there is no room."""
        for start in range(0, len(points), BATCH):
            await self._room.acquire()
            task = self._tasks.create_task(self._write(points[start : start + BATCH]))
            # Not by the task itself: one that is cancelled before it begins would keep its place for ever.
            task.add_done_callback(lambda _: self._room.release())

    async def _write(self, points: Sequence[Point]) -> None:
        """One request, tried again when the store is busy or does not answer. Writing twice does no harm."""
        for tried in range(1, TRIES + 1):
            try:
                await self._engine.upsert(points)
                return
            except VectorStoreUnavailable as error:
                asked = error.retry_after
                wait = 0.25 * 2**tried * random.uniform(0.5, 1) if asked is None else max(asked, 0.05)
                if tried == TRIES or wait > LONGEST_WAIT:
                    raise
                await asyncio.sleep(wait)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
