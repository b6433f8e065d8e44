"""What `edit_state` needs of a driver: the run's lock, which one block at a time holds over all workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from everstep.engine.messages import StateChange
from everstep.errors import ContextStateError


@dataclass(frozen=True, slots=True)
class Grant:
    """The lock is held: the state to edit. `applied` tells that an earlier attempt has done this very edit already:
    the state is the one that it saw, and nothing is to be committed."""

    state: Mapping[str, Any]
    applied: bool = False


class StateLock(Protocol):
    """The lock as one attempt of one invocation has it; `edit` counts the attempt's blocks, from 1."""

    async def acquire(self, edit: int) -> Grant:
        """Wait for the lock, first come, first served.

        Raises:
            ContextStateError: the run has ended, or this attempt was given up.
        """
        ...

    async def commit(self, edit: int, changes: Sequence[StateChange], base: Sequence[StateChange]) -> None:
        """Apply the changes, and let the next one have the lock.

        Args:
            edit: the block's number.
            changes: what the block has changed.
            base: what the step had changed before, which leaves with its outcome; the block saw it.
        """
        ...

    def release(self, edit: int) -> None:
        """Let the next one have the lock, or wait for it no more; never fails, and may be called at any time."""
        ...


class RefusedLock:
    """For steps that cannot edit the state: says why."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def acquire(self, edit: int) -> Grant:
        """Refuse.

        Raises:
            ContextStateError: always.
        """
        raise ContextStateError(self._reason)

    async def commit(self, edit: int, changes: Sequence[StateChange], base: Sequence[StateChange]) -> None:
        """Nothing was ever granted."""

    def release(self, edit: int) -> None:
        """Nothing is ever held."""
