"""The run's lock, for `edit_state` in process: asks the engine directly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine.messages import StateChange
from everstep.errors import ContextStateError
from everstep.state_lock import Grant, StateLock


class LocalLocks:
    """Who waits for the lock of one run.

    Args:
        feed: takes inputs for the engine.
        clock: gives epoch seconds.
    """

    def __init__(self, feed: Callable[[happened.Input], None], clock: Callable[[], float]) -> None:
        self._feed = feed
        self._clock = clock
        self._asking: dict[tuple[int, int, int], asyncio.Future[Grant]] = {}

    def of(self, invocation: int, attempt: int) -> StateLock:
        """The lock as one attempt has it."""
        return _AttemptLock(self, invocation, attempt)

    def granted(self, command: do.GrantLock) -> None:
        """A block has the lock."""
        asking = self._asking.get((command.invocation, command.edit, command.token))
        if asking is not None and not asking.done():
            asking.set_result(Grant(command.state, command.applied))

    def refused(self, command: do.RefuseLock) -> None:
        """A block will not have the lock."""
        asking = self._asking.get((command.invocation, command.edit, command.token))
        if asking is not None and not asking.done():
            asking.set_exception(ContextStateError(f"edit_state: {command.reason}"))

    async def ask(self, invocation: int, edit: int, token: int) -> Grant:
        """Wait for the lock."""
        key = (invocation, edit, token)
        asking = self._asking[key] = asyncio.get_running_loop().create_future()
        try:
            # No lease: whoever holds the lock here is alive as long as the run is.
            self._feed(happened.LockRequested(self._clock(), *key))
            return await asking
        except asyncio.CancelledError:
            self._feed(happened.LockReleased(self._clock(), *key))
            raise
        finally:
            del self._asking[key]

    def end(
        self,
        invocation: int,
        edit: int,
        token: int,
        changes: Sequence[StateChange] | None,
        base: Sequence[StateChange] = (),
    ) -> None:
        """A block has ended."""
        self._feed(happened.LockReleased(self._clock(), invocation, edit, token, changes, base))


class _AttemptLock:
    """See `StateLock`."""

    def __init__(self, locks: LocalLocks, invocation: int, attempt: int) -> None:
        self._locks = locks
        self._invocation = invocation
        self._attempt = attempt

    async def acquire(self, edit: int) -> Grant:
        return await self._locks.ask(self._invocation, edit, self._attempt)

    async def commit(self, edit: int, changes: Sequence[StateChange], base: Sequence[StateChange]) -> None:
        self._locks.end(self._invocation, edit, self._attempt, changes, base)

    def release(self, edit: int) -> None:
        self._locks.end(self._invocation, edit, self._attempt, None)
