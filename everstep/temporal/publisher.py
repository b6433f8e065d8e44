"""Published events of one attempt: they leave with its outcome, or in batches by signal while it runs long."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from temporalio.client import WorkflowHandle

from everstep.engine.messages import Envelope
from everstep.temporal import names
from everstep.temporal.payloads import raw

FLUSH_SECONDS = 0.5
"""How long an event waits at most before followers of the run see it."""


class Publisher:
    """Buffers events from the step's thread and flushes them from the worker's loop.

    Made on the worker's loop; close it when the attempt ends.

    Args:
        run: gives the handle of the run that the events belong to.
        invocation, attempt: what published them; readers use it to drop what a failed attempt had shown.
    """

    def __init__(self, run: Callable[[], WorkflowHandle[Any, Any]], invocation: int, attempt: int) -> None:
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._flushes: asyncio.Task[None] | None = None
        self._closed = False
        self._invocation = invocation
        self.attempt = attempt
        self._buffer: list[Envelope] = []
        self._lock = threading.Lock()

    def publish(self, event: Envelope) -> None:
        """Take an event; called from any thread."""
        with self._lock:
            self._buffer.append(event)
            first = self._flushes is None and len(self._buffer) == 1
        if first:
            self._loop.call_soon_threadsafe(self._begin_flushing)

    def close(self) -> None:
        """Flush no more; what is left leaves with the outcome."""
        self._closed = True
        if self._flushes is not None:
            self._flushes.cancel()

    def drain(self) -> list[Envelope]:
        """What was not flushed yet."""
        with self._lock:
            taken, self._buffer = self._buffer, []
        return taken

    async def flush(self) -> None:
        """Send what is there by signal; if that fails it stays for the next time."""
        events = self.drain()
        if not events:
            return
        batch = {
            "invocation": self._invocation,
            "attempt": self.attempt,
            "events": [event.to_json() for event in events],
        }
        try:
            await self._run().signal(names.PUBLISH, raw(batch))
        except BaseException:
            with self._lock:
                self._buffer = events + self._buffer
            raise

    async def next_attempt(self) -> None:
        """What comes now is another attempt's: send what this one has shown, under its own number if that can be."""
        with contextlib.suppress(Exception):
            await self.flush()
        self.attempt += 1

    def _begin_flushing(self) -> None:
        if self._flushes is None and not self._closed:
            self._flushes = self._loop.create_task(self._flush_for_ever())

    async def _flush_for_ever(self) -> None:
        """Flush about twice a second until cancelled; a server that does not answer is tried again."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            with contextlib.suppress(Exception):
                await self.flush()
