"""Ends private servers whose owner has died: a small process that holds a pipe, and acts when it breaks.

Whoever starts a server of their own ends it themselves; a killed process cannot. The watching process is this very file
run by its path, so it imports nothing but the standard library, and starts within milliseconds.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

_LOOKS = 20
_LOOK_SECONDS = 0.005


def hold(name: str, pid: int, mark: str, folder: Path | None = None) -> None:
    """Have a server end when this process does, however that comes about; a later one of the same name replaces it.

    Args:
        name: the server's, unique in this process.
        pid: of the server.
        mark: what stands in its command line and in no other: pids are used again.
        folder: is removed with it.
    """
    _watcher().tell([name, pid, mark, None if folder is None else str(folder)])


def release(name: str) -> None:
    """The server was ended by its owner, or is none of ours any more."""
    _watcher().tell([name])


def command_line(pid: int) -> str:
    """A process's command line, empty when it is gone or a zombie."""
    proc = Path("/proc")
    if (proc / "self").exists():
        # Linux shows none for a moment while a process becomes another program, as a server does when it is started.
        for _ in range(_LOOKS):
            try:
                line = (proc / str(pid) / "cmdline").read_bytes()
            except OSError:
                return ""
            if line:
                return line.replace(b"\0", b" ").decode(errors="replace")
            time.sleep(_LOOK_SECONDS)
        return ""
    found = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout


class _Watcher:
    """The watching process, as its owner sees it."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what ends the owner's group must not end it first
        )
        atexit.register(self._close)

    def tell(self, what: list[object]) -> None:
        """Hand over one line; a watcher that is gone is no reason to fail."""
        pipe = self._process.stdin
        assert pipe is not None
        with self._lock, contextlib.suppress(OSError, ValueError):
            pipe.write(json.dumps(what).encode() + b"\n")
            pipe.flush()

    def _close(self) -> None:
        if os.getpid() != self._owner:  # a fork of the owner: the watcher is not its own
            return
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError):
            pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)


@functools.cache
def _watcher() -> _Watcher:
    return _Watcher()


def _watch(lines: Iterable[str]) -> None:
    """Read what to watch until the pipe breaks; then end all that is left."""
    held: dict[str, list[object]] = {}
    for line in lines:
        name, *rest = json.loads(line)
        held.pop(name, None)
        if rest:
            held[name] = rest
    for pid, mark, folder in held.values():
        assert isinstance(pid, int)
        if str(mark) in command_line(pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if folder is not None:
            shutil.rmtree(str(folder), ignore_errors=True)


if __name__ == "__main__":
    _watch(sys.stdin)
