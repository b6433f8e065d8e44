"""The time-skipping test server as a process: started for a test session, ended with it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator

from everstep.temporal.serverprocess import HOST, find_test_server_binary, free_port


@contextlib.contextmanager
def time_skipping_server(patience: float = 20.0) -> Iterator[str]:
    """Run one within the block; gives its address once it serves. Its time stands until it is unlocked."""
    port = free_port()
    process = subprocess.Popen(
        [str(find_test_server_binary()), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process, patience)
        yield f"{HOST}:{port}"
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, "the time-skipping server ended while it started"
            assert time.monotonic() < deadline, "the time-skipping server does not answer"
            time.sleep(0.02)
