"""A span for each attempt of a step: begun before user code runs, the current one while it does, out when it ends.

An attempt that fails goes out at once, under the run like all others: the next attempt may be hours away, or another
worker's, and a span that had to wait for it would leave the tree without a parent meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from everstep.engine.messages import Outcome
from everstep.invoke import EventRejectedError
from everstep.observe import describe, names
from everstep.observe.careful import careful
from everstep.observe.ids import RunTrace
from everstep.observe.names import Kind
from everstep.observe.port import OpenSpan, Tracing
from everstep.wire import StepCall

SKEW_ALLOWED = 60.0
"""By how many seconds the run's clock may differ from this process's before spans go by the run's."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one pass of an invocation.

    `number` counts attempts as people do; `key` is what names this one within the run. `begun_at` is by the run's
    clock, None where that is this process's own. `queued` is how many seconds it waited for a worker.
    """

    flow: str
    step: str
    call: StepCall
    number: int
    key: tuple[object, ...]
    begun_at: float | None = None
    queued: float | None = None
    kind: Kind = "CHAIN"


async def traced(tracing: Tracing, trace: RunTrace, this: Attempt, work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run an attempt within a span of its own; gives and raises what it does."""
    shift = _shift(this.begun_at)
    span = None
    with careful():
        span = _begin(tracing, trace, this, shift)
    if span is None:
        return await work
    with tracing.within(span, session=this.call.run_id, shift=shift):
        try:
            outcome = await work
        except EventRejectedError:
            raise  # no user code has run, and it is tried every few seconds: this span is dropped
        except BaseException as error:
            with careful():
                _failed(span, error)
            raise
    with careful():
        span.set(describe.outcome(outcome, payloads=tracing.payloads))
        span.end()
    return outcome


def _begin(tracing: Tracing, trace: RunTrace, this: Attempt, shift: float) -> OpenSpan:
    call = this.call
    given = describe.given(call.batch or ([call.event] if call.event else []), payloads=tracing.payloads)
    at, span_id = time.time() + shift, trace.span(*this.key)
    return tracing.begin(trace, this.step, this.kind, at, _identity(this) | given, span_id=span_id)


def _failed(span: OpenSpan, error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        span.set({names.OUTCOME: "cancelled"})
        span.end(ok=False)
    else:
        span.set({names.OUTCOME: "failed"})
        span.fail(error)
        span.end()


def lost(tracing: Tracing, trace: RunTrace, this: Attempt, begun_at: float, ended_at: float) -> None:
    """A span for an attempt whose worker was lost, so that what it had sent out is not left without a parent."""
    told = {**_identity(this), names.OUTCOME: "lost"}
    with careful():
        span = tracing.begin(trace, this.step, this.kind, begun_at, told, span_id=trace.span(*this.key))
        span.fail("the worker was lost")
        span.end(ended_at)


def _identity(this: Attempt) -> dict[str, Any]:
    return {
        names.SESSION: this.call.run_id,
        names.RUN: this.call.run_id,
        names.FLOW: this.flow,
        names.STEP: this.step,
        names.INVOCATION: this.call.invocation,
        names.ATTEMPT: this.number,
        names.QUEUED: this.queued,
    }


def _shift(begun_at: float | None) -> float:
    """Zero for clocks that go alike: then spans within agree with those that others make."""
    if begun_at is None:
        return 0.0
    ahead = begun_at - time.time()
    return ahead if abs(ahead) > SKEW_ALLOWED else 0.0
