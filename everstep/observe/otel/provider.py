"""Where spans go: the provider that a program has set up, or one made from the settings."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from everstep.errors import MissingExtraError, WorkflowConfigurationError
from everstep.observe.names import PROJECT
from everstep.observe.otel.spans import Spans
from everstep.observe.settings import TraceSettings

_log = logging.getLogger("everstep.observe")

ATTRIBUTES = 10_000
"""How many attributes a span may have, unless the environment says. OpenTelemetry's own default of 128 is less than a
search with fifty documents has, and drops the first ones, such as the kind of the span."""


def tracing(settings: TraceSettings | None, *, payloads: bool) -> Spans | None:
    """Spans for this process: to the program's own provider if it has one, else where the settings say.

    The provider that is made becomes the process's own, so that what user code traces goes out by it too.

    Raises:
        WorkflowConfigurationError: the settings name an exporter that is not installed.
    """
    present = trace.get_tracer_provider()
    if isinstance(present, TracerProvider):
        return spans_of(present, payloads=payloads)
    if settings is None:
        return None
    provider = TracerProvider(resource=_resource(settings), span_limits=_limits())
    for name in settings.exporters:
        provider.add_span_processor(
            BatchSpanProcessor(_exporter(name, settings), schedule_delay_millis=settings.delay_ms)
        )
        _log.info("traces go to %s", settings.endpoint or name)
    trace.set_tracer_provider(provider)
    return spans_of(provider, payloads=payloads)


def spans_of(provider: TracerProvider, *, payloads: bool) -> Spans:
    """Spans that go to this provider."""
    return Spans(provider, payloads=payloads)


def _limits() -> SpanLimits:
    told = ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT")
    return SpanLimits(max_span_attributes=None if any(map(os.environ.get, told)) else ATTRIBUTES)


def _resource(settings: TraceSettings) -> Resource:
    own: dict[str, Any] = {"service.name": "everstep"}
    if settings.project is not None:
        own[PROJECT] = settings.project
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come last: they say more than our defaults.
    told = Resource.create()
    kept = {name: value for name, value in told.attributes.items() if not str(value).startswith("unknown_service")}
    return told.merge(Resource(own)).merge(Resource(kept))


def _exporter(name: str, settings: TraceSettings) -> SpanExporter:
    """An exporter by its name in OpenTelemetry's registry, with Phoenix's address where that is meant."""
    for found in entry_points(group="opentelemetry_traces_exporter", name=name):
        options: Mapping[str, Any] = {}
        if name.startswith("otlp") and settings.endpoint is not None:
            options = {"endpoint": settings.endpoint, "headers": dict(settings.headers)}
        try:
            return found.load()(**options)
        except ImportError as error:
            raise MissingExtraError("otel", str(error.name or error)) from error
    known = sorted({one.name for one in entry_points(group="opentelemetry_traces_exporter")})
    raise WorkflowConfigurationError(
        f"There is no exporter {name!r} for traces. Installed are: {', '.join(known) or 'none'}. "
        "Set OTEL_TRACES_EXPORTER to one of them, or install the package that brings it."
    )
