"""Watches event loops from a thread: tells how long one has not answered, and logs what holds it.

A loop that is held runs nothing else: no timeouts, no other steps, and if it is the worker's own, no heartbeats.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from dataclasses import dataclass

_log = logging.getLogger("everstep.worker")

LOOK_EVERY = 0.5
"""Seconds between two questions to a loop."""

HELD_SECONDS = 2.0
"""A loop that has not answered for so long is held by something: that is logged, and again at each doubling."""

STACK_SHOWN = 12
"""How many frames of what holds a loop are logged, the innermost."""


@dataclass(slots=True)
class _Watched:
    name: str
    loop: asyncio.AbstractEventLoop
    thread: int
    asked_at: float | None = None
    told: float = 0.0

    def answer(self) -> None:
        """On the loop."""
        self.asked_at = None

    def silent(self, now: float) -> float:
        """Seconds since a question that is still open."""
        asked_at = self.asked_at
        return 0.0 if asked_at is None else now - asked_at


class LoopWatch:
    """Which event loops answer. Its thread runs while there is one to watch.

    Example:
        >>> watch = LoopWatch()
        >>> watch.add("worker", asyncio.get_running_loop(), threading.get_ident())
        >>> watch.silent()
        {'worker': 0.0}
    """

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, name: str, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        """Watch a loop that runs in the thread of this ident; of one name only the first is watched."""
        with self._lock:
            self._watched.setdefault(name, _Watched(name, loop, thread))
            self._wake.clear()  # also where its thread is about to see that there was nothing left to watch
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="everstep-watch", daemon=True)
                self._thread.start()

    def remove(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch a loop no more."""
        with self._lock:
            self._watched = {name: one for name, one in self._watched.items() if one.loop is not loop}
            if not self._watched:
                self._wake.set()

    def silent(self) -> dict[str, float]:
        """For each loop, how many seconds it has not answered; 0 for one that does."""
        now = time.monotonic()
        with self._lock:
            return {name: one.silent(now) for name, one in self._watched.items()}

    def _look(self) -> None:
        while True:
            with self._lock:
                if not self._watched:
                    self._thread = None
                    return
                watched = list(self._watched.values())
            for one in watched:
                self._ask(one)
            self._wake.wait(LOOK_EVERY)

    def _ask(self, one: _Watched) -> None:
        now = time.monotonic()
        if one.asked_at is None:
            if one.told:
                _log.warning("the %s loop answers again", one.name)
                one.told = 0.0
            one.asked_at = now
            try:
                one.loop.call_soon_threadsafe(one.answer)
            except RuntimeError:  # it is closed
                self.remove(one.loop)
            return
        held = one.silent(now)
        if held >= max(HELD_SECONDS, 2 * one.told):
            one.told = held
            _log.warning(
                "the %s loop has not answered for %.1f s: %s holds it. What takes long is to be awaited; a step that "
                "cannot may be a plain `def`, which runs in a thread.\n%s",
                one.name,
                held,
                _holder(one.loop),
                _stack(one.thread),
            )


def _holder(loop: asyncio.AbstractEventLoop) -> str:
    task = asyncio.current_task(loop)
    return "a callback" if task is None else task.get_name()


def _stack(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]
    if frame is None:
        return "its thread has ended"
    return "".join(traceback.format_stack(frame)[-STACK_SHOWN:]).rstrip()
