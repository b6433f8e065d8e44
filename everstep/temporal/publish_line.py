"""What all steps of one execution show on this worker leaves on one line: in batches by signal, one after the other.

A batch keeps its number until the server is known to have taken or refused it: readers drop what comes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from everstep.engine.messages import Envelope
from everstep.temporal import names
from everstep.temporal.boundary import Limits
from everstep.temporal.pace import FLUSH_SECONDS, Pace
from everstep.temporal.payloads import dump, raw_bytes

BATCH_BYTES = 500_000
"""How much one signal carries at most, but for an event that alone is larger."""

SETTLE_SECONDS = 60.0
"""How long the end of an attempt waits to know whether a batch has arrived; then its events leave with the outcome."""

LINES_KEPT = 1_000
"""Of how many executions a worker remembers how full their histories are."""

_PERHAPS_TAKEN = frozenset(
    (
        RPCStatusCode.CANCELLED,
        RPCStatusCode.UNKNOWN,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.ABORTED,
    )
)
"""After these a server may have taken a signal all the same."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An event, as it stands in a batch, and the attempt that showed it."""

    event: Envelope
    data: bytes
    attempt: int


class Source(Protocol):
    """An attempt that shows events."""

    @property
    def invocation(self) -> int: ...
    def take(self) -> list[Shown]: ...
    def take_back(self, events: list[Shown]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Batch:
    parts: list[tuple[Source, list[Shown]]]
    number: int

    def written(self, line: str) -> bytes:
        """As it stands in the history; of one attempt alone in the form that every version reads."""
        end = b',"line":%b,"number":%d}' % (dump(line), self.number)
        told = [
            b'{"invocation":%d,"attempt":%d,"events":[%b]'
            % (source.invocation, attempt, b",".join(e.data for e in group))
            for source, events in self.parts
            for attempt, group in groupby(events, key=lambda event: event.attempt)
        ]
        if len(told) == 1:
            return told[0] + end
        return b'{"batches":[' + b",".join(part + b"}" for part in told) + b"]" + end


class PublishLine:
    """The line of one execution; used on the worker's loop.

    Args:
        signal: sends a batch; raises RPCError where it was not taken, or may not have been.
        measure: gives the number of events and of bytes in the history.
        pace: how long to wait between batches.
    """

    def __init__(
        self,
        signal: Callable[[bytes], Awaitable[None]],
        measure: Callable[[], Awaitable[tuple[int, int]]],
        pace: Pace,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._signal = signal
        self._measure = measure
        self._pace = pace
        self._name = secrets.token_hex(4)
        self._number = 0
        self._waiting: dict[Source, None] = {}
        self._outbox: deque[_Batch] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is on its way."""
        return not (self._waiting or self._outbox or self._sending)

    def wake(self, source: Source) -> None:
        """A source has something to show: it leaves with the next batches."""
        self._waiting[source] = None
        self._schedule()

    async def flush(self, source: Source) -> None:
        """Send what waits, of this source and of all others; what is not taken waits on."""
        await self._sent()
        self._waiting[source] = None
        self._begin()
        await self._sent()

    async def settle(self, source: Source) -> None:
        """Wait until nothing of a source is on its way; what has not arrived is with the source again."""
        self._waiting.pop(source, None)
        end = self.loop.time() + SETTLE_SECONDS
        while self._carries(source):
            await self._sent()
            if not self._carries(source):
                break
            if self.loop.time() >= end:
                self._give_back()
                break
            await asyncio.sleep(FLUSH_SECONDS)
            self._begin()
        self._waiting.pop(source, None)

    def _carries(self, source: Source) -> bool:
        return any(source is carried for batch in self._outbox for carried, _ in batch.parts)

    async def _sent(self) -> None:
        """Wait for what is being sent; whoever stops to wait stops nothing else."""
        while self._sending is not None:
            await asyncio.wait({self._sending})

    def _schedule(self) -> None:
        if self._timer is None and self._sending is None:
            self._timer = self.loop.call_later(self._pace.seconds, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is None and (self._outbox or self._waiting):
            self._sending = self.loop.create_task(self._send())

    async def _send(self) -> None:
        """Send what waited when this began: what comes meanwhile keeps the pace."""
        try:
            if not self._outbox:
                self._cut()
            while self._outbox:
                data = self._outbox[0].written(self._name)
                await self._signal(data)
                self._outbox.popleft()
                if self._pace.sent(len(data)):
                    with contextlib.suppress(RPCError):
                        self._pace.measured(*await self._measure())
        except RPCError as error:
            self._pace.failed()
            if error.status == RPCStatusCode.NOT_FOUND:  # the execution is over, and so is what it had to show
                self._outbox.clear()
            elif error.status not in _PERHAPS_TAKEN:
                self._give_back()
        except Exception:  # it never left: a codec or a storage for payloads has failed
            self._pace.failed()
            self._give_back()
        finally:
            self._sending = None
            if self._outbox or self._waiting:
                self._schedule()

    def _cut(self) -> None:
        """Make batches of all that waits."""
        waiting, self._waiting = self._waiting, {}
        parts: list[tuple[Source, list[Shown]]] = []
        room = BATCH_BYTES
        for source in waiting:
            for event in source.take():
                if parts and len(event.data) > room:
                    self._add(parts)
                    parts, room = [], BATCH_BYTES
                if not parts or parts[-1][0] is not source:
                    parts.append((source, []))
                parts[-1][1].append(event)
                room -= len(event.data)
        if parts:
            self._add(parts)

    def _add(self, parts: list[tuple[Source, list[Shown]]]) -> None:
        self._number += 1
        self._outbox.append(_Batch(parts, self._number))

    def _give_back(self) -> None:
        """All that was cut goes back to where it came from, in its order."""
        while self._outbox:
            for source, events in reversed(self._outbox.pop().parts):
                source.take_back(events)
                self._waiting[source] = None


class PublishLines:
    """The lines of the executions whose steps run on this worker.

    Args:
        client: sends the signals.
        limits: the worker's.
    """

    def __init__(self, client: Client, limits: Limits) -> None:
        self._client = client
        self._limits = limits
        self._lines: dict[tuple[str, str | None], PublishLine] = {}

    def of(self, run_id: str, execution: str | None) -> PublishLine:
        """The line of an execution; the same for all its steps."""
        key = run_id, execution
        line = self._lines.pop(key, None) or self._new(run_id, execution)
        self._lines[key] = line
        if len(self._lines) > LINES_KEPT:
            oldest = next(iter(self._lines))
            if self._lines[oldest].idle:
                del self._lines[oldest]
        return line

    def _new(self, run_id: str, execution: str | None) -> PublishLine:
        handle = self._client.get_workflow_handle(run_id, run_id=execution)

        async def signal(data: bytes) -> None:
            await handle.signal(names.PUBLISH, raw_bytes(data))

        async def measure() -> tuple[int, int]:
            info = (await handle.describe()).raw_description.workflow_execution_info
            return info.history_length, info.history_size_bytes

        return PublishLine(signal, measure, Pace(self._limits))
