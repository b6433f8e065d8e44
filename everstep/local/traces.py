"""Spans of a run in process: its own, those of its waits, and one for each attempt of a step."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from everstep.engine.messages import Outcome
from everstep.engine.run import Run
from everstep.observe.ids import RunTrace
from everstep.observe.names import Kind
from everstep.observe.port import Tracing, tracing
from everstep.observe.steps import Attempt, traced
from everstep.observe.watch import GivenOut, RunWatch
from everstep.wire import StepCall


class LocalTraces:
    """The spans of one run. Make it by `of`, when the run begins or goes on."""

    def __init__(
        self,
        tracing: Tracing,
        run: Run,
        run_id: str,
        started_at: float,
        kind: Kind,
        clock: Callable[[], float],
        above: str | None,
    ) -> None:
        flow = run.definition.name
        # A run id may be used again, so that the time names the run too; one that goes on elsewhere has kept it.
        own = RunTrace.of("local", run_id, repr(started_at))
        where = own.under(above) or tracing.sample(own, flow)
        self._tracing = tracing
        self._flow = flow
        self._clock = clock
        self.watch = RunWatch(tracing, run, run_id, where, kind, GivenOut())

    @classmethod
    def of(
        cls, run: Run, run_id: str, started_at: float, kind: Kind, clock: Callable[[], float], above: str | None
    ) -> LocalTraces | None:
        """The spans of a run, under those of the run `above` it; None where nothing is traced."""
        makes = tracing()
        return None if makes is None else cls(makes, run, run_id, started_at, kind, clock, above)

    def around(
        self, step: str, call: StepCall, number: int, work: Coroutine[Any, Any, Outcome]
    ) -> Coroutine[Any, Any, Outcome]:
        """An attempt within its span."""
        this = Attempt(self._flow, step, call, number, (call.invocation, number), self._clock())
        return traced(self._tracing, self.watch.trace, this, work)
