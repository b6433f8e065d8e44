"""The run's lock, for `edit_state` on a worker: asked for by update, given back by signal.

A server lets no more than ten updates of one run be under way, so a worker asks for one lock of a run at a time; its
other steps wait here, in their order. All of it runs on the worker's own loop, which user code cannot block.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import activity
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from everstep.engine import paths
from everstep.engine.messages import StateChange
from everstep.errors import ContextStateError, StateValueError
from everstep.state_lock import Grant
from everstep.temporal import names
from everstep.temporal.payloads import dump, raw_bytes
from everstep.temporal.tally import Tally
from everstep.wire import StepCall

T = TypeVar("T")

_log = logging.getLogger("everstep.worker")

LEASE = 1.5
"""How long a holder may be silent before the lock goes to the next one, in heartbeat timeouts."""

_TRIES = 1 << 20
"""More tries than one attempt can hold: tokens are ordered by attempt, then by try."""

_AGAIN = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.RESOURCE_EXHAUSTED)
_AGAIN_SECONDS = (0.05, 2.0)


class LockClient:
    """The locks of all runs that have steps on one worker.

    Args:
        client: the worker's.
        payload_limit: the server's limit for one payload, in bytes; None if there is none.
    """

    def __init__(self, client: Client, payload_limit: int | None) -> None:
        self.client = client
        self.payload_limit = payload_limit
        self._queues: dict[tuple[str, str], _Queue] = {}
        self._background: set[asyncio.Task[None]] = set()

    def of(self, call: StepCall, info: activity.Info, tally: Tally) -> AttemptLock:
        """The lock of the run as the present try of an invocation has it."""
        timeout = info.heartbeat_timeout or timedelta(seconds=10)
        return AttemptLock(
            self,
            call.run_id,
            info.workflow_run_id or "",
            call.invocation,
            info.attempt * _TRIES + tally.repeated,
            timeout,
        )

    @contextlib.asynccontextmanager
    async def turn(self, run: tuple[str, str]) -> AsyncGenerator[None]:
        """Wait until no other step of this worker asks this run for its lock."""
        queue = self._queues.setdefault(run, _Queue())
        queue.users += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.users -= 1
            if not queue.users:
                del self._queues[run]

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


@dataclass(slots=True)
class _Queue:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class AttemptLock:
    """See `StateLock`. Made and closed on the worker's loop, used from the steps' loop."""

    def __init__(
        self, locks: LockClient, run_id: str, execution: str, invocation: int, token: int, heartbeat: timedelta
    ) -> None:
        self._locks = locks
        self._run = (run_id, execution)
        self._key = {"invocation": invocation, "token": token}
        self._heartbeat = heartbeat.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._held: int | None = None
        self._granted: Mapping[str, Any] = {}
        self._applied: dict[int, Mapping[str, Any]] = {}
        self._alive: asyncio.Task[None] | None = None
        self._closed = False

    async def acquire(self, edit: int) -> Grant:
        return await self._on_worker(self._acquire(edit))

    async def commit(self, edit: int, changes: Sequence[StateChange], base: Sequence[StateChange]) -> None:
        await self._on_worker(self._commit(edit, changes, base))

    def release(self, edit: int) -> None:
        with contextlib.suppress(RuntimeError):  # the worker has gone, and with it the lock's lease ends
            self._loop.call_soon_threadsafe(self._release, edit)

    def close(self) -> None:
        """The try is over: whatever of it still runs gets no lock, and keeps none."""
        self._closed = True
        if self._held is not None:
            self._release(self._held)

    async def _on_worker(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    @property
    def _handle(self) -> WorkflowHandle[Any, Any]:
        # This execution only: what an attempt asks for must not reach the one behind a boundary, where it runs again.
        return self._locks.client.get_workflow_handle(self._run[0], run_id=self._run[1])

    async def _acquire(self, edit: int) -> Grant:
        if edit in self._applied:
            return Grant(self._applied.pop(edit), applied=True)
        try:
            async with self._locks.turn(self._run):
                reply = await self._watching(edit)
        except BaseException as error:
            self._locks.in_background(self._signal_quietly(edit))
            if isinstance(error, ContextStateError):
                await self._given_up()
            raise
        if reply["applied"]:
            self._applied.update(reply.get("also", ()))
        else:
            self._held, self._granted = edit, reply["state"]
            self._alive = self._loop.create_task(self._stay_alive(edit, self._heartbeat / 3))
            if self._closed:
                self._release(edit)
        return Grant(reply["state"], reply["applied"])

    async def _watching(self, edit: int) -> dict[str, Any]:
        """Ask for the lock; while that takes long, have the run look now and then whether the holder is there."""
        watch = self._loop.create_task(self._stay_alive(edit, self._heartbeat * LEASE / 2))
        try:
            return await self._ask(edit)
        finally:
            watch.cancel()

    async def _ask(self, edit: int) -> dict[str, Any]:
        """Ask for the lock until there is a verdict; the server knows one request by its id, however often it comes."""
        body = raw_bytes(dump({**self._key, "edit": edit, "lease": self._heartbeat * LEASE}))
        key = f"lock-{uuid.uuid4()}"
        pause, longest = _AGAIN_SECONDS
        while not self._closed:
            try:
                return await self._handle.execute_update(names.LOCK, body, id=key)  # pyright: ignore[reportUnknownMemberType]
            except WorkflowUpdateFailedError as error:
                raise ContextStateError(f"edit_state: {error.cause}") from None
            except WorkflowUpdateRPCTimeoutOrCancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError from None
            except RPCError as error:
                # A precondition fails where the run was about to leave its execution, and did not.
                if error.status not in (*_AGAIN, RPCStatusCode.FAILED_PRECONDITION):
                    raise ContextStateError(f"edit_state: {_gone(self._run[0], error)}") from None
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)
        raise ContextStateError("edit_state: this attempt of the step was given up")

    async def _given_up(self) -> None:
        """The run has ended, has moved on, or has another attempt of this step: Temporal will cancel this one soon."""
        await asyncio.sleep(2 * self._heartbeat)

    async def _commit(self, edit: int, changes: Sequence[StateChange], base: Sequence[StateChange]) -> None:
        commit = {**self._key, "edit": edit, "changes": list(changes)}
        body = dump({**commit, "base": list(base)} if base else commit)
        limit = self._locks.payload_limit
        if limit is not None and len(body) > limit:
            raise StateValueError(
                f"an edit_state block changed {len(body)} bytes of state, over the server's limit of {limit}; keep "
                "references in the state instead of contents, or set up external storage for payloads"
            )
        if limit is not None and paths.size_in_bytes(self._granted) + len(body) > limit:
            self._check_room(limit, changes, base)
        if self._closed or self._held != edit:
            raise ContextStateError("edit_state: this attempt of the step was given up")
        try:
            await self._signal(body)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                await self._given_up()
            raise ContextStateError(f"edit_state: {_gone(self._run[0], error)}") from None
        self._let_go()

    def _check_room(self, limit: int, changes: Sequence[StateChange], base: Sequence[StateChange]) -> None:
        """Refuse what makes the state too large to be read; the run does so too, without a word to this block."""
        after = paths.copied(dict(self._granted))
        for change in (*base, *changes):
            paths.change(after, change)
        size = paths.size_in_bytes(after)
        if size > limit:
            raise StateValueError(
                f"an edit_state block makes the run's state {size:,} bytes large, over the server's limit of {limit:,} "
                "for what travels as one; keep references in the state instead of contents, delete what is no longer "
                "needed, or set up external storage for payloads"
            )

    def _release(self, edit: int) -> None:
        if self._held == edit:
            self._let_go()
            self._locks.in_background(self._signal_quietly(edit))

    def _let_go(self) -> None:
        self._held = None
        if self._alive is not None:
            self._alive.cancel()
            self._alive = None

    async def _signal_quietly(self, edit: int) -> None:
        try:
            await self._signal(dump({**self._key, "edit": edit}))
        except (RPCError, TimeoutError) as error:
            _log.debug("a lock could not be given back, its lease will end: %s", error)

    async def _stay_alive(self, edit: int, every: float) -> None:
        """Tell the run now and then that this block is there: at work, or waiting."""
        while True:
            await asyncio.sleep(every)
            with contextlib.suppress(RPCError):
                await self._handle.signal(names.UNLOCK, raw_bytes(dump({**self._key, "edit": edit, "alive": True})))

    async def _signal(self, body: bytes) -> None:
        """Send a signal; a server that does not answer is tried for as long as the lease lasts."""
        deadline = self._loop.time() + self._heartbeat * LEASE
        while True:
            try:
                await self._handle.signal(names.UNLOCK, raw_bytes(body))
                return
            except RPCError as error:
                if error.status not in _AGAIN or self._loop.time() > deadline:
                    raise
            await asyncio.sleep(_AGAIN_SECONDS[0])


def _gone(run_id: str, error: RPCError) -> str:
    return f"run {run_id} has ended, goes on in another execution, or cannot be reached ({error})"
