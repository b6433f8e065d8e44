"""A worker as a process of its own, for tests that end it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from temporalio.client import Client

from everstep.temporal import Limits, serving

ROOT = Path(__file__).parents[2]
HEARTBEAT = 2.0
"""Seconds after which the tests' workers count as lost."""


class WorkerProcess:
    """Starts on entry, is killed on exit if it still runs.

    Args:
        address: of the Temporal server.
        queue: the task queue to poll.
        flows: import paths, ``module:Class``.
        grace: seconds that running steps have after SIGTERM.
        env: further environment variables; WORKER_CACHED_RUNS is how many runs it keeps in its cache.
    """

    def __init__(
        self, address: str, queue: str, *flows: str, grace: float = 10.0, env: dict[str, str] | None = None
    ) -> None:
        self._command = [sys.executable, "-m", "tests.support.worker_process", address, queue, str(grace), *flows]
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.running:
            self.kill()

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The id of the process."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, or start it again."""
        self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._env)

    def kill(self) -> None:
        """End it as the kernel would: SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Ask it to stop, as Kubernetes does: SIGTERM."""
        assert self._process is not None
        self._process.terminate()

    async def ended(self, within: float = 30.0) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, within)


async def _serve(address: str, queue: str, grace: float, paths: list[str]) -> None:
    client = await Client.connect(address)
    flows = [getattr(importlib.import_module(module), name) for module, name in (p.split(":") for p in paths)]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    limits = Limits(heartbeat_seconds=HEARTBEAT)
    cached = os.environ.get("WORKER_CACHED_RUNS")
    options: dict[str, Any] = {} if cached is None else {"max_cached_workflows": int(cached)}
    async with serving(client, flows, task_queue=queue, limits=limits, graceful_shutdown=grace, **options):
        await stop.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:]))
    sys.stdout.flush()
    os._exit(0)
