"""Watches the engine of a run, and gives out the spans that no step can: the run's own, and those of waits for people.

A watch is told of every input, also of those that are replayed: what it must remember is the same after any restart.
Only `live` ones give out spans. The run's own span goes out when it ends, or when it first waits for something: a run
that waits for days is a whole tree while it does. How it ended is then told by a span of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine.messages import Envelope
from everstep.engine.requests import Request
from everstep.engine.run import Run
from everstep.observe import describe, names
from everstep.observe.careful import careful
from everstep.observe.ids import RunTrace
from everstep.observe.names import Kind
from everstep.observe.port import OpenSpan, Tracing

Ending = do.CompleteRun | do.FailRun | do.CancelRun


SPANS_REMEMBERED = 10_000
"""Of how many spans a worker knows that it gave them out: a workflow task that failed comes again within seconds."""


class GivenOut:
    """The spans that watches of this process have given out, the newest of them."""

    def __init__(self) -> None:
        self._ids: dict[tuple[int, int], None] = {}

    def first(self, trace_id: int, span_id: int) -> bool:
        """Whether this one was not given out yet; now it was."""
        if (trace_id, span_id) in self._ids:
            return False
        self._ids[trace_id, span_id] = None
        if len(self._ids) > SPANS_REMEMBERED:
            del self._ids[next(iter(self._ids))]
        return True


class RunWatch:
    """The watch over one run, or over one execution of it.

    Args:
        tracing: makes the spans.
        run: the engine's data; read only.
        run_id: the run's id.
        trace: where its spans belong.
        kind: of the run's own span.
        given_out: what other watches of this process have given out. A workflow task that the server did not take is
            done again, and is no replay then.
    """

    def __init__(
        self, tracing: Tracing, run: Run, run_id: str, trace: RunTrace, kind: Kind, given_out: GivenOut
    ) -> None:
        self._tracing = tracing
        self._run = run
        self._run_id = run_id
        self.trace = trace
        self._kind: Kind = kind
        self._given_out = given_out
        self._start: Envelope | None = None
        self._waited = self._waits()
        self._last_closed = next(reversed(run.closed_requests), None)

    @property
    def traceparent(self) -> str:
        """Where the run's spans belong, for others."""
        return self.trace.traceparent()

    def applied(self, what: happened.Input, commands: Sequence[do.Command], *, live: bool) -> None:
        """The engine has taken an input, and gave these commands."""
        with careful():
            self._applied(what, commands, live=live)

    def _applied(self, what: happened.Input, commands: Sequence[do.Command], *, live: bool) -> None:
        if isinstance(what, happened.StartRun):
            self._start = what.event
        ending = next((one for one in commands if isinstance(one, Ending)), None)
        shown, self._waited = self._waited, self._waited or self._waits()
        closed = self._closed()
        if not live:
            return
        if ending is not None:
            self._end(ending, shown=shown)
            closed += [request for request in self._run.requests.values() if request.status == "closed"]
        elif self._waited and not shown and self._first(self.trace.span_id):
            self._begin({names.OUTCOME: "waits"}).end(self._run.now)
        for request in closed:
            self._wait(request)

    def _waits(self) -> bool:
        """Whether the run, or one below it, has ever waited for a person, or for an event."""
        run = self._run
        return bool(run.request_counts) or run.waited or bool(run.family.requests)

    def _closed(self) -> list[Request]:
        """The requests that were closed since the last look."""
        found: list[Request] = []
        for request_id in reversed(self._run.closed_requests):
            if request_id == self._last_closed:
                break
            found.append(self._run.requests[request_id])
        if found:
            self._last_closed = found[0].id
        return found[::-1]

    def _first(self, span_id: int) -> bool:
        return self._given_out.first(self.trace.trace_id, span_id)

    def _begin(self, attributes: dict[str, Any]) -> OpenSpan:
        """The run's own span, from its start."""
        told: dict[str, Any] = {}
        if self._start is not None:
            told = describe.given([self._start], payloads=self._tracing.payloads)
        began = self._run.started_at
        attributes = self._identity() | told | attributes
        return self._tracing.begin(self.trace, self._run.definition.name, self._kind, began, attributes)

    def _end(self, ending: Ending, *, shown: bool) -> None:
        span_id = self.trace.span("end") if shown else self.trace.span_id
        if not self._first(span_id):
            return
        told: dict[str, Any] = {names.OUTCOME: self._run.status}
        if isinstance(ending, do.CompleteRun):
            event = ending.event
            told |= {names.RETURNED: event.type, names.RETURNED_SIZE: describe.size(event)}
            if self._tracing.payloads:
                told |= describe.content(names.OUTPUT, names.OUTPUT_TYPE, event.data)
        if shown:
            name = f"{self._run.definition.name} {self._run.status}"
            attributes = self._identity() | told
            span = self._tracing.begin(self.trace, name, "CHAIN", self._run.now, attributes, span_id=span_id)
        else:
            span = self._begin(told)
        if isinstance(ending, do.FailRun):
            span.fail(ending.kind if self._tracing.confidential else ending.message)
        span.end(self._run.now, ok=not isinstance(ending, do.CancelRun))

    def _wait(self, request: Request) -> None:
        """A span over the time that a person was waited for."""
        span_id = self.trace.span("wait", request.id)
        if not self._first(span_id):
            return
        told = describe.request(request, payloads=self._tracing.payloads, people=not self._tracing.confidential)
        span = self._tracing.begin(
            self.trace,
            f"wait for a person: {request.question.type}",
            "CHAIN",
            request.asked_at,
            self._identity() | told,
            span_id=span_id,
        )
        span.end(self._run.now if request.answered_at is None else request.answered_at)

    def _identity(self) -> dict[str, Any]:
        return {names.SESSION: self._run_id, names.RUN: self._run_id, names.FLOW: self._run.definition.name}
