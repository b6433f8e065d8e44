"""OpenTelemetry behind `everstep.observe.port`: the only package of the library that imports it."""

from everstep.observe.otel.provider import spans_of, tracing

__all__ = ["spans_of", "tracing"]
