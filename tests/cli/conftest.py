"""One dev server and one worker process for all tests of the command line, and calling its programs."""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from everstep.temporal.devserver import DevServer

ROOT = Path(__file__).parents[2]
SHOP = Path(__file__).parent / "shop.py"


@dataclass(frozen=True)
class Ended:
    """What a program printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as one JSON value."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Its output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Calls the programs in one directory, against one server."""

    def __init__(self, address: str, directory: Path) -> None:
        self.directory = directory
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("TEMPORAL_", "EVERSTEP_"))}
        self.environment = {**clean, "TEMPORAL_ADDRESS": address, "USER": "ann", "LOGNAME": "ann", "COLUMNS": "200"}

    def begin(self, program: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a program: `starter.py`, `worker.py`, or `everstep`."""
        call = [str(ROOT / program)] if program.endswith(".py") else ["-c", "from everstep.cli import main; main()"]
        return subprocess.Popen(
            [sys.executable, *call, *arguments],
            cwd=self.directory,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, program: str, *arguments: str, **environment: str) -> Ended:
        """Run a program to its end, in a process forked from one that has imported it."""
        out, err = self.directory / "out.txt", self.directory / "err.txt"
        call = {
            "program": str(ROOT / program),
            "arguments": arguments,
            "cwd": str(self.directory),
            "env": {**self.environment, **environment},
            "out": str(out),
            "err": str(err),
        }
        forker = _forker()
        assert forker.stdin is not None
        assert forker.stdout is not None
        forker.stdin.write(json.dumps(call) + "\n")
        forker.stdin.flush()
        code = int(forker.stdout.readline())
        return Ended(code, out.read_text(), err.read_text())

    def starter(self, *arguments: str, **environment: str) -> Ended:
        """Run a command of `starter.py`."""
        return self.call("starter.py", *arguments, **environment)


@functools.cache
def _forker() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cli.forker"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="session", autouse=True)
def forker() -> Iterator[None]:
    """Ends the process that forks for calls."""
    yield
    if _forker.cache_info().currsize:
        with _forker() as process:
            assert process.stdin is not None
            process.stdin.close()
        _forker.cache_clear()


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    """What a program writes to stderr, up to the line with this text."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came: {seen}")


def eventually(check: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true value of `check`."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.1)
    return value


@pytest.fixture(scope="session")
def server() -> Iterator[DevServer]:
    """A Temporal server for the tests of this directory."""
    with DevServer.private() as running:
        yield running


@pytest.fixture(scope="session")
def shell(server: DevServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The programs, with a worker process that serves the flows of shop.py."""
    shell = Shell(server.address, tmp_path_factory.mktemp("project"))
    log = (shell.directory / "worker.log").open("w+")
    call = [sys.executable, str(ROOT / "worker.py"), "--flows", str(SHOP)]
    with subprocess.Popen(call, cwd=shell.directory, env=shell.environment, stderr=log) as worker:
        try:
            eventually(lambda: "polls task queue" in (shell.directory / "worker.log").read_text(), 60)
            yield shell
        finally:
            worker.kill()
            log.close()
