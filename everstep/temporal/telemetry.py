"""What a worker tells of its work: spans where it is traced, numbers where its runtime has metrics, else nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence
from typing import Any, Protocol

from temporalio import activity
from temporalio.client import Client

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine.messages import Outcome
from everstep.engine.run import Run
from everstep.observe.meters import use_meters
from everstep.observe.names import Kind
from everstep.observe.port import tracing
from everstep.temporal.metrics import RunMeter, StepMeter, WorkerMeters, meter_of
from everstep.temporal.privacy.settings import hides_contents
from everstep.temporal.tally import Tally
from everstep.temporal.traces import StepTraces, run_watcher
from everstep.temporal.waiting import WaitingGauges
from everstep.wire import StepCall

FLUSH_SECONDS = 5.0
"""How long a worker that stops waits for its last spans to go out."""


class Watch(Protocol):
    """What watches a run from workflow code."""

    @property
    def traceparent(self) -> str | None: ...
    def applied(self, what: happened.Input, commands: Sequence[do.Command], *, live: bool) -> None: ...


class Telemetry:
    """All that one plugin tells. What it has to tell with is known when its worker is configured."""

    def __init__(self) -> None:
        self._tracing = tracing()
        self._meters: WorkerMeters | None = None

    def measure(self, client: Client) -> None:
        """Count by the meter of this client's runtime, if it has one; keep out of traces what the client encrypts."""
        if self._tracing is not None and hides_contents(client):
            self._tracing.keep_confidential()
        meter = meter_of(client)
        if meter is not None:
            self._meters = WorkerMeters(meter)
            use_meters(self._meters)

    def watcher(self, kind: Kind) -> Callable[[Run], Watch | None]:
        """Begins to watch runs of a flow; gives None where there is nothing to tell with."""
        trace = run_watcher(self._tracing, kind)

        def watch(run: Run) -> Watch | None:
            watches: list[Watch] = []
            if trace is not None:
                watches.append(trace(run))
            if self._meters is not None:
                watches.append(RunMeter(self._meters, run))
            return _Watches(watches) if len(watches) > 1 else watches[0] if watches else None

        return watch

    def step(self, flow: str, step: str) -> StepTelemetry | None:
        """What tells of one step's attempts; None where there is nothing to tell with."""
        if self._tracing is None and self._meters is None:
            return None
        return StepTelemetry(
            None if self._tracing is None else StepTraces(self._tracing, flow, step),
            None if self._meters is None else StepMeter(self._meters, flow, step),
        )

    def left(self, step: str, number: int) -> None:
        """So many attempts of a step, named as ``Flow.step``, were given up and still run in their threads."""
        if self._meters is not None:
            flow, _, name = step.partition(".")
            self._meters.left_threads.set(number, {"flow": flow, "step": name})

    @contextlib.asynccontextmanager
    async def telling(self, client: Client, flows: Collection[str], *, indexed: bool) -> AsyncGenerator[None]:
        """While the worker runs: what waits, if the server's index knows; at its end what is left goes out."""
        counting = None
        if self._meters is not None and indexed:
            counting = asyncio.create_task(WaitingGauges(client, self._meters, flows).keep())
        try:
            yield
        finally:
            if counting is not None:
                counting.cancel()
            if self._tracing is not None:
                await asyncio.to_thread(self._tracing.flush, FLUSH_SECONDS)


class StepTelemetry:
    """What tells of the attempts of one step."""

    def __init__(self, traces: StepTraces | None, meter: StepMeter | None) -> None:
        self._traces = traces
        self._meter = meter

    def around(
        self, call: StepCall, tally: Tally, number: int, work: Coroutine[Any, Any, Outcome]
    ) -> Coroutine[Any, Any, Outcome]:
        """An attempt, traced and measured; `number` counts it."""
        info = activity.info()
        queued = (info.started_time - info.current_attempt_scheduled_time).total_seconds()
        if self._meter is not None:
            work = self._meter.timed(queued, work)
        return work if self._traces is None else self._traces.around(call, tally, number, queued, work)

    def lost(self, call: StepCall, tally: Tally) -> Callable[[], None] | None:
        """See `StepTraces.lost`."""
        return None if self._traces is None else self._traces.lost(call, tally)


class _Watches:
    def __init__(self, watches: Sequence[Watch]) -> None:
        self._watches = watches
        self.traceparent = next((one.traceparent for one in watches if one.traceparent is not None), None)

    def applied(self, what: happened.Input, commands: Sequence[do.Command], *, live: bool) -> None:
        for watch in self._watches:
            watch.applied(what, commands, live=live)
