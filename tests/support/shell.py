"""A shell that documentation is typed into: one bash process, one command after another, as a reader would."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Self

_END = "--end-of-command"
SETTING = re.compile(r"(TEMPORAL|EVERSTEP|OPENAI|QDRANT)_[A-Z_]*[A-Z]")
"""The names of settings that documentation speaks of."""


def plain_environment(**more: str) -> dict[str, str]:
    """That of a user who has set nothing, with the commands of this environment at hand."""
    kept = {name: value for name, value in os.environ.items() if not SETTING.fullmatch(name)}
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": commands, **more}


@dataclass(frozen=True, slots=True)
class Ran:
    """A command's exit code and what it wrote to stdout."""

    code: int
    output: str


class Shell:
    """Starts on entry; on exit it and all that it started in the background is killed.

    Args:
        directory: where commands run. What they write to stderr is in its file `stderr.log`.
        env: the whole environment.
    """

    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        self._directory = directory
        self._env = env
        self._lines: Queue[str] = Queue()

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["bash"],
                cwd=self._directory,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._reader.join()

    def run(self, command: str, *, patience: float = 60.0) -> Ran:
        """Type a command and wait for its end, at most `patience` seconds; with `&` at its end it goes on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\nprintf '\\n{_END} %s\\n' $?\n")
        self._process.stdin.flush()
        deadline = time.monotonic() + patience
        lines: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"no end after {patience:g} s: {command}\n{self._told()}") from None
            if line.startswith(_END):
                return Ran(int(line.split()[1]), "".join(lines).removesuffix("\n"))
            lines.append(line)

    def json(self, command: str, *, until: Callable[[Any], object] = bool, patience: float = 60.0) -> Any:
        """What a command prints as JSON; typed again and again until it is as wanted."""
        deadline = time.monotonic() + patience
        while True:
            ran = self.run(command, patience=patience)
            assert ran.code == 0, f"{command} ended with {ran.code}\n{ran.output}\n{self._told()}"
            value = json.loads(ran.output)
            if until(value):
                return value
            assert time.monotonic() < deadline, f"{command} went on to give {ran.output}\n{self._told()}"
            time.sleep(0.2)

    @property
    def _log(self) -> Path:
        return self._directory / "stderr.log"

    def _told(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.put(line)
        self._lines.put(f"{_END} 1\n")
