"""The clock of the local driver: what time it is, timers, and waits. A test can put another in its place.

It is told while user code runs and while somebody waits for a run, so that a clock which skips time knows when it may.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

_NOTHING: AbstractContextManager[None] = nullcontext()


class Timer(Protocol):
    """Something that will happen, unless it is cancelled."""

    def cancel(self) -> None:
        """Let it not happen."""
        ...


class Clock:
    """The time of day, and the event loop's timers.

    Args:
        now: gives epoch seconds.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now

    def now(self) -> float:
        """Epoch seconds."""
        return self._now()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call something after so many seconds, on the running event loop."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def working(self) -> AbstractContextManager[None]:
        """User code runs within the block."""
        return _NOTHING

    def awaited(self) -> AbstractContextManager[None]:
        """Somebody waits for a run within the block: for its result, or for its next event."""
        return _NOTHING
