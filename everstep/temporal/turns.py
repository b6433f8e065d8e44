"""`num_concurrent_runs` on Temporal: the runs that one flow instance begins in this process wait for their turn here.

Those that others begin are not counted: to bound runs over processes, bound their workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError


class Turns:
    """A number of places; a run has one from its start to its end.

    Args:
        client: connected to the server that has the runs.
        places: how many runs go on at a time.
    """

    def __init__(self, client: Client, places: int) -> None:
        self._client = client
        self._free = asyncio.Semaphore(places)
        self._following: set[asyncio.Task[None]] = set()

    async def begin(self, run_id: str, start: Awaitable[None]) -> None:
        """Carry out `start` when it is the run's turn, and keep its place until it has ended."""
        await self._free.acquire()
        try:
            await start
        except BaseException:
            self._free.release()
            raise
        task = asyncio.ensure_future(self._follow(run_id))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _follow(self, run_id: str) -> None:
        try:
            with suppress(WorkflowFailureError, RPCError):  # whoever awaits the run is told
                await self._client.get_workflow_handle(run_id).result()
        finally:
            self._free.release()
