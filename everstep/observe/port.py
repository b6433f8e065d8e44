"""Where spans go out: the protocols that drivers, flows and activities speak to, and what is behind them here.

Nothing is behind them unless the settings name an exporter, or a program has set OpenTelemetry up by itself: then
`tracing()` is None, and that is all that an untraced run pays. This module does not import OpenTelemetry.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from everstep.errors import MissingExtraError
from everstep.observe.ids import RunTrace
from everstep.observe.names import Kind
from everstep.observe.settings import TraceSettings, wants_payloads

_log = logging.getLogger("everstep.observe")

Attributes = Mapping[str, Any]


class OpenSpan(Protocol):
    """A span that has begun."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        ...

    def event(self, name: str, attributes: Attributes) -> None:
        """Note that something happened, now."""
        ...

    def fail(self, error: BaseException | str) -> None:
        """What the span stands for failed."""
        ...

    def end(self, at: float | None = None, *, ok: bool = True) -> None:
        """It is over, now or at epoch seconds `at`, and goes out; well, unless it failed or `ok` is false."""
        ...


class Tracing(Protocol):
    """Makes spans. `payloads`: contents are wanted. `confidential`: messages of errors, and people, are contents."""

    @property
    def payloads(self) -> bool: ...

    @property
    def confidential(self) -> bool: ...

    def keep_confidential(self) -> None:
        """From now on `confidential`, unless contents are wanted: what runs hold is encrypted."""
        ...

    def sample(self, where: RunTrace, name: str) -> RunTrace:
        """The trace with the sampler's decision on it."""
        ...

    def begin(
        self, where: RunTrace, name: str, kind: Kind, at: float, attributes: Attributes, *, span_id: int | None = None
    ) -> OpenSpan:
        """Begin a span under the run's own, with this id; without an id it is the run's own."""
        ...

    def begin_inside(self, name: str, kind: Kind, attributes: Attributes) -> OpenSpan | None:
        """Begin a span under the current one; None where there is none, because no step runs here."""
        ...

    def within(
        self, span: OpenSpan, *, session: str | None = None, shift: float | None = None, quiet: bool = False
    ) -> AbstractContextManager[None]:
        """Make a span the current one, for user code too.

        `shift` is how many seconds the run's clock is ahead of this process's; spans inside go by the run's. `quiet`:
        instrumentations of clients make no spans inside.
        """
        ...

    def current_ids(self) -> tuple[str, str] | None:
        """Trace and span id of the current span, as hex."""
        ...

    def flush(self, seconds: float) -> None:
        """Send what has ended."""
        ...


class _Undecided:
    """Nobody has asked yet."""


_tracing: Tracing | _Undecided | None = _Undecided()


def tracing() -> Tracing | None:
    """What makes spans in this process, or None. Decided by the environment when first asked."""
    global _tracing
    if isinstance(_tracing, _Undecided):
        _tracing = None  # for what asks while it is decided
        _tracing = _decide(os.environ)
    return _tracing


def tracing_so_far() -> Tracing | None:
    """What makes spans, if that was decided already. For logs, which are written while it is decided, too."""
    return None if isinstance(_tracing, _Undecided) else _tracing


@contextlib.contextmanager
def use_tracing(tracer_provider: Any, *, payloads: bool | None = None) -> Generator[None]:
    """Within the block, what begins traces to this provider instead of where the settings say.

    Args:
        tracer_provider: an `opentelemetry.sdk.trace.TracerProvider`; None for no traces.
        payloads: whether contents are traced too; by default as the environment says.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.

    Example:
        >>> with use_tracing(provider):
        ...     await MyFlow().run(topic="x")
    """
    global _tracing
    before = _tracing
    wanted = wants_payloads(os.environ) if payloads is None else payloads
    _tracing = None if tracer_provider is None else _backend().spans_of(tracer_provider, payloads=wanted)
    try:
        yield
    finally:
        _tracing = before


def _decide(environment: Mapping[str, str]) -> Tracing | None:
    """A provider that the program has set up is used; else one is made where the settings name an exporter."""
    settings = TraceSettings.load(environment)
    if settings is None and "opentelemetry.sdk.trace" not in sys.modules:
        return None
    try:
        return _backend().tracing(settings, payloads=wants_payloads(environment))
    except Exception as error:  # a worker does its work, whatever is wrong with its traces
        _log.warning("Nothing is traced: %s", error)
        return None


def _backend() -> Any:
    """The part that imports OpenTelemetry, which is optional; the one place where that is asked for."""
    try:
        from everstep.observe import otel
    except ImportError as error:
        raise MissingExtraError("otel", str(error.name or error)) from error
    return otel
