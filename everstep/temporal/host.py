"""Where user code runs in a worker: an event loop in a thread of its own for async steps, threads for sync ones.

The worker's own loop, which polls and heartbeats, never runs user code; a step that blocks loses nobody's heartbeat.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class StepHost:
    """One per worker process. Start it before the worker polls, close it after the worker has stopped.

    Args:
        threads: how many sync steps may run at one time; one that was given up keeps its thread until it returns.
    """

    def __init__(self, threads: int) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="everstep-step")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="everstep-steps", daemon=True)

    def start(self) -> None:
        """Start the loop's thread; once."""
        if not self._thread.is_alive():
            self._thread.start()

    def close(self) -> None:
        """Stop the loop; threads of sync steps that do not return are left behind."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5)
        self.executor.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the steps' loop, from another loop; cancelling this cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
