"""A batch: many runs of a flow, started at a rate, so many at a time, each seen through to its end.

What is kept in memory is the runs under way, and the ids of those that wait for a person: these give their place to
others, and are looked at again at the end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue
from temporalio.exceptions import CancelledError, TerminatedError
from temporalio.exceptions import TimeoutError as TimedOut
from temporalio.service import RPCError, RPCStatusCode

from everstep.errors import (
    EverstepError,
    PayloadStorageError,
    RunAlreadyStartedError,
    UnreadablePayloadError,
    WorkflowRuntimeError,
    WorkflowTimeoutError,
)
from everstep.temporal import names
from everstep.temporal.batch_lines import Line
from everstep.temporal.batch_results import Record, Status
from everstep.temporal.handler import run_error
from everstep.temporal.live import ask_run
from everstep.temporal.runs import RunSummary, find_run
from everstep.temporal.runtime import TemporalRuntime
from everstep.temporal.worker import has_waiting_attribute

T = TypeVar("T")

FIRST_LOOK, LONGEST_LOOK = 1.0, 10.0
"""Seconds after which a run is first looked at, whether it waits for a person, and at most between two looks."""

OUTAGE_SECONDS = 120.0
"""How long the server may be away before a batch gives up."""

_LOOKS_AT_A_TIME = 16
_AWAY = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.ABORTED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How a batch goes on.

    Args:
        rate: how many runs are started in a second, at most.
        in_flight: how many may be under way at a time; those that wait for a person do not count.
        run_timeout: bounds each run, in seconds.
        retry_failed: start runs again that have failed, or were cancelled; their idempotency keys stay.
        wait: see the runs through; else they are only started.
    """

    rate: float = 50.0
    in_flight: int = 100
    run_timeout: float | None = None
    retry_failed: bool = False
    wait: bool = True


class Batch:
    """Starts a run for each line and tells how each ended.

    Args:
        client: connected to the server.
        flow: the flow's name.
        options: how it goes on.
        tell: is given a record when a run has ended, or is refused.
        task_queue: what the flow's workers poll.

    Example:
        >>> batch = Batch(client, "OrderFlow", BatchOptions(), print)
        >>> await batch.run(line for line in read_lines(file, "orders", "OrderFlow") if isinstance(line, Line))
    """

    def __init__(
        self,
        client: Client,
        flow: str,
        options: BatchOptions,
        tell: Callable[[Record], None],
        *,
        task_queue: str = "everstep",
    ) -> None:
        self._client = client
        self._flow = flow
        self._options = options
        self._tell = tell
        self._runtime = TemporalRuntime(client, task_queue=task_queue)
        self._places = asyncio.Semaphore(options.in_flight)
        self._next_start = 0.0
        self._indexed = False
        self.started = 0
        """How many runs it has started."""
        self.found = 0
        """How many were there already."""
        self.unstarted: dict[str, int] = {}
        """Runs that are about to start, by their ids, with their lines."""
        self.under_way: dict[str, int] = {}
        """Runs that go on, as far as is known."""
        self.waiting: dict[str, int] = {}
        """Runs that wait for a person."""

    async def run(self, lines: Iterable[Line]) -> None:
        """Start them all; returns when each has ended or waits for a person. May be cancelled; the runs go on.

        Raises:
            RPCError: the server has been away for too long, or refuses all.
            WorkflowRuntimeError: likewise, from that.
        """
        self._indexed = await has_waiting_attribute(self._client)
        try:
            async with asyncio.TaskGroup() as group:
                for line in lines:
                    self.unstarted[line.run_id] = line.number
                    await self._places.acquire()
                    await self._pace()
                    group.create_task(self._begin(line))
            await self._look_again()
        except BaseExceptionGroup as several:
            first = _first(several)
            raise first from first.__cause__

    async def _begin(self, line: Line) -> None:
        try:
            started = await self._start(line)
            del self.unstarted[line.run_id]
            if started is None:
                return
            self.under_way[line.run_id] = line.number
            if self._options.wait:
                await self._see_through(line.run_id, line.number)
            elif not started:
                await self._note(line.run_id, line.number)
        finally:
            self._places.release()

    async def _start(self, line: Line) -> bool | None:
        """Start a line's run: True; False where it is there already, None where the server refuses it."""

        async def start() -> None:
            await self._runtime.start_flow(
                self._flow,
                line.start,
                run_id=line.run_id,
                timeout=self._options.run_timeout,
                after_failure=self._options.retry_failed,
            )

        try:
            await self._patiently(start)
        except RunAlreadyStartedError:
            self.found += 1
            return False
        except EverstepError as error:
            cause = error.__cause__
            if not isinstance(cause, RPCError) or not _is_too_much(cause):
                raise
            self._tell(Record(line.number, line.run_id, "refused", error=str(error)))
            return None
        self.started += 1
        return True

    async def _see_through(self, run_id: str, number: int) -> None:
        record = await self._watched(run_id, number)
        del self.under_way[run_id]
        if record is None:
            self.waiting[run_id] = number
        else:
            self._tell(record)

    async def _note(self, run_id: str, number: int) -> None:
        """How a run stands that nobody waits for."""
        run = await self._patiently(lambda: find_run(self._client, run_id))
        if run.status == "running" and not await self._waits(run):
            return
        del self.under_way[run_id]
        if run.status == "running":
            self.waiting[run_id] = number
        else:
            self._tell(await self._end(run_id, number))

    async def _watched(self, run_id: str, number: int) -> Record | None:
        """How a run ends; None as soon as it waits for a person."""
        end = asyncio.ensure_future(self._end(run_id, number))
        pause = FIRST_LOOK
        try:
            while True:
                await asyncio.wait([end], timeout=pause)
                if end.done():
                    return end.result()
                run = await self._patiently(lambda: find_run(self._client, run_id))
                if run.status == "running" and await self._waits(run):
                    return None
                pause = min(2 * pause, LONGEST_LOOK)
        finally:
            end.cancel()
            await asyncio.gather(end, return_exceptions=True)

    async def _end(self, run_id: str, number: int) -> Record:
        handle = self._client.get_workflow_handle(run_id, result_type=RawValue)
        try:
            value: RawValue = await self._patiently(handle.result)
            return Record(number, run_id, "completed", json.loads(value.payload.data or b"null"))
        except WorkflowFailureError as error:
            told = run_error(run_id, error.cause)
            return Record(number, run_id, _status(error.cause, told), error=str(told))
        except (UnreadablePayloadError, PayloadStorageError) as error:
            return Record(number, run_id, "unread", error=str(error))
        except ValueError:
            return Record(number, run_id, "unread", error="its result is no JSON: it is no run of an everstep flow")

    async def _waits(self, run: RunSummary) -> bool:
        """Whether a run waits for a person: by the server's index, or where that does not tell, by asking it."""
        if run.waiting is not None or self._indexed:
            return bool(run.waiting)
        try:
            return bool(await ask_run(self._client, run, names.REQUESTS, True))
        except EverstepError:
            return False

    async def _look_again(self) -> None:
        """See those through that have had their answers meanwhile, until all that are left wait."""
        gate = asyncio.Semaphore(_LOOKS_AT_A_TIME)

        async def goes_on(run_id: str) -> bool:
            async with gate:
                run = await self._patiently(lambda: find_run(self._client, run_id))
                return run.status != "running" or not await self._waits(run)

        async def again(run_id: str, number: int) -> None:
            try:
                await self._see_through(run_id, number)
            finally:
                self._places.release()

        while self._options.wait and self.waiting:
            runs = list(self.waiting)
            moving = await asyncio.gather(*(goes_on(run_id) for run_id in runs))
            if not any(moving):
                return
            async with asyncio.TaskGroup() as group:
                for run_id in (run_id for run_id, moves in zip(runs, moving, strict=True) if moves):
                    await self._places.acquire()
                    number = self.under_way[run_id] = self.waiting.pop(run_id)
                    group.create_task(again(run_id, number))

    async def _pace(self) -> None:
        loop = asyncio.get_running_loop()
        at = max(self._next_start, loop.time())
        self._next_start = at + 1 / self._options.rate
        await asyncio.sleep(at - loop.time())

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call again while the server is away. A start that had come through is then found."""
        loop = asyncio.get_running_loop()
        give_up: float | None = None
        while True:
            try:
                return await call()
            except (RPCError, WorkflowRuntimeError) as error:
                cause = error if isinstance(error, RPCError) else error.__cause__
                if not isinstance(cause, RPCError) or cause.status not in _AWAY or _is_too_much(cause):
                    raise
                give_up = give_up or loop.time() + OUTAGE_SECONDS
                if loop.time() > give_up:
                    raise
            await asyncio.sleep(1.0)


def _is_too_much(error: RPCError) -> bool:
    """Whether it is for what was sent that the server refuses: another line may be taken."""
    too_large = error.status == RPCStatusCode.RESOURCE_EXHAUSTED and "larger than max" in error.message
    return error.status == RPCStatusCode.INVALID_ARGUMENT or too_large


def _status(cause: BaseException, told: Exception) -> Status:
    if isinstance(cause, CancelledError):
        return "cancelled"
    if isinstance(cause, TerminatedError):
        return "terminated"
    return "timed_out" if isinstance(cause, TimedOut) or isinstance(told, WorkflowTimeoutError) else "failed"


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    first: Any = several
    while isinstance(first, BaseExceptionGroup):
        first = cast("Any", first).exceptions[0]
    return first
