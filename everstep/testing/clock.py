"""A clock for runs in process that skips what nothing but time is waited for: retry delays, timeouts, due times."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from everstep.local.clock import Clock, Timer

_QUIET_TURNS = 20
"""How many turns of the event loop must pass without anything of the runs happening before time is skipped."""


class SkippingClock(Clock):
    """Time that passes at once where it can, as on Temporal's time-skipping server.

    It goes as usual while steps run, and while nobody waits for a run. While a run's result or its next event is
    awaited and no step runs, it jumps to what comes next.

    Args:
        start: epoch seconds; by default now.

    Example:
        >>> with use_runtime(LocalRuntime(clock=SkippingClock())):
        ...     result = await MyFlow().run()  # retries that wait for hours take no time
    """

    def __init__(self, start: float | None = None) -> None:
        super().__init__()
        self._offset = 0.0 if start is None else start - time.time()
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, _Timer]] = []
        self._busy = 0
        self._waiters = 0
        self._moves = 0
        self._watching = False

    def now(self) -> float:
        """Epoch seconds, with all that was skipped."""
        return time.time() + self._offset

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call something after so many seconds, skipped or not."""
        loop = asyncio.get_running_loop()
        timer = _Timer(callback)
        timer.real = loop.call_later(seconds, timer.fire)
        heapq.heappush(self._due, (self.now() + seconds, next(self._numbers), timer))
        self._moved()
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds, skipped or not."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: over.done() or over.set_result(None))
        try:
            await over
        finally:
            timer.cancel()

    def advance(self, seconds: float) -> None:
        """Skip so many seconds now: timers that come due meanwhile fire, in their order."""
        until = self.now() + seconds
        while (timer := self._next()) is not None and self._due[0][0] <= until:
            self._skip_to(timer)
        self._offset += max(0.0, until - self.now())

    @contextmanager
    def working(self) -> Generator[None]:
        """User code runs within the block: time goes as usual."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._moved()

    @contextmanager
    def awaited(self) -> Generator[None]:
        """Somebody waits for a run within the block: time may be skipped."""
        self._waiters += 1
        self._moved()
        try:
            yield
        finally:
            self._waiters -= 1

    def _moved(self) -> None:
        """Something has happened: look for quiet again, from now on."""
        self._moves += 1
        if not self._watching and self._waiters:
            self._watching = True
            asyncio.get_running_loop().call_soon(self._watch, self._moves, 0)

    def _watch(self, moves: int, quiet: int) -> None:
        if not self._waiters or self._busy or self._next() is None:
            self._watching = False
            return
        if moves == self._moves and quiet >= _QUIET_TURNS:
            timer = self._next()
            assert timer is not None
            self._skip_to(timer)
            quiet = 0
        quiet = quiet + 1 if moves == self._moves else 0
        asyncio.get_running_loop().call_soon(self._watch, self._moves, quiet)

    def _next(self) -> _Timer | None:
        """The timer that comes due first, without those that are over."""
        while self._due and self._due[0][2].over:
            heapq.heappop(self._due)
        return self._due[0][2] if self._due else None

    def _skip_to(self, timer: _Timer) -> None:
        at, _, _ = heapq.heappop(self._due)
        self._offset += max(0.0, at - self.now())
        timer.fire()


class _Timer:
    """Fires once, by skipping or by the loop's own timer, whatever comes first."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback = callback
        self.real: asyncio.TimerHandle | None = None
        self.over = False

    def fire(self) -> None:
        if not self.over:
            self.cancel()
            self._callback()

    def cancel(self) -> None:
        self.over = True
        if self.real is not None:
            self.real.cancel()
