"""Heartbeats at a third of the timeout, from the worker's loop, which no step can hold up."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from everstep.temporal.tally import Tally


class Heartbeats:
    """Heartbeats of one attempt, with its tally, until they are stopped; short steps never send one."""

    def __init__(self, tally: Tally, timeout: timedelta) -> None:
        self._tally = tally
        self._interval = timeout.total_seconds() / 3
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_later(self._interval, self._beat)

    def _beat(self) -> None:
        self._tally.beat()
        self._next = self._loop.call_later(self._interval, self._beat)

    def stop(self) -> None:
        self._next.cancel()
