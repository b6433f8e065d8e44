"""A run's stream in process: a list that any number of readers follow, from any offset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from everstep.engine.messages import Envelope
from everstep.local.clock import Clock


@dataclass(slots=True)
class Entry:
    """One published event; `index` is its place."""

    index: int
    event: Envelope
    invocation: int | None
    attempt: int | None
    internal: bool


class LocalStream:
    """Append-only; readers wait for what comes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: list[Entry] = []
        self._closed = False
        self._more = asyncio.Event()
        self._waiting = 0

    def publish(
        self,
        event: Envelope,
        invocation: int | None = None,
        attempt: int | None = None,
        *,
        internal: bool = False,
    ) -> None:
        """Append an event; after the end of the run nothing is taken."""
        if self._closed:
            return
        self._entries.append(Entry(len(self._entries), event, invocation, attempt, internal))
        self._wake()

    def close(self) -> None:
        """No more will come."""
        self._closed = True
        self._wake()

    async def read(self, start: int = 0) -> AsyncIterator[Entry]:
        """All entries from `start`, then those to come, until the stream is closed."""
        while True:
            while start < len(self._entries):
                yield self._entries[start]
                start += 1
            if self._closed:
                return
            self._waiting += 1
            with self._clock.awaited():
                await self._more.wait()

    def _wake(self) -> None:
        if self._waiting:
            self._more.set()
            self._more, self._waiting = asyncio.Event(), 0
