"""What a worker counts, as Prometheus scrapes it: beside Temporal's own metrics, from one endpoint."""

from __future__ import annotations

import asyncio
import re
import socket
import urllib.request
from collections.abc import Iterator

import pytest
from temporalio.client import Client
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from everstep import Context, Workflow, step
from everstep.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.observe import LlmCall
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from everstep.temporal import TemporalRuntime, serving
from everstep.temporal.devserver import DevServer
from everstep.temporal.metrics import WorkerMeters, meter_of
from everstep.temporal.metrics_settings import metrics_config
from everstep.temporal.telemetry import Telemetry
from everstep.temporal.waiting import WaitingGauges
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.waiting import until

EXPORTED = {
    f"everstep_{name}"
    for name in (
        "runs_started", "runs", "steps", "step_attempts", "step_seconds", "queue_seconds", "requests",
        "request_seconds", "waiting_runs", "open_requests", "tokens",
    )
}  # fmt: skip


class Answer(HumanResponseEvent):
    text: str


class Question(InputRequiredEvent):
    response_event = Answer


class Counted(Workflow):
    """Fails once, calls a model, asks a person."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2)))
    async def work(self, ctx: Context, ev: StartEvent) -> Question:
        if ctx.retry_info().retry_number == 0:
            raise ValueError("once")
        with LlmCall("some-model") as call:
            call.answered("hello", prompt_tokens=7, completion_tokens=3)
        return Question()

    @step
    async def finish(self, ev: Answer) -> StopEvent:
        return StopEvent(result=ev.text)


class AsksTwice(Workflow):
    """Needs two answers."""

    @step
    async def begin(self, ev: StartEvent) -> list[Question]:
        return [Question(), Question()]

    @step
    async def finish(self, evs: list[Answer]) -> StopEvent:
        return StopEvent()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_worker_counts_runs_steps_requests_and_tokens(dev_server: DevServer, task_queue: str) -> None:
    """Runs by status, steps and attempts by outcome, latencies, queue waits, requests, waiting runs, tokens."""
    environment = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": str(_free_port())}
    metrics = metrics_config(environment)
    assert isinstance(metrics, PrometheusConfig)
    client = await Client.connect(dev_server.address, runtime=Runtime(telemetry=TelemetryConfig(metrics=metrics)))
    async with serving(client, [Counted], task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Counted")
        await until(handler.requests)
        await handler.respond({"text": "yes"})
        assert await handler == "yes"
        scraped = await asyncio.to_thread(_scrape, metrics.bind_address)
    assert scraped["everstep_runs_started_total flow=Counted"] == 1
    assert scraped["everstep_runs_total flow=Counted status=completed"] == 1
    assert scraped["everstep_steps_total flow=Counted outcome=succeeded step=work"] == 1
    assert scraped["everstep_step_attempts_total flow=Counted outcome=failed step=work"] == 1
    assert scraped["everstep_step_attempts_total flow=Counted outcome=succeeded step=work"] == 1
    assert scraped["everstep_step_seconds_count flow=Counted step=work"] == 2
    assert scraped["everstep_queue_seconds_count flow=Counted for=slot step=work"] == 1
    assert scraped["everstep_queue_seconds_count flow=Counted for=worker step=finish"] == 1
    assert scraped["everstep_requests_total flow=Counted status=opened"] == 1
    assert scraped["everstep_requests_total flow=Counted status=answered"] == 1
    assert scraped["everstep_tokens_total kind=prompt model=some-model"] == 7
    assert scraped["everstep_tokens_total kind=completion model=some-model"] == 3
    assert "everstep_waiting_runs flow=Counted namespace=default" in scraped
    assert any(name.startswith("temporal_") for name in scraped)


async def test_what_people_have_not_answered_is_counted(dev_server: DevServer, task_queue: str) -> None:
    """Requests that are open and runs that wait, by flow; what is open when a run ends is counted as closed."""
    metrics = metrics_config(
        {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": str(_free_port())}
    )
    assert isinstance(metrics, PrometheusConfig)
    client = await Client.connect(dev_server.address, runtime=Runtime(telemetry=TelemetryConfig(metrics=metrics)))
    meter = meter_of(client)
    assert meter is not None
    gauges = WaitingGauges(client, WorkerMeters(meter), ["AsksTwice"])

    async def scraped() -> dict[str, float]:
        return await asyncio.to_thread(_scrape, metrics.bind_address)

    async def are(waiting: int, unanswered: int) -> None:
        async def seen() -> bool:
            await gauges.count()
            told, labels = await scraped(), "flow=AsksTwice namespace=default"
            return (told[f"everstep_waiting_runs {labels}"], told[f"everstep_open_requests {labels}"]) == (
                waiting,
                unanswered,
            )

        await until(seen)

    async with serving(client, [AsksTwice], task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("AsksTwice")
        await are(1, 2)
        await handler.respond({"text": "yes"}, request="begin-1")
        await are(1, 1)
        await handler.cancel_run()
        await are(0, 0)
        told = await scraped()
    for status, number in (("opened", 2), ("answered", 1), ("closed", 1)):
        assert told[f"everstep_requests_total flow=AsksTwice status={status}"] == number
    assert told["everstep_request_seconds_count flow=AsksTwice"] == 2


async def test_what_was_given_up_and_still_runs_is_counted(dev_server: DevServer) -> None:
    """By flow and step."""
    metrics = metrics_config(
        {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": str(_free_port())}
    )
    assert isinstance(metrics, PrometheusConfig)
    telemetry = Telemetry()
    telemetry.measure(
        await Client.connect(dev_server.address, runtime=Runtime(telemetry=TelemetryConfig(metrics=metrics)))
    )
    telemetry.left("Hangs.hang", 2)
    scraped = await asyncio.to_thread(_scrape, metrics.bind_address)
    assert scraped["everstep_left_threads flow=Hangs step=hang"] == 2


@pytest.fixture(scope="session")
def collector() -> Iterator[OtlpReceiver]:
    """A collector for the session: what exports metrics goes on doing so to the end of the process."""
    with OtlpReceiver() as running:
        yield running


async def test_they_go_to_a_collector_too(collector: OtlpReceiver, dev_server: DevServer, task_queue: str) -> None:
    """All of them, over OTLP, beside Temporal's own."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRIC_EXPORT_INTERVAL": "300"}
    metrics = metrics_config(environment)
    assert metrics is not None
    client = await Client.connect(dev_server.address, runtime=Runtime(telemetry=TelemetryConfig(metrics=metrics)))
    async with serving(client, [Counted], task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Counted")
        await until(handler.requests)
        await handler.respond({"text": "yes"})
        assert await handler == "yes"

        async def all_told() -> bool:
            return {name.removesuffix("_total") for name in collector.metrics} >= EXPORTED

        await until(all_told)
    assert any(name.startswith("temporal_") for name in collector.metrics)


def _scrape(address: str) -> dict[str, float]:
    """What is exported: name and labels in order, without those that the SDK adds to all."""
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        text: str = answer.read().decode()
    found: dict[str, float] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? (\S+)", line)
        if match is not None:
            labels = sorted(f"{key}={value}" for key, value in re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            kept = [label for label in labels if not label.startswith("service_name=")]
            found[" ".join([match[1], *kept])] = float(match[3])
    return found
