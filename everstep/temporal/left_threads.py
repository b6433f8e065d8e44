"""Threads of steps that were given up, and still run: Python cannot end them.

Each keeps the place of its step in the worker until it returns, so that a worker never takes more than it can run; and
it is told of: in the log, by a metric, and by the worker's health where all places are kept so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

_log = logging.getLogger("everstep.worker")

TOLD_AFTER = 1.0
"""Seconds that a step has to return after it was given up, before that is told."""


class LeftThreads:
    """What one worker process has left behind. All of it happens on the worker's loop."""

    def __init__(self) -> None:
        self.tell: Callable[[str, int], None] | None = None
        self._steps: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many attempts of steps were given up, and still run."""
        return self._steps.total()

    def keep(self, step: str, threads: Sequence[Future[Any]], free: Callable[[], None]) -> None:
        """An attempt was given up; `free` is called when the last of its threads has returned.

        Args:
            step: as ``Flow.step``.
            threads: those that have not returned.
            free: makes the place of the attempt free.
        """
        loop, since = asyncio.get_running_loop(), time.monotonic()
        self._steps[step] += 1
        told = loop.call_later(TOLD_AFTER, self._say, step, since)
        left = len(threads)

        def returned() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                self._returned(step, since, told)
                free()

        def ended(_: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the worker has stopped
                loop.call_soon_threadsafe(returned)

        for thread in threads:
            thread.add_done_callback(ended)

    def _say(self, step: str, since: float) -> None:
        _log.warning(
            "step %s was given up %.3g s ago, and its code still runs in a thread: it keeps its place until it returns "
            "(%d places are kept so). Have it look at ctx.cancelled now and then, and bound what it waits for.",
            step,
            time.monotonic() - since,
            self.count,
        )
        self._measure(step)

    def _returned(self, step: str, since: float, told: asyncio.TimerHandle) -> None:
        self._steps[step] -= 1
        if told.when() <= asyncio.get_running_loop().time():
            _log.info("step %s, which was given up, has returned after %.3g s", step, time.monotonic() - since)
            self._measure(step)
        told.cancel()

    def _measure(self, step: str) -> None:
        if self.tell is not None:
            self.tell(step, self._steps[step])
