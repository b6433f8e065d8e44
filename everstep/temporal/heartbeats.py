"""Heartbeats at a third of the timeout, from the worker's loop, which no step can hold up."""

from __future__ import annotations

import asyncio
import contextvars
from datetime import timedelta

from everstep.temporal.tally import Tally


class Heartbeats:
    """The heartbeats of the attempts of a step that run on a worker. Short ones never send any, and cost no timer.

    Attempts with the same timeout stand in one line, in the order in which they are due: one timer looks after them.
    """

    def __init__(self) -> None:
        self._lines: dict[timedelta, _Line] = {}

    def begin(self, tally: Tally, timeout: timedelta) -> Beating:
        """Beat for the attempt that calls this, with its tally, until that is stopped."""
        line = self._lines.get(timeout)
        if line is None:
            line = self._lines[timeout] = _Line(timeout.total_seconds() / 3)
        return Beating(line, tally)


class Beating:
    """The heartbeats of one attempt."""

    def __init__(self, line: _Line, tally: Tally) -> None:
        self._line = line
        self._tally = tally
        self._context = contextvars.copy_context()  # by which the SDK knows whose heartbeat it is
        line.add(self)

    def due(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send one; what goes wrong with it is no other attempt's business."""
        loop.call_soon(self._tally.beat, context=self._context)

    def stop(self) -> None:
        """Send no more."""
        self._line.remove(self)


class _Line:
    """Attempts by when their next heartbeat is due; the first one is due first."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._due: dict[Beating, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, beating: Beating) -> None:
        loop = asyncio.get_running_loop()
        self._due[beating] = loop.time() + self._interval
        if self._timer is None:
            self._timer = loop.call_later(self._interval, self._look, loop)

    def remove(self, beating: Beating) -> None:
        self._due.pop(beating, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Beat for those that are due; the timer goes on for as long as there is anybody."""
        self._timer = None
        now = loop.time()
        while self._due:
            beating, due = next(iter(self._due.items()))
            if due > now:
                self._timer = loop.call_at(due, self._look, loop)
                return
            del self._due[beating]
            self._due[beating] = now + self._interval
            beating.due(loop)
