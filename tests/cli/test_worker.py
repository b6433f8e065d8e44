"""worker.py as a process: what it says, how it stops, what it refuses."""

import signal
import time
import uuid
from pathlib import Path

import pytest

from everstep.temporal.devserver import DevServer
from tests.cli.conftest import ROOT, SHOP, Shell, read_until

pytestmark = pytest.mark.slow

FLOW = """
from everstep import Workflow, step
from everstep.events import StartEvent, StopEvent

class {name}(Workflow):
    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result={value!r})
"""


def project(directory: Path, **flows: str) -> Path:
    """A project directory with a worker.py and workflows/FILE.py for each FILE=Flow."""
    (directory / "workflows").mkdir(parents=True)
    (directory / "worker.py").write_text((ROOT / "worker.py").read_text())
    for file, name in flows.items():
        (directory / "workflows" / f"{file}.py").write_text(FLOW.format(name=name, value=file))
    return directory / "worker.py"


def test_it_says_what_it_serves_and_lets_running_steps_end(shell: Shell) -> None:
    """The start names flows, address and queue; SIGTERM lets the running step end, and the exit code is 0."""
    queue, run = f"q-{uuid.uuid4().hex[:6]}", f"run-{uuid.uuid4().hex[:6]}"
    worker = shell.begin("worker.py", "--flows", f"{SHOP}:Slow", "--task-queue", queue)
    said = read_until(worker, "steps at a time")
    assert "serves Slow" in said
    assert f"{queue!r} at {shell.environment['TEMPORAL_ADDRESS']}" in said
    assert "everstep 0" in said
    shell.starter("run", "Slow", "seconds=4", "--task-queue", queue, "--id", run)
    time.sleep(0.5)
    worker.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=30)
    assert worker.returncode == 0, err
    assert "has stopped" in err
    # The step ended: what is left is the run's last workflow task, for the next worker.
    assert shell.starter("show", run).json["steps"] == [{"step": "sleep", "running": 0, "done": 1, "failed": 0}]
    shell.starter("cancel", run)


def test_a_second_signal_ends_it_at_once(shell: Shell) -> None:
    """Who cannot wait for running steps sends the signal again."""
    queue = f"q-{uuid.uuid4().hex[:6]}"
    worker = shell.begin("worker.py", "--flows", f"{SHOP}:Slow", "--task-queue", queue, "--graceful-shutdown", "60")
    read_until(worker, "steps at a time")
    run = shell.starter("run", "Slow", "seconds=60", "--task-queue", queue).json["run"]
    time.sleep(0.5)
    worker.send_signal(signal.SIGTERM)
    read_until(worker, "received SIGTERM")
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=5)
    assert worker.returncode == 128 + signal.SIGTERM
    shell.starter("cancel", run)


def test_it_waits_for_a_server_that_is_not_there_yet_but_not_for_ever(shell: Shell) -> None:
    """One clear warning, then exit code 3 when the patience is over."""
    ended = shell.call("worker.py", "--flows", str(SHOP), "--wait-for-server", "1.5", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert ended.code == 3
    assert ended.err.count("WARNING") == 1
    assert "127.0.0.1:1" in ended.err


def test_it_serves_the_files_of_workflows_or_those_named(shell: Shell, tmp_path: Path) -> None:
    """`workflows/` needs no __init__.py; without arguments all its flows are served, with names those."""
    program = str(project(tmp_path, one="One", two="Two"))
    queue = f"q-{uuid.uuid4().hex[:6]}"
    worker = shell.begin(program, "One", "--task-queue", queue)
    said = read_until(worker, "steps at a time")
    worker.kill()
    worker.communicate()
    assert "One (workflows/one.py:One)" in said
    assert "Two" not in said
    unknown = shell.call(program, "Three")
    assert unknown.code == 4
    assert "One, Two" in unknown.err


def test_two_flows_of_one_name_are_refused(shell: Shell, tmp_path: Path) -> None:
    """The name is the workflow type, so the worker names both places and does not start."""
    ended = shell.call(str(project(tmp_path, one="Same", two="Same")))
    assert ended.code == 2
    assert "workflows/one.py:Same" in ended.err
    assert "workflows/two.py:Same" in ended.err


def test_a_dev_server_is_started_found_and_stopped(server: DevServer, tmp_path: Path) -> None:
    """`everstep dev` starts it once; --status finds it; programs here use it without settings; --stop ends it."""
    shell = Shell("", tmp_path)
    del shell.environment["TEMPORAL_ADDRESS"]
    try:
        first, second = shell.call("everstep", "dev").json, shell.call("everstep", "dev", "--status").json
        assert (first["started"], second["started"]) == (True, False)
        assert first["address"] == second["address"]
        assert shell.starter("list").json == {"runs": []}
    finally:
        assert shell.call("everstep", "dev", "--stop").json == {"running": False, "stopped": True}
    assert shell.call("everstep", "dev", "--status").code == 3


def test_a_place_without_flows_is_named_for_what_it_is(shell: Shell, tmp_path: Path) -> None:
    """A missing file, a folder, a file without flows, a missing module, an empty project: each in its own words."""
    (tmp_path / "bare.py").write_text("x = 1\n")
    for place, said in (
        ("nope.py", "There is no file"),
        (f"{tmp_path}/", "is a folder"),
        (str(tmp_path / "bare.py"), "defines no flow"),
        ("no_such.module", "There is no module 'no_such.module'"),
    ):
        ended = shell.call("worker.py", "--flows", place)
        assert (ended.code, said in ended.err) == (4, True), ended.err
    assert "is no folder" in shell.call(str(project(tmp_path / "empty").rename(tmp_path / "worker.py"))).err


def test_a_namespace_that_is_not_there_is_named(shell: Shell) -> None:
    """Worker and starter say which setting to check."""
    worker = shell.call("worker.py", "--flows", str(SHOP), TEMPORAL_NAMESPACE="nowhere")
    assert (worker.code, "'nowhere'" in worker.err, "TEMPORAL_NAMESPACE" in worker.err) == (4, True, True)
    listed = shell.starter("list", TEMPORAL_NAMESPACE="nowhere")
    assert "TEMPORAL_NAMESPACE" in listed.err
    assert ".." not in listed.err


def test_half_a_version_of_a_deployment_is_refused(shell: Shell) -> None:
    """Before anything is asked of a server: it would take work that is not its own."""
    half = {"TEMPORAL_DEPLOYMENT_NAME": "shop", "TEMPORAL_ADDRESS": "127.0.0.1:1"}
    ended = shell.call("worker.py", "--flows", str(SHOP), **half)
    assert (ended.code, "TEMPORAL_WORKER_BUILD_ID is not" in ended.err) == (2, True), ended.err
