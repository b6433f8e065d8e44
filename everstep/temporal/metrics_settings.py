"""Where a worker's metrics go, by OpenTelemetry's own settings: to a collector, or to whoever scrapes them.

They are exported by the Temporal SDK's core, with its own; nothing has to be installed for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import unquote

from temporalio.runtime import OpenTelemetryConfig, PrometheusConfig

from everstep.errors import WorkflowConfigurationError

_EXPORTERS = ("otlp", "prometheus", "none")
_INTERVAL_MS = 60_000.0


def metrics_config(environment: Mapping[str, str]) -> OpenTelemetryConfig | PrometheusConfig | None:
    """What to give a `temporalio.runtime.TelemetryConfig` as ``metrics``; None where the settings ask for none.

    OTEL_METRICS_EXPORTER is ``otlp``, ``prometheus`` or ``none``; unset, an OTLP endpoint for metrics, or for all
    signals, means ``otlp``. Prometheus scrapes OTEL_EXPORTER_PROMETHEUS_HOST and _PORT, by default localhost:9464.

    Raises:
        WorkflowConfigurationError: the exporter is none of these.

    Example:
        >>> runtime = Runtime(telemetry=TelemetryConfig(metrics=metrics_config(os.environ)))
        >>> client = await Client.connect("localhost:7233", runtime=runtime)
    """
    exporter = environment.get("OTEL_METRICS_EXPORTER", "").strip()
    own = environment.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "").strip()
    shared = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if exporter not in ("", *_EXPORTERS):
        raise WorkflowConfigurationError(
            f"OTEL_METRICS_EXPORTER is {exporter!r}; give one of {', '.join(_EXPORTERS)}, or leave it unset."
        )
    if exporter == "prometheus":
        host = environment.get("OTEL_EXPORTER_PROMETHEUS_HOST") or "127.0.0.1"
        port = environment.get("OTEL_EXPORTER_PROMETHEUS_PORT") or "9464"
        address = f"{'127.0.0.1' if host == 'localhost' else host}:{port}"
        return PrometheusConfig(bind_address=address, counters_total_suffix=True, durations_as_seconds=True)
    if exporter == "none" or not (exporter or own or shared):
        return None
    grpc = (
        environment.get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    ) == "grpc"
    default = "http://localhost:4317" if grpc else "http://localhost:4318"
    url = own or (shared or default if grpc else f"{(shared or default).rstrip('/')}/v1/metrics")
    return OpenTelemetryConfig(
        url=url,
        headers=_headers(environment),
        metric_periodicity=timedelta(milliseconds=_interval(environment)),
        durations_as_seconds=True,
        http=not grpc,
    )


def _headers(environment: Mapping[str, str]) -> dict[str, str]:
    text = environment.get("OTEL_EXPORTER_OTLP_METRICS_HEADERS") or environment.get("OTEL_EXPORTER_OTLP_HEADERS") or ""
    pairs = (pair.partition("=") for pair in text.split(","))
    return {name.strip(): unquote(value.strip()) for name, found, value in pairs if found}


def _interval(environment: Mapping[str, str]) -> float:
    try:
        return float(environment.get("OTEL_METRIC_EXPORT_INTERVAL") or _INTERVAL_MS)
    except ValueError:
        return _INTERVAL_MS
