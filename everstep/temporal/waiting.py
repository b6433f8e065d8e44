"""How many runs wait for people, and how many requests they have open: gauges that each worker tells of its flows.

The server's index knows which runs wait, and is asked for all of them. What is open in a run only the run knows: few
are looked at each time, those first that were not for longest, and only one that has gone on since is asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client
from temporalio.service import RPCError

from everstep.errors import EverstepError
from everstep.temporal import names
from everstep.temporal.live import put_query
from everstep.temporal.metrics import WorkerMeters

EVERY = 30.0
"""How often, in seconds, a worker counts."""

LISTED = 1000
"""Of how many waiting runs of a flow it is known what is open in them; of others one request each is taken for it."""

LOOKED_AT = 20
"""How many runs of a flow are looked at each time."""

QUERY_SECONDS = 3.0


@dataclass(slots=True)
class _Known:
    """What a waiting run had open when it stood at a place of its history, and in which round it was looked at."""

    open: int = 1
    place: tuple[str, int] | None = None
    round: int = 0


class WaitingGauges:
    """Counts what the runs of some flows wait for.

    Args:
        client: connected to a server that knows the search attribute `EverstepWaiting`.
        meters: where the numbers go.
        flows: the names of the flows.
    """

    def __init__(self, client: Client, meters: WorkerMeters, flows: Collection[str]) -> None:
        self._client = client
        self._meters = meters
        self._known: dict[str, dict[str, _Known]] = {flow: {} for flow in flows}
        self._round = 0

    async def keep(self) -> None:
        """Count again and again, until cancelled."""
        while True:
            with contextlib.suppress(RPCError):  # it is asked again
                await self.count()
            await asyncio.sleep(EVERY)

    async def count(self) -> None:
        """Count once.

        Raises:
            RPCError: the server refuses, or is away.
        """
        self._round += 1
        for flow in self._known:
            labels = {"namespace": self._client.namespace, "flow": flow}
            query = f"WorkflowType = '{flow}' AND ExecutionStatus = 'Running' AND {names.WAITING} = true"
            runs = (await self._client.count_workflows(query)).count
            self._meters.waiting_runs.set(runs, labels)
            self._meters.open_requests.set(await self._open(flow, query, runs), labels)

    async def _open(self, flow: str, query: str, runs: int) -> int:
        """How many requests the runs of a flow have open."""
        before = self._known[flow]
        found = [each.id async for each in self._client.list_workflows(query, limit=LISTED)] if runs else []
        known = self._known[flow] = {run_id: before.get(run_id) or _Known() for run_id in found}
        turn = sorted(known, key=lambda run_id: known[run_id].round)[:LOOKED_AT]
        await asyncio.gather(*(self._look(run_id, known[run_id]) for run_id in turn))
        return sum(each.open for each in known.values()) + max(0, runs - len(known))

    async def _look(self, run_id: str, known: _Known) -> None:
        known.round = self._round
        with contextlib.suppress(RPCError, EverstepError):  # it has ended, or nobody can answer: it is asked again
            described = await self._client.get_workflow_handle(run_id).describe()
            place = (described.run_id, described.history_length)
            if place != known.place:
                told: dict[str, Any] = await put_query(self._client, run_id, names.PROGRESS, seconds=QUERY_SECONDS)
                # Those of runs below, which have a / in their ids, are counted there.
                known.open = sum("/" not in request for request in told["open_requests"])
                known.place = place
