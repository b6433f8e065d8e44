"""How many attempts of which step run in a worker at one time, where the steps have limits of their own.

A task queue cannot be asked for work of one kind, so a worker may be given more of a step than it may run. Those wait
in line, oldest first, and lend the slots that they hold to work of other kinds: a step at its limit holds up no other.
The line is short and nobody stays in it for long: what has to wait goes back to the server, for any worker.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from temporalio.worker import (
    CustomSlotSupplier,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
)

PATIENCE_SECONDS = 10.0
"""How long an invocation stays in line before it goes back, so that a worker that has just started gets its share."""

FULL_SECONDS = 1.0
"""When the server should ask again, where the line was full."""


class GivenBack(Exception):
    """An invocation has to wait elsewhere; `seconds` is when to try it again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"given back for {seconds:g} s")
        self.seconds = seconds


@dataclass(order=True, slots=True)
class _Waiting:
    since: datetime
    number: int
    kind: str = field(compare=False)
    admitted: asyncio.Future[None] = field(compare=False)


class StepGate:
    """Lets attempts of steps in. All of it happens on the worker's loop; `slots` is what other threads use.

    Args:
        limits: how many attempts of an activity type may run at one time.
        total: how many of all types.
    """

    def __init__(self, limits: Mapping[str, int], total: int) -> None:
        self._limits = dict(limits)
        self._total = total
        self._room = max(1, total // 2)
        self._running: Counter[str] = Counter()
        self._sum = 0
        self._line: list[_Waiting] = []
        self._numbers = itertools.count()
        self.slots = LendingSlots(total)

    async def enter(self, kind: str, since: datetime, closing: Callable[[], Awaitable[None]]) -> None:
        """Wait until one more of this type may run; `leave` must follow.

        Args:
            since: when the invocation was scheduled; the oldest goes first.
            closing: is awaited until the worker takes leave.

        Raises:
            GivenBack: it should be tried again, by whichever worker.
        """
        if self._fits(kind):
            self._take(kind)
            return
        if self._at_limit(kind) and self._lent() >= self._room:
            raise GivenBack(FULL_SECONDS)
        waiting = _Waiting(since, next(self._numbers), kind, asyncio.get_running_loop().create_future())
        bisect.insort(self._line, waiting)
        self.slots.lend(self._lent())
        try:
            await _first(waiting.admitted, closing(), PATIENCE_SECONDS)
        except asyncio.CancelledError:
            if waiting.admitted.done():
                self.leave(kind)
            raise
        finally:
            if waiting in self._line:
                self._line.remove(waiting)
            self.slots.lend(self._lent())
        if not waiting.admitted.done():
            raise GivenBack(0)

    def leave(self, kind: str) -> None:
        """One that was let in has ended."""
        self._running[kind] -= 1
        self._sum -= 1
        if not self._line:
            return  # and nothing is lent
        for waiting in list(self._line):
            if self._sum >= self._total:
                break
            if self._fits(waiting.kind):
                self._line.remove(waiting)
                self._take(waiting.kind)
                waiting.admitted.set_result(None)
        self.slots.lend(self._lent())

    def _fits(self, kind: str) -> bool:
        return self._sum < self._total and not self._at_limit(kind)

    def _at_limit(self, kind: str) -> bool:
        limit = self._limits.get(kind)
        return limit is not None and self._running[kind] >= limit

    def _take(self, kind: str) -> None:
        self._running[kind] += 1
        self._sum += 1

    def _lent(self) -> int:
        """How many wait for their own type alone, and need no slot meanwhile."""
        return sum(self._at_limit(waiting.kind) for waiting in self._line)


class LendingSlots(CustomSlotSupplier):
    """A worker's slots for steps: so many as it may run, and one more for each that waits in line.

    Args:
        total: how many it may run.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held = 0
        self._lent = 0
        self._lock = threading.Lock()
        self._waiting: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def lend(self, number: int) -> None:
        """So many of those that hold a slot do not need it now."""
        with self._lock:
            self._lent = number
        self._wake()

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        """Wait for a slot; the SDK calls it before it asks for work."""
        self._loop = loop = asyncio.get_running_loop()
        while True:
            freed: asyncio.Future[None] = loop.create_future()
            with self._lock:
                if self._held - self._lent < self._total:
                    self._held += 1
                    return SlotPermit()
                self._waiting.add(freed)
            try:
                await freed
            finally:
                self._waiting.discard(freed)

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        """A slot if there is one, for work that comes without being asked for."""
        with self._lock:
            if self._held - self._lent < self._total:
                self._held += 1
                return SlotPermit()
        return None

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        """Nothing to do: whether it may run is decided at the gate."""

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        """A slot is free again; called from threads of the SDK."""
        with self._lock:
            self._held -= 1
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the worker's loop has ended
                loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        """On the worker's loop: whoever waits looks again."""
        if self._held - self._lent < self._total:
            for freed in self._waiting:
                if not freed.done():
                    freed.set_result(None)


async def _first(admitted: asyncio.Future[None], closing: Awaitable[None], seconds: float) -> None:
    """Wait for the first of both, at most so long; neither is cancelled but the watch over `closing`."""
    closed = asyncio.ensure_future(closing)
    try:
        await asyncio.wait({admitted, closed}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        closed.cancel()
