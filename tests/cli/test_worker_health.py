"""worker.py under somebody's care: its settings, /livez and /readyz, its log as JSON, its end when it cannot go on."""

from __future__ import annotations

import json
import signal
import time

import pytest

from everstep.temporal.devserver import DevServer
from tests.cli.conftest import Shell, eventually
from tests.cli.watched import FLOWS, a_worker

pytestmark = pytest.mark.slow


def test_ready_is_what_the_server_sees(shell: Shell) -> None:
    """/readyz: not while the server is away, nor while it drains; /livez all the while. Set by environment."""
    with DevServer.private() as server:
        settings = {
            "EVERSTEP_STEP_CONCURRENCY": "Careless.act=3",
            "EVERSTEP_MAX_CONCURRENT_STEPS": "7",
            "EVERSTEP_MAX_STEPS_PER_SECOND": "50",
            "EVERSTEP_QUEUE_STEPS_PER_SECOND": "90",
            "EVERSTEP_LOG_FORMAT": "json",
            "TEMPORAL_API_KEY": "very-secret",
            "TEMPORAL_TLS": "false",
            "OPENAI_BASE_URL": "http://user:pass@models/v1?token=secret",
        }
        with a_worker(shell, TEMPORAL_ADDRESS=server.address, **settings) as worker:
            ready = worker.until("/readyz", 200)
            assert (ready["flows"], ready["reasons"], ready["stage"]) == (["Careless"], [], "serving")
            server.kill()
            assert "does not answer" in worker.until("/readyz", 503)["reasons"][0]
            assert worker.ask("/livez")[0] == 200
            server.restart()
            worker.until("/readyz", 200)
            assert worker.ask("/healthz")[0] == 404
            run = shell.starter(
                *("run", "Careless", "how=sleep", "--task-queue", ready["task_queue"]), TEMPORAL_ADDRESS=server.address
            ).json["run"]
            eventually(lambda: "sleeping" in worker.log)
            worker.process.send_signal(signal.SIGTERM)
            assert worker.until("/readyz", 503)["reasons"] == ["the worker is draining"]
            assert worker.ask("/livez")[0] == 200
            assert worker.end() == 0
            lines = [json.loads(line) for line in worker.log.splitlines()]
    said = " ".join(line["message"] for line in lines)
    assert "up to 7 steps at a time, Careless.act at most 3, 50 steps per second, 90 per second over its" in said
    assert "TEMPORAL_API_KEY=(hidden)" in said
    assert "secret" not in worker.log
    assert "pass@" not in worker.log
    (told,) = [line for line in lines if line["logger"] == "careless"]
    assert {key: told[key] for key in ("level", "message", "flow", "step", "invocation", "attempt")} == {
        "level": "warning",
        "message": "sleeping",
        "flow": "Careless",
        "step": "act",
        "invocation": 1,
        "attempt": 1,
    }
    assert told["run"] == run


def test_careless_steps(shell: Shell) -> None:
    """What a step does to the loop of all steps: what can be survived is, with a word; what cannot ends the worker.

    An async step that blocks is logged with its name and stack, and fails /livez past the bound only. sys.exit in a
    stray task and a loop that was stopped harm no other step. A broken loop ends the process with 1; the run goes on.
    """
    with a_worker(shell, "--liveness-bound", "3", EVERSTEP_LOG_FORMAT="json") as worker:
        queue = worker.until("/readyz", 200)["task_queue"]
        start = ("run", "Careless", "--task-queue", queue)
        for how in ("exit", "stop"):
            ended = shell.starter(*start, f"how={how}", "--follow")
            assert ended.code == 0, worker.log
        shell.starter(*start, "how=block")
        (reason,) = worker.until("/livez", 503)["reasons"]
        assert reason.startswith("the steps' loop has not answered for")
        assert "Careless.act holds it" in worker.log
        assert "time.sleep(5)" in worker.log
        worker.until("/livez", 200)
        eventually(lambda: "answers again" in worker.log)
        run = shell.starter(*start, "how=break").json["run"]
        assert worker.end() == 1
        assert "the event loop of the steps has died" in json.loads(worker.log.splitlines()[-1])["message"]
    assert shell.starter("show", run).json["status"] == "running"
    shell.starter("cancel", run, "--terminate")


def test_a_worker_that_hangs_in_its_end_is_ended(shell: Shell) -> None:
    """What swallows every cancellation has its grace and the overtime; then the process is gone all the same."""
    with a_worker(shell, EVERSTEP_GRACEFUL_SHUTDOWN="0.5") as worker:
        queue = worker.until("/readyz", 200)["task_queue"]
        run = shell.starter("run", "Careless", "how=deaf", "--task-queue", queue).json["run"]
        eventually(lambda: "deaf" in worker.log)
        began = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        worker.end(40)
        assert time.monotonic() - began < 25
    shell.starter("cancel", run, "--terminate")


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("EVERSTEP_STEP_CONCURRENCY", "Careless.act", "write Flow.step=4"),
        ("EVERSTEP_STEP_CONCURRENCY", "Careless.dance=2", "one of Careless.act"),
        ("EVERSTEP_HEALTH_ADDRESS", "8080", "is no host:port"),
        ("EVERSTEP_LOG_FORMAT", "xml", "text or json"),
        ("EVERSTEP_TARGET_CPU", "90", "--target-cpu"),
    ],
)
def test_settings_that_make_no_sense_are_named(shell: Shell, setting: str, value: str, said: str) -> None:
    """Exit code 2, before it polls anything."""
    ended = shell.call("worker.py", "--flows", f"{FLOWS}:Careless", **{setting: value})
    assert (ended.code, said in ended.err) == (2, True), ended.err
