"""Spans of OpenTelemetry with ids that we choose, parents that may come later, and times of the run's own clock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, Status, StatusCode, TraceFlags

from everstep.observe.ids import RunTrace
from everstep.observe.names import SESSION, SPAN_KIND, Kind
from everstep.observe.port import Attributes, OpenSpan

_NOTHING = Context()

_SUPPRESS: str = getattr(contexts, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")
"""What instrumentations look at before they make a span; OpenTelemetry has no public name for it yet."""

_chosen: ContextVar[tuple[int, int] | None] = ContextVar("everstep_chosen_ids", default=None)
_shift: ContextVar[float] = ContextVar("everstep_clock_shift", default=0.0)
_session: ContextVar[str | None] = ContextVar("everstep_session", default=None)


class _ChosenIds(IdGenerator):
    """Gives out the ids chosen for the next span; those of others where none are."""

    def __init__(self, others: IdGenerator) -> None:
        self._others = others

    def generate_trace_id(self) -> int:
        chosen = _chosen.get()
        return self._others.generate_trace_id() if chosen is None else chosen[0]

    def generate_span_id(self) -> int:
        chosen = _chosen.get()
        return self._others.generate_span_id() if chosen is None else chosen[1]

    def is_trace_id_random(self) -> bool:
        return _chosen.get() is None


class _Span:
    """See `OpenSpan`."""

    def __init__(self, span: Span, shift: float = 0.0, *, confidential: bool = False) -> None:
        self.span = span
        self._shift = shift
        self._confidential = confidential
        self._failed = False

    def set(self, attributes: Attributes) -> None:
        self.span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def event(self, name: str, attributes: Attributes) -> None:
        self.span.add_event(name, dict(attributes), _nanoseconds(time.time() + self._shift))

    def fail(self, error: BaseException | str) -> None:
        self._failed = True
        if isinstance(error, BaseException) and self._confidential:
            error = type(error).__name__
            self.event("exception", {"exception.type": error})
        elif isinstance(error, BaseException):
            self.span.record_exception(error, timestamp=_nanoseconds(time.time() + self._shift))
            error = f"{type(error).__name__}: {error}"
        self.span.set_status(Status(StatusCode.ERROR, error))

    def end(self, at: float | None = None, *, ok: bool = True) -> None:
        if ok and not self._failed:
            self.span.set_status(Status(StatusCode.OK))
        self.span.end(_nanoseconds(time.time() + self._shift if at is None else at))


class Spans:
    """See `everstep.observe.port.Tracing`.

    Args:
        provider: where spans go.
        payloads: whether contents are wanted.
    """

    def __init__(self, provider: TracerProvider, *, payloads: bool) -> None:
        self.payloads = payloads
        self.confidential = False
        self._provider = provider
        self._tracer = provider.get_tracer("everstep")
        if isinstance(self._tracer, Tracer):  # it is none where OTEL_SDK_DISABLED is set
            others = self._tracer.id_generator
            self._tracer.id_generator = others if isinstance(others, _ChosenIds) else _ChosenIds(others)

    def keep_confidential(self) -> None:
        self.confidential = not self.payloads

    def sample(self, where: RunTrace, name: str) -> RunTrace:
        decided = self._provider.sampler.should_sample(_NOTHING, where.trace_id, name)
        return RunTrace(where.trace_id, where.span_id, decided.decision.is_sampled(), where.parent_id)

    def begin(
        self, where: RunTrace, name: str, kind: Kind, at: float, attributes: Attributes, *, span_id: int | None = None
    ) -> OpenSpan:
        chosen = _chosen.set((where.trace_id, where.span_id if span_id is None else span_id))
        try:
            span = self._tracer.start_span(
                name,
                _parent(where, where.parent_id if span_id is None else where.span_id),
                attributes=_with_kind(kind, attributes),
                start_time=_nanoseconds(at),
            )
        finally:
            _chosen.reset(chosen)
        return _Span(span, at - time.time(), confidential=self.confidential)

    def begin_inside(self, name: str, kind: Kind, attributes: Attributes) -> OpenSpan | None:
        if not trace.get_current_span().get_span_context().is_valid:
            return None
        shift = _shift.get()
        own = dict(attributes) if (session := _session.get()) is None else {SESSION: session, **attributes}
        at = _nanoseconds(time.time() + shift)
        span = self._tracer.start_span(name, attributes=_with_kind(kind, own), start_time=at)
        return _Span(span, shift, confidential=self.confidential)

    @contextlib.contextmanager
    def within(
        self, span: OpenSpan, *, session: str | None = None, shift: float | None = None, quiet: bool = False
    ) -> Generator[None]:
        assert isinstance(span, _Span)
        inside = trace.set_span_in_context(span.span)
        if session is not None:
            inside = contexts.set_value(SESSION, session, inside)  # where OpenInference's instrumentors look for it
        if quiet:
            inside = contexts.set_value(_SUPPRESS, True, inside)
        attached = contexts.attach(inside)
        told = _session.set(session or _session.get())
        ahead = _shift.set(_shift.get() if shift is None else shift)
        try:
            yield
        finally:
            _shift.reset(ahead)
            _session.reset(told)
            contexts.detach(attached)

    def current_ids(self) -> tuple[str, str] | None:
        found = trace.get_current_span().get_span_context()
        if not found.is_valid:
            return None
        return trace.format_trace_id(found.trace_id), trace.format_span_id(found.span_id)

    def flush(self, seconds: float) -> None:
        self._provider.force_flush(int(seconds * 1000))


def _parent(where: RunTrace, span_id: int | None) -> Context:
    """A context in which a span of the trace is the current one, wherever and whenever that is made."""
    if span_id is None:
        return _NOTHING
    flags = TraceFlags(TraceFlags.SAMPLED if where.sampled else TraceFlags.DEFAULT)
    parent = SpanContext(where.trace_id, span_id, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(parent), _NOTHING)


def _with_kind(kind: Kind, attributes: Attributes) -> dict[str, Any]:
    return {SPAN_KIND: kind, **{name: value for name, value in attributes.items() if value is not None}}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
