"""When a run continues as new: long before its history is too long, at a quiet point, without losing anything.

Past the soft limit steps are no longer started and those that run may end; if they take longer than the drain, the run
goes on and tries later. Past the hard limit what still runs after a drain is moved: it runs again behind the boundary,
uncounted. Each move doubles the drain of the next execution, so that steps which take longer than one come to an end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Protocol

from temporalio import workflow

from everstep.engine import inputs as happened
from everstep.engine.run import Run


@dataclass(frozen=True, slots=True)
class Limits:
    """What the worker that begins a run sets for all of it; recorded, so that replay sees the same.

    Attributes:
        continue_at_events: the length of a history at which a run continues as new; the hard limit is five times that.
            At least 10: a run that only waits would else continue as new again and again. Workers hold it against that.
        continue_at_bytes: the same of its size. At least 10,000.
        drain_seconds: how long to wait for running steps then; after that steps start again, and it tries later.
        heartbeat_seconds: after this much silence a worker counts as lost.
        payload: the server's limit for one payload, in bytes; None where external storage takes large ones.
        search_attributes: the server has `EverstepWaiting`; workers find out by themselves.

    Example:
        >>> Limits(heartbeat_seconds=5).heartbeat
        datetime.timedelta(seconds=5)
    """

    continue_at_events: int = 3_500
    continue_at_bytes: int = 2_000_000
    drain_seconds: float = 30.0
    heartbeat_seconds: float = 10.0
    payload: int | None = 2_000_000
    search_attributes: bool = False

    @property
    def heartbeat(self) -> timedelta:
        """`heartbeat_seconds` as Temporal wants it."""
        return timedelta(seconds=self.heartbeat_seconds)

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Limits:
        """The inverse of `to_json`; what this version does not know is left out."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


DRAIN = "drain"
"""The name of the timer that bounds the wait for running steps."""

DOUBLED_AT_MOST = 10
"""How often the drain is doubled, for a run whose steps were moved one time after the other: thirty seconds to 8 h."""

LEAVE = "leave"
"""The name of the timer by which a run leaves that found itself able to by a message.

Of all that a workflow task brings, workflow code sees messages first: it would leave before it sees a cancellation.
"""

LEAVE_SECONDS = 0.001
"""How long that timer takes: it fires with the next workflow task."""

BY_MESSAGE = (
    happened.MessageReceived,
    happened.MessageMalformed,
    happened.LockRequested,
    happened.LockReleased,
    happened.LockRenewed,
    happened.ChildAsked,
    happened.ChildEnded,
)
"""What signals and updates bring, always or at times."""


def due(limits: Limits, length: int, size: int, suggested: bool) -> bool:
    """Whether a history, of so many events and bytes, is long enough to continue as new; or the server suggests it."""
    return length >= limits.continue_at_events or size >= limits.continue_at_bytes or suggested


def overdue(limits: Limits, length: int, size: int) -> bool:
    """Whether a history is past the hard limits."""
    return length >= 5 * limits.continue_at_events or size >= 5 * limits.continue_at_bytes


def far_overdue(limits: Limits, length: int, size: int) -> bool:
    """Whether a history is so long that nothing can be waited for: servers end runs at 51,200 events or 50 MB."""
    return length >= 8 * limits.continue_at_events or size >= 8 * limits.continue_at_bytes


def next_try(limits: Limits, length: int) -> int:
    """At which length to try again to cross, after one of `length` could not."""
    return length + limits.continue_at_events // 4


class Crosser(Protocol):
    """What the boundary needs of the interpreter."""

    @property
    def limits(self) -> Limits: ...
    @property
    def busy(self) -> bool: ...
    @property
    def over(self) -> bool: ...
    def feed(self, what: happened.Input) -> None: ...
    def cross(self, *, forced: bool) -> bool: ...


class Boundary:
    """Watches the length of one execution's history.

    Args:
        crosser: the interpreter.
        run: whose execution it is.
        moved: with how many executions before this one, in a row, steps were moved.
    """

    def __init__(self, crosser: Crosser, run: Run, moved: int) -> None:
        self._run = crosser
        self._protocol = run.protocol
        self._scheduler = run.scheduler
        self._draining = False
        self._drain: asyncio.Task[None] | None = None
        self._drained = False
        self._moved = moved
        self._try_at = 0
        self._leaving = False
        self._crossed = False

    def look(self, *, by_message: bool) -> None:
        """Called after every input but `Paused`: begin to drain, or cross, when it is time; by a message, later."""
        if self._crossed:
            return
        if not self._draining and self._due():
            self._draining = True
            self._run.feed(happened.Paused(workflow.time()))
            if not self._quiet():
                self._bound()
                return
        if not (self._draining and self._quiet()):
            return
        if not by_message or self._protocol < 3:
            self._cross()
        elif not self._leaving:
            self._leaving = True
            asyncio.create_task(workflow.sleep(LEAVE_SECONDS, summary=LEAVE)).add_done_callback(self._leave)

    @property
    def moved(self) -> int:
        """What the next execution is given as `moved`."""
        return self._moved + 1 if self._protocol >= 3 and self._scheduler.in_flight else 0

    def _quiet(self) -> bool:
        return not self._run.busy and (self._scheduler.in_flight == 0 or self._must_move())

    def _must_move(self) -> bool:
        """Whether what still runs is moved: past the hard limits, since protocol 3 once it had a drain to end in."""
        return self._overdue() and (self._protocol < 3 or self._drained or self._is(far_overdue))

    def _leave(self, timer: asyncio.Task[None]) -> None:
        self._leaving = False
        if not self._draining or self._crossed or self._run.over or timer.cancelled():
            return
        if self._quiet():
            self._cross()
        elif self._drain is None:
            self._bound()

    def _cross(self) -> None:
        self._crossed = self._run.cross(forced=self._overdue())
        if not self._crossed:
            self._go_on()

    def _bound(self) -> None:
        """Wait no longer than this for what is under way."""
        seconds = self._run.limits.drain_seconds * 2 ** min(self._moved, DOUBLED_AT_MOST)
        self._drain = asyncio.create_task(workflow.sleep(seconds, summary=DRAIN))
        self._drain.add_done_callback(self._drained_too_long)

    def _due(self) -> bool:
        info = workflow.info()
        length, size = info.get_current_history_length(), info.get_current_history_size()
        return length >= self._try_at and due(self._run.limits, length, size, info.is_continue_as_new_suggested())

    def _overdue(self) -> bool:
        return self._is(overdue)

    def _is(self, how: Callable[[Limits, int, int], bool]) -> bool:
        info = workflow.info()
        return how(self._run.limits, info.get_current_history_length(), info.get_current_history_size())

    def _drained_too_long(self, timer: asyncio.Task[None]) -> None:
        if self._crossed or timer.cancelled():
            return
        if self._overdue():
            self._drained = True
            self.look(by_message=False)
            return
        self._go_on()

    def _go_on(self) -> None:
        """Start steps again, and try to cross later."""
        self._draining = self._drained = False
        if self._drain is not None:
            self._drain.cancel()
            self._drain = None
        self._try_at = next_try(self._run.limits, workflow.info().get_current_history_length())
        self._run.feed(happened.Resumed(workflow.time()))
