"""A step as a Temporal activity: one attempt, its heartbeats, and what its end means for Temporal's retries."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from everstep.attempts import Attempts, jitter_seed
from everstep.context import StepScope
from everstep.engine.messages import Failure, Outcome
from everstep.errors import StepTimeoutError
from everstep.exception_data import authors_traceback, exception_from_data, exception_text, speakable
from everstep.invoke import EventRejectedError, Invoker
from everstep.observe.here import Here, here
from everstep.temporal import names
from everstep.temporal.attempt_endings import final, given_up, too_large, tried_again
from everstep.temporal.heartbeats import Heartbeats
from everstep.temporal.host import StepHost, StepsLoopDied
from everstep.temporal.lock_client import AttemptLock, LockClient
from everstep.temporal.payloads import dump, load, raw_bytes
from everstep.temporal.publish_line import PublishLines
from everstep.temporal.publisher import Publisher
from everstep.temporal.state_reader import StateAway, StateReader
from everstep.temporal.step_gate import GivenBack, StepGate
from everstep.temporal.tally import LOST_WORKERS_ALLOWED, LocalTallies, Tally
from everstep.temporal.telemetry import StepTelemetry
from everstep.wire import StepCall

_log = logging.getLogger("everstep.worker")

AGAIN_SOON = timedelta(milliseconds=1)
"""The shortest delay that Temporal takes as given; it ignores zero."""

ABSENT_RETRY = timedelta(seconds=10)
"""When to look again for a worker that has a step, or a class that takes its event."""

BROKEN_RETRY = timedelta(seconds=5)
"""When to try again what a worker ran that cannot go on: by then it polls no more."""

AWAY_RETRY = timedelta(seconds=2)
"""When to ask again for a run's state, where the workers that have the run are away."""

SHORT_DELAY = 1.0
"""Delays below this many seconds are waited for within the attempt: a server's timers are no finer."""

_HIDDEN = "(left out: payloads are encrypted; `show` tells it)"
_LOST = (None, "timeout_failure_info")
"""What the server says of an attempt that ended with its worker."""
_LOST_LOOP = "WorkerLost"
"""And what the worker itself said, where it was its steps' loop that ended."""


class StepActivity:
    """Runs the invocations of one step that Temporal hands to this worker."""

    def __init__(
        self,
        invoker: Invoker,
        step: str,
        host: StepHost,
        client: Client,
        payload_limit: int | None,
        locks: LockClient,
        lines: PublishLines,
        served: Collection[str],
        telemetry: StepTelemetry | None = None,
        gate: StepGate | None = None,
        *,
        hides_contents: bool = False,
    ) -> None:
        self._invoker = invoker
        self._step = step
        self._host = host
        self._client = client
        self._payload_limit = payload_limit
        self._locks = locks
        self._lines = lines
        self._served = served
        self._telemetry = telemetry
        self._hides_contents = hides_contents
        self._gate = gate
        spec = invoker.specs[step]
        present = spec.function.__name__ if step in spec.options.formerly else step
        self._kind = names.step_activity(invoker.flow.workflow_name, present)  # limits are by what it is called now
        self._local = LocalTallies()
        self._heartbeats = Heartbeats()

    def as_activity(self) -> Callable[..., Any]:
        """The activity function to register."""

        @activity.defn(name=names.step_activity(self._invoker.flow.workflow_name, self._step))
        async def run(call: RawValue) -> RawValue:  # raw: the converter would walk through it by its annotation
            try:
                return await self._run(StepCall.from_json(load(call.payload.data)))
            except ApplicationError as error:
                raise error.with_traceback(None) from error.__cause__

        return run

    async def _run(self, call: StepCall) -> RawValue:
        info = activity.info()
        # For what is logged here, on the worker's own loop.
        here.set(Here(call.run_id, self._invoker.flow.workflow_name, self._step, call.invocation, info.attempt))
        tally = self._local.take(info) if info.is_local else await self._look_back(info)
        lost = None if self._telemetry is None else self._telemetry.lost(call, tally)
        if tally.lost(info.attempt) > LOST_WORKERS_ALLOWED:
            if lost is not None:
                lost()
            raise final(
                Failure(
                    "WorkerLost",
                    f"step {self._step!r} was started {info.attempt - 1} times and its worker was lost "
                    f"{tally.lost(info.attempt)} times; it probably ends the process that runs it (memory, a crash in "
                    "native code). Look into the workers' logs.",
                    info.attempt - 1,
                )
            )
        publisher = Publisher(
            self._lines.of(call.run_id, info.workflow_run_id),
            call.invocation,
            info.attempt + tally.repeated + (call.record.attempts if call.record else 0),
            self._payload_limit,
        )
        beating = None if info.heartbeat_timeout is None else self._heartbeats.begin(tally, info.heartbeat_timeout)
        gate = None if info.is_local else self._gate
        left: list[Future[Any]] = []
        try:
            if gate is not None:
                await self._enter(gate, tally)
            try:
                outcome = await self._attempt(call, tally, publisher, left)
            finally:
                self._leave(gate, left)
            return raw_bytes(await self._result(outcome, publisher))
        except ApplicationError as error:
            if info.is_local and not error.non_retryable:
                self._local.keep(info, tally)
            await publisher.flush()  # what is not taken now is tried again, but does not hold up the failure
            raise
        finally:
            if beating is not None:
                beating.stop()
            publisher.close()
            if lost is not None:
                lost()

    async def _result(self, outcome: Outcome, publisher: Publisher) -> bytes:
        """The outcome as it stands in the history, with what was shown and has not left by signal."""
        limit = self._payload_limit
        if publisher.attempt != outcome.attempts:
            outcome = replace(outcome, attempts=publisher.attempt)
        result = dump(outcome.to_json())
        shown = await publisher.finish(None if limit is None else limit - len(result))
        if failure := publisher.failure(self._step):
            raise final(failure)
        if shown:
            result = dump(replace(outcome, published=shown).to_json())
        if limit is not None and len(result) > limit:
            raise final(too_large(self._step, len(result), limit, len(shown)))
        return result

    async def _enter(self, gate: StepGate, tally: Tally) -> None:
        """Wait for a place among the attempts that run here, or give the work back; that counts for nothing."""
        info = activity.info()
        try:
            await gate.enter(self._kind, info.scheduled_time, activity.wait_for_worker_shutdown)
        except GivenBack as back:
            tally.account()
            text = f"step {self._step!r} waits: this worker already runs as many of it as it may at one time"
            if self._host.left.count:
                text += f"; {self._host.left.count} were given up and still keep their places"
            raise given_up(text, "WorkerBusy", max(AGAIN_SOON, timedelta(seconds=back.seconds))) from None

    def _leave(self, gate: StepGate | None, threads: Sequence[Future[Any]]) -> None:
        """Make this attempt's place free: now, or where threads of it still run, when they return."""
        free: Callable[[], None] = _nothing if gate is None else partial(gate.leave, self._kind)
        if left := [thread for thread in threads if not thread.done()]:
            self._host.left.keep(self._kind, left, free)
        else:
            free()

    async def _attempt(self, call: StepCall, tally: Tally, publisher: Publisher, left: list[Future[Any]]) -> Outcome:
        """Tries until one succeeds or the end of this attempt is due; raises what tells Temporal how to go on."""
        try:
            return await self._tries(call, tally, publisher, left)
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            if details is None or not details.worker_shutdown:
                raise
            tally.account()
            _log.info("%s was cut off, because the worker stops; another one takes it", activity.info().activity_type)
            text = f"the worker of step {self._step!r} is shutting down; another one takes it"
            raise given_up(text, "WorkerShutdown", AGAIN_SOON) from None

    async def _tries(self, call: StepCall, tally: Tally, publisher: Publisher, left: list[Future[Any]]) -> Outcome:
        info = activity.info()
        attempts = self._attempts(call, tally, info)
        before = attempts.failures - tally.failures
        state = StateReader(self._client, call)
        while True:
            try:
                lock = self._locks.of(call, info, tally)
                outcome = await self._try(call, attempts, publisher, lock, tally, state, left)
                if state.away is not None:
                    raise StateAway(state.away)  # its code has gone on without it
                if outcome.calls:
                    self._note_unserved(outcome)
                again = outcome.suspended or outcome.gathers
                return replace(outcome, tries=attempts.tries(time.time())) if again else outcome
            except StepsLoopDied as error:  # not accounted for: the worker counts as lost
                raise given_up(str(error), _LOST_LOOP, BROKEN_RETRY) from None
            except EventRejectedError as error:
                tally.account()
                raise ApplicationError(
                    exception_text(error), type="EventRejected", next_retry_delay=ABSENT_RETRY
                ) from speakable(error)
            except Exception as error:
                if state.away is not None:
                    tally.account()
                    text = f"step {self._step!r} waits for workers of its run, to read the state: {state.away}"
                    _log.warning("%s; it is run again in %.3g s", text, AWAY_RETRY.total_seconds())
                    raise given_up(text, "StateAway", AWAY_RETRY) from None
                # Where a thread of this try still runs it keeps the place: the next one needs a place of its own.
                here = info.is_local or all(thread.done() for thread in left)
                delay = await self._failed(error, call, attempts, tally, before, here=here)
            tally.repeated += 1
            tally.beat()
            publisher.next_attempt()
            await asyncio.sleep(delay)

    async def _failed(
        self, error: Exception, call: StepCall, attempts: Attempts, tally: Tally, before: int, *, here: bool
    ) -> float:
        """A try has failed: after how many seconds the next one follows here; else raises what ends the attempt.

        `before` are the failures of earlier passes; `here` is whether the next try may be made in this attempt.
        """
        delay, failure, told = await self._host.aside(partial(_asked, attempts, error))
        if delay is None:
            raise final(failure) from told
        tally.failures, tally.failed_at = attempts.failures - before, attempts.last_failed_at
        tally.error = {"type": failure.type, "message": failure.message}
        if here and delay < SHORT_DELAY:
            return delay
        tally.account()
        _log.warning(
            "%s failed on %s (try %d): %s: %s; next try in %.3g s",
            activity.info().activity_type,
            call.event_name,
            attempts.failures,
            failure.type,
            _HIDDEN if self._hides_contents else failure.message,
            delay,
        )
        raise tried_again(failure, told, max(AGAIN_SOON, timedelta(seconds=delay)))

    def _attempts(self, call: StepCall, tally: Tally, info: activity.Info) -> Attempts:
        """The tries of the invocation so far, in its earlier passes and in this activity's earlier attempts."""
        policy = self._invoker.specs[self._step].retry_policy
        # Both times are the server's: its clock may differ from ours, or skip.
        since = info.started_time - info.scheduled_time
        started_at = time.time() - since.total_seconds()
        attempts = Attempts.going_on(
            policy, jitter_seed(call.run_id, call.origin), started_at, call.record and call.record.tries
        )
        attempts.failures += tally.failures
        if tally.error is not None:
            attempts.last_failed_at = tally.failed_at
            attempts.last_error = exception_from_data(tally.error)
        return attempts

    async def _try(
        self,
        call: StepCall,
        attempts: Attempts,
        publisher: Publisher,
        lock: AttemptLock,
        tally: Tally,
        state: StateReader,
        left: list[Future[Any]],
    ) -> Outcome:
        scopes: list[StepScope] = []
        info = activity.info()
        work = self._invoker.run(
            self._step,
            call,
            state=state.read,
            publish=publisher.publish,
            retry_info=attempts.retry_info(time.time()),
            lock=lock,
            scope_made=scopes.append,
            attempt=publisher.attempt,
        )
        if self._telemetry is not None:
            work = self._telemetry.around(call, tally, publisher.attempt, work)
        spec = self._invoker.specs[self._step]
        timeout = spec.options.timeout if spec.is_async else None  # sync ones block no loop, and may wait for a thread
        # The step's own loop keeps the timeout; this one is for a step that blocks that loop.
        limit = None if timeout is None else asyncio.timeout(timeout + 1)
        try:
            if limit is None:
                return await self._host.run(work, info.activity_type)
            async with limit:
                return await self._host.run(work, info.activity_type)
        except TimeoutError as error:
            if timeout is None or limit is None or not limit.expired():
                raise
            raise StepTimeoutError(self._step, timeout) from error
        except asyncio.CancelledError:
            for scope in scopes:
                scope.cancelled = True
            raise
        finally:
            lock.close()
            left.extend(thread for scope in scopes if scope.threads is not None for thread in scope.threads.left())

    def _note_unserved(self, outcome: Outcome) -> None:
        """Say so where a step runs a flow that this worker does not have: perhaps no worker has it."""
        for flow in dict.fromkeys(call.flow for call in outcome.calls if call.task_queue is None):
            if flow not in self._served:
                _log.warning(
                    "step %r runs flow %s, which this worker does not serve: the child waits for a worker of this task "
                    "queue that does. Add it to the worker's flows.",
                    self._step,
                    flow,
                )

    async def _look_back(self, info: activity.Info) -> Tally:
        """The tally, after a look whether the attempts of which it knows nothing ended with their workers.

        They may have failed before they came to a step, on a worker that could not read what it was given.
        """
        tally = Tally.read(info.heartbeat_details)
        if tally.lost(info.attempt) <= 0:
            return tally
        handle = self._client.get_workflow_handle(info.workflow_id or "", run_id=info.workflow_run_id)
        with contextlib.suppress(RPCError):  # then they count as lost
            found = await handle.describe()
            for pending in found.raw_description.pending_activities:
                failure = pending.last_failure
                lost = (
                    failure.WhichOneof("failure_info") in _LOST or failure.application_failure_info.type == _LOST_LOOP
                )
                if pending.activity_id == info.activity_id and not lost:
                    tally.accounted, tally.known = info.attempt - 1, info.attempt - 1
                    tally.beat()
        return tally


def _nothing() -> None:
    """There is no place to make free."""


def _asked(attempts: Attempts, error: Exception) -> tuple[float | None, Failure, Exception]:
    """Ask the policy of a failure; the user's code, like the texts of errors."""
    delay, failure = attempts.failed(error, time.time()), attempts.failure()
    return delay, failure, speakable(error).with_traceback(authors_traceback(error))
