"""The run's lock within the workflow: blocks ask for it by update and give it back by signal.

Workflow code: deterministic, like the interpreter that owns it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine import paths
from everstep.temporal.payloads import raw

ALSO_BYTES = 500_000
"""How many bytes of states one reply holds, with the one asked for, before others are left out."""

LONGEST_LEASE = 1e6
"""Seconds; what is beyond is a slip."""

_Key = tuple[int, int, int]


class LockKeeper:
    """The updates that wait for the lock.

    Args:
        feed: takes inputs for the engine, and keeps them until there is one.
    """

    def __init__(self, feed: Callable[[happened.Input], None]) -> None:
        self._feed = feed
        self._asking: dict[_Key, asyncio.Future[Any]] = {}
        self._closed = False

    async def ask(self, arguments: Sequence[Any]) -> Any:
        """Carry out an update that asks for the lock; returns when it is granted."""
        asked = lock_request(workflow.time(), arguments)
        if asked is None:
            raise _refusal("a lock is asked for by invocation, edit, token and lease")
        if self._closed:
            raise _refusal("the run goes on in its next execution")
        asking: asyncio.Future[Any] = asyncio.Future()
        key = asked.invocation, asked.edit, asked.token
        self._asking[key] = asking
        self._feed(asked)
        try:
            return await asking
        finally:
            if self._asking.get(key) is asking:
                del self._asking[key]

    def released(self, arguments: Sequence[Any]) -> None:
        """Carry out a signal that gives the lock back, or tells that a block is still there; else it is ignored."""
        released = lock_release(workflow.time(), arguments)
        if released is None:
            workflow.logger.warning("ignored a signal that releases no lock")
        else:
            self._feed(released)

    def granted(self, command: do.GrantLock) -> None:
        """Answer an update: it has the lock."""
        asking = self._asking.get((command.invocation, command.edit, command.token))
        if asking is not None and not asking.done():
            reply: dict[str, Any] = {"state": command.state, "applied": command.applied}
            also = _first(command.also, ALSO_BYTES - paths.size(command.state)) if command.also else []
            asking.set_result(raw({**reply, "also": also} if also else reply))

    def refused(self, command: do.RefuseLock) -> None:
        """Answer an update: it will not have the lock."""
        asking = self._asking.get((command.invocation, command.edit, command.token))
        if asking is not None and not asking.done():
            asking.set_exception(_refusal(command.reason))

    def close(self) -> None:
        """The run leaves this execution: whoever waits here asks again in the next one."""
        self._closed = True
        for asking in self._asking.values():
            if not asking.done():
                asking.set_exception(_refusal("the run goes on in its next execution"))


def lock_request(now: float, arguments: Sequence[Any]) -> happened.LockRequested | None:
    """The input that an update's arguments are, which asks for the lock; None if they are none."""
    body = _body(arguments)
    key, lease = _key(body), body.get("lease")
    if key is None or not isinstance(lease, int | float) or not 0 < lease < LONGEST_LEASE:
        return None
    return happened.LockRequested(now, *key, float(lease))


def lock_release(now: float, arguments: Sequence[Any]) -> happened.LockReleased | happened.LockRenewed | None:
    """The input that a signal's arguments are, which gives the lock back or keeps it; None if they are none."""
    body = _body(arguments)
    key, changes = _key(body), body.get("changes")
    base: Any = body.get("base", ())
    if key is None or not _are_changes(changes) or not _are_changes(base):
        return None
    if body.get("alive"):
        return happened.LockRenewed(now, *key)
    return happened.LockReleased(now, *key, changes, base)


def _first(states: Mapping[int, Any], size: int) -> list[Any]:
    """As many of the states as fit: a step that runs again need not ask for each of its blocks."""
    out: list[Any] = []
    for edit, state in states.items():
        size -= paths.size(state)
        if size < 0:
            break
        out.append([edit, state])
    return out


def _body(arguments: Sequence[Any]) -> dict[str, Any]:
    body = arguments[0] if len(arguments) == 1 else None
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


def _key(body: dict[str, Any]) -> _Key | None:
    key = (body.get("invocation"), body.get("edit"), body.get("token"))
    return cast("_Key", key) if all(isinstance(part, int) for part in key) else None


def _are_changes(changes: Any) -> bool:
    if changes is None:
        return True
    return isinstance(changes, list | tuple) and not any(map(paths.problem, cast("Sequence[Any]", changes)))


def _refusal(reason: str) -> ApplicationError:
    return ApplicationError(reason, type="LockRefused", non_retryable=True)
