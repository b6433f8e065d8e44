"""Spans of what a worker does: its steps' attempts, and, watched from workflow code, runs and waits for people."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

from temporalio import activity, workflow

from everstep.engine.messages import Outcome
from everstep.engine.run import Run
from everstep.observe.ids import RunTrace
from everstep.observe.names import Kind
from everstep.observe.port import Tracing
from everstep.observe.steps import Attempt, lost, traced
from everstep.observe.watch import GivenOut, RunWatch
from everstep.temporal import names
from everstep.temporal.tally import Tally
from everstep.wire import StepCall


def run_watcher(tracing: Tracing | None, kind: Kind) -> Callable[[Run], RunWatch] | None:
    """What watches the runs of a flow, from workflow code; None where nothing is traced."""
    if tracing is None:
        return None

    given_out = GivenOut()

    def watch(run: Run) -> RunWatch:
        info = workflow.info()
        # The first execution names the run over all that follow it; a run id may be used again once a run has failed.
        own = RunTrace.of(info.namespace, info.workflow_id, info.first_execution_run_id)
        options: Any = workflow.memo_value(names.MEMO, None)
        above = cast("Mapping[str, Any]", options).get("trace") if isinstance(options, dict) else None
        trace = own.under(above) or tracing.sample(own, run.definition.name)
        return RunWatch(tracing, run, info.workflow_id, trace, kind, given_out)

    return watch


class StepTraces:
    """The spans of one step's attempts on this worker.

    Args:
        tracing: makes the spans.
        flow, step: what they are of.
    """

    def __init__(self, tracing: Tracing, flow: str, step: str) -> None:
        self._tracing = tracing
        self._flow = flow
        self._step = step

    def around(
        self, call: StepCall, tally: Tally, number: int, queued: float, work: Coroutine[Any, Any, Outcome]
    ) -> Coroutine[Any, Any, Outcome]:
        """An attempt within its span; `number` counts it, `queued` is how many seconds it waited for a worker."""
        info = activity.info()
        key = _key(info, call, info.attempt, tally)
        begun_at = None if tally.repeated else info.started_time.timestamp()
        this = Attempt(self._flow, self._step, call, number, key, begun_at, round(queued, 6))
        return traced(self._tracing, self._trace(call, info), this, work)

    def lost(self, call: StepCall, tally: Tally) -> Callable[[], None] | None:
        """What gives out spans for the attempts before this one whose worker was lost, if there are any.

        It is for the end of this attempt: then they are given out once, whatever becomes of this worker meanwhile.
        """
        info = activity.info()
        gone = tally.lost(info.attempt)
        if gone <= 0:
            return None
        trace = self._trace(call, info)
        since, until = info.scheduled_time.timestamp(), info.current_attempt_scheduled_time.timestamp()
        attempts = [
            Attempt(self._flow, self._step, call, number, _key(info, call, number, tally))
            for number in range(max(tally.known + 1, info.attempt - gone), info.attempt)
        ]

        def give_out() -> None:
            for attempt in attempts:
                lost(self._tracing, trace, attempt, since, until)

        return give_out

    def _trace(self, call: StepCall, info: activity.Info) -> RunTrace:
        told = None if call.trace is None else RunTrace.parse(call.trace)
        if told is not None:
            return told
        # The worker of the run's workflow traces nothing: what its steps trace is kept together at least.
        alone = RunTrace.of(info.namespace, call.run_id, info.workflow_run_id or "")
        return self._tracing.sample(alone, self._flow)


def _key(info: activity.Info, call: StepCall, attempt: int, tally: Tally) -> tuple[object, ...]:
    """What names an attempt: a pass that runs again has the same invocation, a boundary begins to count anew."""
    before = 0 if call.record is None else call.record.attempts
    return info.workflow_run_id, call.invocation, before, attempt, tally.repeated
