"""`doctor`: what it looks at, what it says to do, and its exit codes; and steps that another worker has."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from everstep.cli.checks_worker import check_worker
from everstep.cli.exits import Exit
from everstep.cli.findings import Status
from everstep.temporal.devserver import DevServer
from tests.cli.conftest import Ended, Shell, eventually
from tests.cli.watched import a_worker
from tests.support.grpc_proxy import GrpcProxy

DRAWING = Path(__file__).parent / "drawing.py"


LAME = """
from everstep import Workflow, step
from everstep.events import Event, StartEvent, StopEvent

class Other(Event): ...

class Lame(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> StopEvent | Other: ...
"""


def findings(ended: Ended) -> dict[str, Any]:
    """What it found, by the name of the check."""
    return {one["check"]: one for one in ended.json["checks"]}


class Services(BaseHTTPRequestHandler):
    """A model server with one model, that embeds, and a vector store; each wants its key."""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._answer(self.headers["Authorization"] == "Bearer key-1", {"data": [{"id": "small"}]})
        elif self.path == "/collections":
            self._answer(self.headers["api-key"] == "key-2", {"result": {"collections": [{"name": "a"}]}})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(self.headers["Authorization"] == "Bearer key-1", {"data": [{"embedding": [0.0] * 3}]})

    def _answer(self, permitted: bool, body: Any) -> None:
        self.send_response(200 if permitted else 401)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def services() -> Iterator[str]:
    """Where they are."""
    with HTTPServer(("127.0.0.1", 0), Services) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_steps_of_another_queue_have_a_worker_of_their_own(shell: Shell) -> None:
    """A second process takes only the steps that name its queue; doctor sees who serves what, show what is missing."""
    queue, other = "drawing-runs", "drawing-gpu"
    settings = {"EVERSTEP_FLOWS": str(DRAWING), "DRAWING_GPU_QUEUE": other}
    with a_worker(shell, "--task-queue", queue, **settings) as main:
        assert main.until("/readyz", 200)["flows"] == ["Drawing"]
        run = shell.starter("run", "Drawing", "--task-queue", queue).json["run"]
        missing = eventually(lambda: shell.starter("show", run).json["obstacles"])[0]
        assert missing["text"] == f"step 'render' waits: no worker polls task queue '{other}'"
        with a_worker(shell, "--task-queue", other, "--steps-only", **settings) as gpu:
            gpu.until("/readyz", 200)
            result = shell.starter("result", run).json
            assert result == {"sketched": main.process.pid, "rendered": gpu.process.pid}
            (seen,) = eventually(
                lambda: (
                    (found := findings(shell.starter("doctor", "--task-queue", queue))["task queue"]["data"])
                    and found["workers"][0]["flows"]
                    and found["workers"]
                )
            )
            assert (seen["asks_for"], seen["flows"]) == (["runs", "steps"], ["Drawing"])
            steps = findings(shell.starter("doctor", "--task-queue", other))["task queue"]
            assert ([one["asks_for"] for one in steps["data"]["workers"]], steps["status"]) == ([["steps"]], "warning")
            within = findings(shell.starter("doctor", "--task-queue", other, EVERSTEP_STEPS_ONLY="true"))["task queue"]
            assert (within["status"], within["text"][:14]) == ("ok", "1 worker polls")


def test_all_that_runs_need_is_looked_at(shell: Shell, services: str) -> None:
    """Server, namespace, search attribute, workers, clock, models, vectors, folders; secrets are not shown."""
    ended = shell.starter(
        "doctor",
        OPENAI_BASE_URL=f"{services}/v1",
        OPENAI_API_KEY="key-1",
        EVERSTEP_MODEL="small",
        QDRANT_URL=services,
        QDRANT_API_KEY="key-2",
        EVERSTEP_FLOWS=str(DRAWING),
    )
    found = findings(ended)
    assert (ended.code, ended.json["ok"]) == (0, True), ended.out
    assert [name for name, one in found.items() if one["status"] != "ok"] == ["payloads"]  # not set to be encrypted
    assert "1 worker polls 'everstep'" in found["task queue"]["text"]
    (worker,) = found["task queue"]["data"]["workers"]
    assert re.fullmatch(r"\d+@.+-[0-9a-f]{6}", worker["identity"])  # tells workers in like containers apart
    assert found["embeddings"]["text"].endswith("3 numbers")
    assert ended.json["settings"]["OPENAI_API_KEY"] == "(hidden)"
    assert "key-" not in ended.out


def test_each_fault_comes_with_what_to_do(shell: Shell, services: str, tmp_path: Path) -> None:
    """Wrong keys, a server that is away, an unknown model, a folder that cannot be made, a flow that cannot work."""
    (tmp_path / "file").write_text("")
    (tmp_path / "lame.py").write_text(LAME)
    ended = shell.starter(
        "doctor",
        "--task-queue",
        "nobodys",
        OPENAI_BASE_URL=f"{services}/v1",
        OPENAI_API_KEY="wrong",
        QDRANT_URL="http://127.0.0.1:1",
        EVERSTEP_OUTBOX=str(tmp_path / "file" / "outbox"),
        EVERSTEP_FLOWS=str(tmp_path / "lame.py"),
        EVERSTEP_STEP_CONCURRENCY="Drawing.render",
    )
    found = findings(ended)
    assert (ended.code, ended.json["ok"]) == (2, False)
    assert "'Drawing.render' limits no step" in found["worker settings"]["text"]
    faults = {name: (one["status"], one["remedy"]) for name, one in found.items() if "remedy" in one}
    lame = found["flows"]["text"]
    assert f"{tmp_path}/lame.py:Lame cannot work. Flow Lame: Step 'begin' returns Other" in lame
    assert faults["model"] == ("failed", "Check OPENAI_API_KEY.")
    assert faults["vectors"] == ("failed", "Start it, or check QDRANT_URL.")
    assert faults["folders"][1].startswith("Set EVERSTEP_OUTBOX")
    assert faults["task queue"][0] == "warning"
    unknown = findings(shell.starter("doctor", OPENAI_BASE_URL=f"{services}/v1", OPENAI_API_KEY="key-1"))
    assert "it lists small" in unknown["model"]["remedy"]


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("EVERSTEP_HEALTH_ADDRESS", "8080", "is no host:port"),
        ("EVERSTEP_LOG_FORMAT", "xml", "text or json"),
        ("EVERSTEP_TARGET_CPU", "90", "EVERSTEP_TARGET_CPU"),
        ("TEMPORAL_DEPLOYMENT_NAME", "shop", "TEMPORAL_WORKER_BUILD_ID is not"),
    ],
)
async def test_what_a_worker_would_not_take_is_found(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, said: str
) -> None:
    """The settings of the worker itself, with the exit code that it would end with."""
    monkeypatch.setenv(setting, value)
    (found,) = await check_worker(os.environ)
    assert (found.status, found.code, said in found.text) == (Status.FAILED, Exit.USAGE, True), found.text


def test_the_exit_code_tells_how_far_one_comes(shell: Shell, plain_server: DevServer) -> None:
    """2: settings; 3: no server; 4: no such namespace. A server without the search attribute is a warning, and 0."""
    assert shell.starter("doctor", TEMPORAL_PROFILE="nobody's").code == 2
    away = shell.starter("doctor", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (away.code, findings(away)["server"]["text"].endswith("connection refused")) == (3, True)
    assert shell.starter("doctor", TEMPORAL_NAMESPACE="nowhere").code == 4
    plain = shell.starter("doctor", TEMPORAL_ADDRESS=plain_server.address)
    assert (plain.code, "search-attribute create" in findings(plain)["search attribute"]["remedy"]) == (0, True)
    assert (
        "→ temporal operator search-attribute create"
        in shell.starter("doctor", "-o", "table", TEMPORAL_ADDRESS=plain_server.address).out
    )


def test_a_worker_does_not_wait_for_what_waiting_does_not_mend(shell: Shell) -> None:
    """Credentials that are not accepted end it at once, by the name of their setting; its environment is shown."""
    with GrpcProxy(shell.environment["TEMPORAL_ADDRESS"]) as proxy:
        proxy.api_key = "key-1"
        access = {"TEMPORAL_ADDRESS": proxy.address, "TEMPORAL_API_KEY": "key-2", "TEMPORAL_TLS": "false"}
        worker = shell.call("worker.py", EVERSTEP_FLOWS=str(DRAWING), **access)
        assert (worker.code, "Check TEMPORAL_API_KEY" in worker.err) == (3, True), worker.err
        assert "WARNING" not in worker.err
        seen = findings(shell.starter("doctor", **{**access, "TEMPORAL_API_KEY": "key-1"}))
    assert "no TLS, API key" in seen["server"]["text"]
    assert "key-" not in worker.err


def test_a_run_of_a_flow_that_nobody_serves_says_so(shell: Shell) -> None:
    """It has started, and waits; on stderr stands that no worker there has it, and which flows they have."""
    ended = shell.starter("run", "Nope")
    assert ended.code == 0
    assert "no worker on task queue 'everstep' serves flow 'Nope'; what answered serves" in ended.err
    log = (shell.directory / "worker.log").read_text()
    assert "a run of flow Nope was given back: this worker serves" in log
    assert "Traceback" not in log.partition("flow Nope")[2].partition("\n")[2].partition("INFO")[0]
    shell.starter("cancel", ended.json["run"], "--terminate")
