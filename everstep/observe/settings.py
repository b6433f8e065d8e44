"""What the environment says of traces: where they go, and whether contents go with them.

The names are those of OpenTelemetry and of Phoenix; where neither names an exporter nothing is traced, and
OpenTelemetry is not even imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit, urlunsplit

PAYLOADS = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""OpenTelemetry's own switch for contents: prompts, answers, events. They are left out unless it is true."""

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SCHEDULE_DELAY = "OTEL_BSP_SCHEDULE_DELAY"
EXPORT_DELAY_MS = 200.0
"""How long an ended span waits for others before it is sent, where OTEL_BSP_SCHEDULE_DELAY does not say."""


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Where spans go.

    `exporters` are names as in OTEL_TRACES_EXPORTER, with ``otlp`` split up by protocol: ``otlp_proto_http``,
    ``otlp_proto_grpc``. `endpoint` and `headers` are Phoenix's, for the first of them; else the exporter reads its own
    settings. `payloads`: contents are traced too.
    """

    exporters: tuple[str, ...] = ()
    endpoint: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    project: str | None = None
    payloads: bool = False
    delay_ms: float = EXPORT_DELAY_MS

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self | None:
        """Read the settings; None where they name no exporter, or switch OpenTelemetry off."""
        if _is_true(environment.get("OTEL_SDK_DISABLED")):
            return None
        phoenix = environment.get("PHOENIX_COLLECTOR_ENDPOINT", "").strip()
        named = environment.get("OTEL_TRACES_EXPORTER", "").strip()
        otlp = any(environment.get(name, "").strip() for name in ENDPOINTS)
        if not named and not otlp and not phoenix:
            return None
        names = [name.strip() for name in (named or "otlp").split(",")]
        if names == ["none"]:
            return None
        use_phoenix = bool(phoenix) and not otlp  # an OTLP endpoint that is set says more than Phoenix's default
        grpc = _is_grpc_port(phoenix, environment) if use_phoenix else _wants_grpc(environment)
        otlp_name = "otlp_proto_grpc" if grpc else "otlp_proto_http"
        exporters = [otlp_name if name == "otlp" else name for name in names]
        return cls(
            exporters=tuple(name for name in exporters if name and name != "none"),
            endpoint=(phoenix if grpc else _traces_url(phoenix)) if use_phoenix else None,
            headers=_phoenix_headers(environment) if use_phoenix else {},
            project=environment.get("PHOENIX_PROJECT_NAME") or None,
            payloads=wants_payloads(environment),
            delay_ms=_number(environment.get(SCHEDULE_DELAY), EXPORT_DELAY_MS),
        )


def wants_payloads(environment: Mapping[str, str]) -> bool:
    """Whether contents are traced too."""
    return _is_true(environment.get(PAYLOADS))


def _wants_grpc(environment: Mapping[str, str]) -> bool:
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    return protocol == "grpc"


def _is_grpc_port(phoenix: str, environment: Mapping[str, str]) -> bool:
    """Phoenix takes gRPC on a port of its own; which of both is meant is told by the port alone."""
    port = environment.get("PHOENIX_GRPC_PORT") or "4317"
    return phoenix.rstrip("/").endswith(f":{port}")


def _traces_url(endpoint: str) -> str:
    """Where Phoenix takes spans over HTTP; its settings name the server alone."""
    parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith("/v1/traces") else f"{path}/v1/traces"))


def _phoenix_headers(environment: Mapping[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for pair in environment.get("PHOENIX_CLIENT_HEADERS", "").split(","):
        name, found, value = pair.partition("=")
        if found:
            headers[unquote(name.strip()).lower()] = unquote(value.strip())
    key = environment.get("PHOENIX_API_KEY")
    if key and "authorization" not in headers:
        headers["authorization"] = f"Bearer {key}"
    return headers


def _is_true(text: str | None) -> bool:
    return (text or "").strip().lower() in ("true", "1", "yes", "span_only", "span_and_event")


def _number(text: str | None, default: float) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        return default
