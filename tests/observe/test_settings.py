"""Which settings mean what: where spans and metrics go, and whether contents go with them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from temporalio.runtime import OpenTelemetryConfig, PrometheusConfig

from everstep.errors import WorkflowConfigurationError
from everstep.observe.settings import EXPORT_DELAY_MS, TraceSettings
from everstep.temporal.metrics_settings import metrics_config
from tests.support.otlp_receiver import OtlpReceiver


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"PHOENIX_PROJECT_NAME": "p"},
        {"OTEL_SERVICE_NAME": "s"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nothing_is_traced_without_an_exporter(environment: dict[str, str]) -> None:
    """Only settings that name somewhere to send spans to switch them on."""
    assert TraceSettings.load(environment) is None


@pytest.mark.parametrize(
    ("environment", "exporters", "endpoint"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ("otlp_proto_http",), None),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, ("otlp_proto_http",), None),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            ("otlp_proto_grpc",),
            None,
        ),
        ({"OTEL_TRACES_EXPORTER": "console"}, ("console",), None),
        ({"OTEL_TRACES_EXPORTER": "otlp,console"}, ("otlp_proto_http", "console"), None),
        ({"PHOENIX_COLLECTOR_ENDPOINT": "http://h:6006"}, ("otlp_proto_http",), "http://h:6006/v1/traces"),
        ({"PHOENIX_COLLECTOR_ENDPOINT": "http://h/s/x/v1/traces"}, ("otlp_proto_http",), "http://h/s/x/v1/traces"),
        ({"PHOENIX_COLLECTOR_ENDPOINT": "http://h:4317"}, ("otlp_proto_grpc",), "http://h:4317"),
        (
            {"PHOENIX_COLLECTOR_ENDPOINT": "http://h", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"},
            ("otlp_proto_http",),
            None,
        ),
    ],
)
def test_where_spans_go(environment: dict[str, str], exporters: tuple[str, ...], endpoint: str | None) -> None:
    """By OpenTelemetry's names, or by Phoenix's."""
    settings = TraceSettings.load(environment)
    assert settings is not None
    assert (settings.exporters, settings.endpoint) == (exporters, endpoint)
    assert not settings.payloads
    assert settings.delay_ms == EXPORT_DELAY_MS


def test_what_phoenix_is_told() -> None:
    """Its key and headers, and the project's name."""
    settings = TraceSettings.load(
        {
            "PHOENIX_COLLECTOR_ENDPOINT": "http://h",
            "PHOENIX_API_KEY": "k",
            "PHOENIX_CLIENT_HEADERS": "X-Team=a%20b",
            "PHOENIX_PROJECT_NAME": "mine",
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
            "OTEL_BSP_SCHEDULE_DELAY": "1000",
        }
    )
    assert settings is not None
    assert settings.headers == {"authorization": "Bearer k", "x-team": "a b"}
    assert (settings.project, settings.payloads, settings.delay_ms) == ("mine", True, 1000)
    assert "Bearer" not in repr(settings)


def test_where_metrics_go() -> None:
    """Scraped or sent, by OpenTelemetry's names; none by themselves, and none to Phoenix, which takes none."""
    assert metrics_config({}) is None
    assert metrics_config({"PHOENIX_COLLECTOR_ENDPOINT": "http://h"}) is None
    assert metrics_config({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_METRICS_EXPORTER": "none"}) is None
    scraped = metrics_config({"OTEL_METRICS_EXPORTER": "prometheus"})
    assert isinstance(scraped, PrometheusConfig)
    assert scraped.bind_address == "127.0.0.1:9464"
    sent = metrics_config({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1/", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"})
    assert isinstance(sent, OpenTelemetryConfig)
    assert (sent.url, sent.headers, sent.http) == ("http://x:1/v1/metrics", {"a": "b"}, True)
    by_grpc = metrics_config({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert isinstance(by_grpc, OpenTelemetryConfig)
    assert (by_grpc.url, by_grpc.http) == ("http://localhost:4317", False)
    with pytest.raises(WorkflowConfigurationError, match="OTEL_METRICS_EXPORTER is 'statsd'"):
        metrics_config({"OTEL_METRICS_EXPORTER": "statsd"})


_UNTRACED = """
import asyncio, sys
from everstep import Workflow, step
from everstep.events import StartEvent, StopEvent
import everstep.temporal

class Hello(Workflow):
    @step
    async def greet(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result="hello")

async def main():
    assert await Hello().run() == "hello"

asyncio.run(main())
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""


def test_an_untraced_run_does_not_import_opentelemetry() -> None:
    """Without settings nothing is paid, not even an import; also where the Temporal driver is loaded."""
    done = subprocess.run([sys.executable, "-c", _UNTRACED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_wrong_setting_is_told_and_the_run_goes_on() -> None:
    """A worker does its work, whatever is wrong with its traces."""
    wrong = "import logging, os; logging.basicConfig(); os.environ['OTEL_TRACES_EXPORTER'] = 'pigeon'"
    code = f"{wrong}\n{_UNTRACED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "There is no exporter 'pigeon' for traces. Installed are: console" in done.stderr


_TRACED = """
import asyncio, logging, sys
from everstep import Workflow, step
from everstep.events import StartEvent, StopEvent
from everstep.observe import Document, RetrieverCall, RunLogFilter

logging.basicConfig(level=logging.INFO, handlers=[handler := logging.StreamHandler()])
handler.addFilter(RunLogFilter())

class Hello(Workflow):
    @step
    async def greet(self, ev: StartEvent) -> StopEvent:
        with RetrieverCall("search") as search:
            search.found([Document(str(number), 0.5, "hello", "a.md") for number in range(50)])
        return StopEvent(result="hello")

async def main():
    assert await Hello().run(run_id="hello-1") == "hello"

asyncio.run(main())
"""


def test_phoenix_settings_are_all_it_takes() -> None:
    """A program without a word about traces sends its spans, also those of its last moment, with key and project."""
    with OtlpReceiver() as collector:
        settings = {"PHOENIX_COLLECTOR_ENDPOINT": collector.url, "PHOENIX_API_KEY": "k", "PHOENIX_PROJECT_NAME": "mine"}
        env = {**os.environ, **settings, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
        subprocess.run([sys.executable, "-c", _TRACED], env=env, capture_output=True, timeout=60, check=True)
    assert [span.name for span in collector.spans] == ["search", "greet", "Hello"]
    search = collector.spans[0].attributes  # some 200: OpenTelemetry's default is 128, the last ones
    assert (search["openinference.span.kind"], search["retrieval.documents.49.document.id"]) == ("RETRIEVER", "49")
    assert collector.headers["authorization"] == "Bearer k"
    assert {span.resource["openinference.project.name"] for span in collector.spans} == {"mine"}


_OWN = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
"""


def test_a_provider_of_the_program_is_used() -> None:
    """Who has set OpenTelemetry up by code needs no settings."""
    code = f"{_OWN}{_TRACED}print([span.name for span in spans.get_finished_spans()])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "['search', 'greet', 'Hello']"
