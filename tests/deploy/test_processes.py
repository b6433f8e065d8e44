"""The rendered pods as processes of this machine: their commands, their environments, their probes, their ends."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import ANY

import pytest
import temporalio.bridge
from temporalio.client import Client

from everstep.temporal import TemporalRuntime
from everstep.temporal.devserver import DevServer
from tests.support.manifests import ROOT, Json, of_kind, pod_templates, settings_of
from tests.support.shell import plain_environment

pytestmark = pytest.mark.slow


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Pod:
    """A pod of an overlay, with other values for the settings that name places of the cluster."""

    def __init__(self, overlay: str, name: str, **settings: str) -> None:
        template = dict(pod_templates(overlay))[name]
        self.spec: Json = template["spec"]
        (self.container,) = self.spec["containers"]
        self.ports = {port["name"]: free_port() for port in self.container["ports"]}
        own = {key: value for key, value in settings_of(overlay, template).items() if value is not None}
        self.environment = plain_environment(**{**own, **settings})

    def command(self) -> list[str]:
        """That of its container, at addresses of this machine."""
        program, *words = self.container["command"]
        places = {"0.0.0.0": "127.0.0.1"}
        places |= {str(port["containerPort"]): str(self.ports[port["name"]]) for port in self.container["ports"]}
        return [str(Path(sys.executable).parent / program), *(str(places.get(word, word)) for word in words)]

    @contextmanager
    def running(self, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Its container's command, as a process."""
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.command(), cwd=ROOT, env=self.environment, stdout=out, stderr=subprocess.STDOUT
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def get(self, path: str, port: str, body: bytes | None = None) -> tuple[int, str]:
        """Status and text of a page of the pod, or of what it says to a body; status 0 where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}{path}", body, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def succeeds(self, probe: str) -> bool:
        """Ask a probe, as the kubelet does, until it succeeds or has failed too often."""
        asked = self.container[probe]
        for _ in range(asked.get("failureThreshold", 3) * 10):
            status, _ = self.get(asked["httpGet"]["path"], asked["httpGet"]["port"])
            if 200 <= status < 400:
                return True
            time.sleep(asked["periodSeconds"] / 10)
        return False


def queries() -> str:
    """What the alerts and the scaling of the manifests ask Prometheus."""
    rules = [rule for one in of_kind("production", "PrometheusRule") for rule in one["spec"]["groups"][0]["rules"]]
    triggers = [one["spec"]["triggers"][1] for one in of_kind("production", "ScaledObject")]
    return "\n".join([rule["expr"] for rule in rules] + [trigger["metadata"]["query"] for trigger in triggers])


async def test_the_rendered_worker_runs(dev_server: DevServer, client: Client, tmp_path: Path) -> None:
    """It passes its probes, runs a flow, tells the metrics that alerts need, and ends in its grace period."""
    health, metrics = free_port(), free_port()
    pod = Pod(
        "dev",
        "everstep-worker-general",
        TEMPORAL_ADDRESS=dev_server.address,
        TEMPORAL_TASK_QUEUE=f"q-{uuid.uuid4().hex[:8]}",
        EVERSTEP_HEALTH_ADDRESS=f"127.0.0.1:{health}",
        OTEL_EXPORTER_PROMETHEUS_HOST="127.0.0.1",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(metrics),
        EVERSTEP_FLOWS="workflows/approval.py",
        EVERSTEP_LEDGER=str(tmp_path / "ledger.db"),
    )
    pod.ports = {"health": health, "metrics": metrics}
    log = tmp_path / "log"
    with pod.running(log) as process:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert await asyncio.to_thread(pod.succeeds, probe), f"{probe}: {log.read_text()}"
        runtime = TemporalRuntime(client, task_queue=pod.environment["TEMPORAL_TASK_QUEUE"])
        order = {"order_id": "A-1001", "amount_cents": 1200, "reason": "broken", "customer": "Ann"}
        handler = await runtime.start_flow("RefundFlow", order)
        assert (await handler)["status"] == "paid"
        _, scraped = await asyncio.to_thread(pod.get, "/metrics", "metrics")
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        code = await asyncio.to_thread(process.wait, pod.spec["terminationGracePeriodSeconds"])
        assert code == 0, log.read_text()
        assert time.monotonic() - began < float(pod.environment["EVERSTEP_GRACEFUL_SHUTDOWN"])
    told = set(re.findall(r"^([a-z_]+)", scraped, re.MULTILINE))
    # Some are told once something has failed: the SDK at least knows them.
    (bridge,) = Path(temporalio.bridge.__path__[0]).glob("temporal_sdk_bridge*.so")
    for name in set(re.findall(r"\b(?:everstep|temporal)_[a-z_]+\b", queries())) - told:
        assert name.startswith("temporal_"), name
        assert name.removeprefix("temporal_").removesuffix("_total").encode() in bridge.read_bytes(), name
    for label, pattern in re.findall(r'(operation|worker_type|outcome|namespace)=~?"([^"]+)"', queries()):
        values = re.findall(rf'{label}="([^"]+)"', scraped)
        assert pattern == "failed" or any(re.fullmatch(pattern, value) for value in values), (label, pattern)


async def test_the_rendered_codec_server_runs(tmp_path: Path) -> None:
    """It passes its probes, its key ring in a file as a Secret gives it, and decodes for nobody without token."""
    ring = tmp_path / "keys.json"
    everstep = str(Path(sys.executable).parent / "everstep")
    await asyncio.to_thread(subprocess.run, [everstep, "keys", "new", str(ring)], check=True, capture_output=True)
    ring.chmod(0o440)
    pod = Pod("production", "everstep-codec", EVERSTEP_ENCRYPTION_KEYS=str(ring), EVERSTEP_CODEC_TOKEN="secret")
    log = tmp_path / "log"
    with pod.running(log) as process:
        for probe in ("readinessProbe", "livenessProbe"):
            assert await asyncio.to_thread(pod.succeeds, probe), f"{probe}: {log.read_text()}"
        assert await asyncio.to_thread(pod.get, "/decode", "http", b'{"payloads": []}') == (401, ANY)
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, pod.spec["terminationGracePeriodSeconds"])
    assert "https://temporal.example.com" in log.read_text()
