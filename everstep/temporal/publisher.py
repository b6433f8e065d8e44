"""Published events of one attempt: they leave with its outcome, or in batches by signal while it runs long."""

from __future__ import annotations

import threading

from everstep.engine.messages import Envelope, Failure
from everstep.temporal.payloads import dump
from everstep.temporal.publish_line import PublishLine, Shown

FRAME_BYTES = 1_000
"""What stands in a batch around an event, generously."""


class Publisher:
    """Takes events from the step's thread; the line of its execution sends them from the worker's loop.

    Made on the worker's loop.

    Args:
        line: of the execution that the events belong to.
        invocation, attempt: what published them; readers use it to drop what a failed attempt had shown.
        limit: the server's limit for one payload, in bytes; None where there is none.
    """

    def __init__(self, line: PublishLine, invocation: int, attempt: int, limit: int | None) -> None:
        self._line = line
        self.invocation = invocation
        self.attempt = attempt
        self._limit = limit
        self._any = False
        self._closed = False
        self._buffer: list[Shown] = []
        self._lock = threading.Lock()
        self.too_large: tuple[str, int] | None = None
        """The type and size of an event that no batch and no outcome can carry; it is not shown."""

    def publish(self, event: Envelope) -> None:
        """Take an event; called from any thread."""
        data = dump(event.to_json())
        with self._lock:
            if self._closed:
                return
            if self._limit is not None and len(data) > self._limit - FRAME_BYTES:
                self.too_large = self.too_large or (event.type, len(data))
                return
            self._buffer.append(Shown(event, data, self.attempt))
            self._any, first = True, len(self._buffer) == 1
        if first:
            self._line.loop.call_soon_threadsafe(self._line.wake, self)

    def next_attempt(self) -> None:
        """What comes now is another attempt's."""
        with self._lock:
            self.attempt += 1

    def close(self) -> None:
        """Take no more events; what is left leaves when the line has its turn."""
        with self._lock:
            self._closed = True

    async def flush(self) -> None:
        """Send what is there by signal, now; what the server does not take waits on."""
        if self._any:
            await self._line.flush(self)

    async def finish(self, room: int | None) -> list[Envelope]:
        """The attempt has succeeded: what leaves with its outcome, in up to `room` bytes.

        What is on its way is waited for. What does not fit, or was shown by attempts before, is sent by signal first.
        """
        self.close()
        if not self._any:
            return []
        await self._line.settle(self)
        if self._must_go_before(room):
            await self.flush()
            await self._line.settle(self)
        return [shown.event for shown in self.take()]

    def failure(self, step: str) -> Failure | None:
        """Why an attempt that has shown what cannot be carried fails."""
        if self.too_large is None:
            return None
        kind, size = self.too_large
        return Failure(
            "PayloadTooLarge",
            f"step {step!r} published an event {kind} of {size} bytes, over the server's limit of {self._limit}; "
            "publish references instead of contents, or set up external storage for payloads",
        )

    def take(self) -> list[Shown]:
        """What waits; the line sends it."""
        with self._lock:
            taken, self._buffer = self._buffer, []
        return taken

    def take_back(self, events: list[Shown]) -> None:
        """Events that could not be sent, before what has come since."""
        with self._lock:
            self._buffer = events + self._buffer

    def _must_go_before(self, room: int | None) -> bool:
        with self._lock:
            if not self._buffer:
                return False
            size = sum(len(event.data) + 1 for event in self._buffer) + FRAME_BYTES
            return self._buffer[0].attempt != self.attempt or (room is not None and size > room)
