"""A worker process that somebody looks after: its health, its log, its end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.conftest import ROOT, Shell, eventually

FLOWS = Path(__file__).parent / "careless.py"


class Watched:
    """A worker process with a health address; its log goes into a file."""

    def __init__(self, shell: Shell, queue: str, *arguments: str, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        self.file = shell.directory / f"{queue}.log"
        settings = {
            "EVERSTEP_FLOWS": f"{FLOWS}:Careless",
            "EVERSTEP_HEALTH_ADDRESS": f"127.0.0.1:{port}",
            "TEMPORAL_TASK_QUEUE": queue,
        }
        program, call = ROOT / "worker.py", {**shell.environment, **settings, **environment}
        with self.file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(program), *arguments], cwd=shell.directory, env=call, stderr=log
            )

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.file.read_text()

    def ask(self, path: str) -> tuple[int, Any]:
        """Status and body of an answer; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(self._url + path, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    def until(self, path: str, status: int, seconds: float = 40) -> Any:
        """The body of the first answer with this status."""
        return eventually(lambda: (asked := self.ask(path))[0] == status and asked[1], seconds)

    def end(self, seconds: float = 40) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(seconds)


@contextmanager
def a_worker(shell: Shell, *arguments: str, **environment: str) -> Iterator[Watched]:
    """A worker that is killed at the end of the block, if it still runs."""
    worker = Watched(shell, f"q-{uuid.uuid4().hex[:8]}", *arguments, **environment)
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.wait()
