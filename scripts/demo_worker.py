"""The demo's worker: `worker.py` as a process that begins and ends with the demo, however the demo ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import IO, TypeVar

from everstep.cli.exits import CommandError, Exit
from everstep.temporal.settings import ConnectionSettings

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
STATE = Path(os.environ.get("EVERSTEP_DEMO_STATE") or ROOT / ".everstep")


@contextlib.asynccontextmanager
async def worker(settings: ConnectionSettings, queue: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """The worker as a process within the block; told to stop at its end, and made to if it does not."""
    env = {"EVERSTEP_VECTORS": str(STATE / "demo-vectors"), **os.environ}
    if settings.source != "settings":
        env["TEMPORAL_ADDRESS"] = settings.address
    command = [sys.executable, "worker.py", "IndexFlow", "RagFlow", "--task-queue", queue]
    worker_log().parent.mkdir(parents=True, exist_ok=True)
    with worker_log().open("wb") as log:
        starting = asyncio.ensure_future(asyncio.to_thread(started, command, env, log))
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await stopped(await starting)
            raise
    try:
        yield process
    finally:
        await stopped(process)


async def stopped(process: subprocess.Popen[bytes]) -> None:
    """Tell a process to stop; make it, where that takes too long or a second signal comes."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(15):
                await asyncio.to_thread(process.wait)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def started(command: Sequence[str], env: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """The process; in a session of its own, as Ctrl-C is ours to handle: the worker is told to stop at the end."""
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)


def worker_log() -> Path:
    """Where the worker of a demo writes what it has to say."""
    return STATE / "demo-worker.log"


async def alongside(process: subprocess.Popen[bytes], work: Awaitable[T]) -> T:
    """Do the work, unless the worker ends before it is done."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=0.5)
            if process.poll() is not None and not task.done():
                last = worker_log().read_text(errors="replace").strip().splitlines()[-5:]
                raise CommandError(
                    f"The worker ended with exit code {process.returncode}:\n" + "\n".join(last), Exit.FAILED
                )
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    return task.result()


def end_on_signals(told: list[signal.Signals]) -> None:
    """Cancel the demo when it is told to end, so that its worker ends with it: Ctrl-C, SIGTERM, a closed terminal."""
    demo = asyncio.current_task()
    assert demo is not None

    def end(number: signal.Signals) -> None:
        told.append(number)
        demo.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
