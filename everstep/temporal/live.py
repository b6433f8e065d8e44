"""Asking a run itself, by its queries. A worker that serves the flow has to answer; here is told why none does."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from everstep.errors import FlowNotServedError, RunNotFoundError, WorkflowRuntimeError
from everstep.temporal.obstacles import Obstacle
from everstep.temporal.payloads import raw

if TYPE_CHECKING:
    from everstep.temporal.runs import RunSummary

QUERY_SECONDS = 3.0
"""How long a run is asked before it counts as silent, unless told otherwise."""

PATIENCE_SECONDS = 30.0
"""How long a run is asked where only its id is known and nobody says how long to wait."""

TRY_SECONDS = 5.0
"""How long the first try waits for an answer before the query is put again; each further one waits twice as long."""

_TRIES = 5
_BETWEEN_TRIES = 0.1
_SILENT = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED, RPCStatusCode.FAILED_PRECONDITION)


class RunSilentError(WorkflowRuntimeError):
    """No worker that serves the run's flow answered; `obstacle` tells why."""

    def __init__(self, run_id: str, obstacle: Obstacle) -> None:
        super().__init__(
            f"Run {run_id} could not be asked: {obstacle.text}. "
            "Start a worker that serves its flow, such as `everstep worker`, and try again."
        )
        self.run_id = run_id
        self.obstacle = obstacle


async def ask_run(client: Client, run: RunSummary, query: str, *arguments: Any, seconds: float = QUERY_SECONDS) -> Any:
    """What a run answers to a query.

    A worker without the flow may be the one that is asked; the query is put again then, as the next may have it.

    Args:
        client: connected to the server.
        run: as `find_run` or `list_runs` gives it.
        query: its name; see `everstep.temporal.names`.
        arguments: plain JSON.
        seconds: how long to wait for an answer.

    Raises:
        RunSilentError: no worker that serves the flow answered in time.
        RunNotFoundError: the run is not there any more.
        WorkflowRuntimeError: the run does not know the query: it is no flow of everstep.
    """
    try:
        return await put_query(client, run.run_id, query, *arguments, seconds=seconds)
    except FlowNotServedError:
        raise RunSilentError(run.run_id, _others(run)) from None
    except RPCError as error:
        if error.status not in _SILENT:
            raise
        raise RunSilentError(run.run_id, _nobody(run)) from None


async def put_query(client: Client, run_id: str, query: str, *arguments: Any, seconds: float = PATIENCE_SECONDS) -> Any:
    """What a run answers to a query, where only its id is known; see `ask_run`.

    A query that the server had handed to a worker just as that stopped, or to an execution just as that ended, comes
    back cancelled or not at all: it is put again, after `TRY_SECONDS` at the latest, and reaches who is there now.

    Args:
        seconds: how long to wait for an answer, all in all.

    Raises:
        FlowNotServedError: those workers that were asked do not have the run's flow.
        RunNotFoundError: there is no such run.
        WorkflowRuntimeError: the run does not know the query, or could not answer it.
        RPCError: nobody answered, or the server refused.
    """
    handle = client.get_workflow_handle(run_id)
    deadline = time.monotonic() + seconds
    for attempt in range(_TRIES):
        await asyncio.sleep(_BETWEEN_TRIES * attempt)
        patience = timedelta(seconds=max(0.1, min(deadline - time.monotonic(), TRY_SECONDS * 2**attempt)))
        try:
            return await handle.query(query, args=[raw(value) for value in arguments], rpc_timeout=patience)
        except WorkflowQueryFailedError as error:
            if "not registered on this worker" not in error.message:
                raise WorkflowRuntimeError(
                    f"run {run_id} could not answer {query!r}: {error.message}. Is it a flow of everstep?"
                ) from error
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise RunNotFoundError(run_id) from None
            unanswered = error.status in (RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED)
            if not unanswered or time.monotonic() >= deadline or attempt == _TRIES - 1:
                raise
    raise FlowNotServedError(run_id)


def _nobody(run: RunSummary) -> Obstacle:
    return Obstacle("no_worker", f"no worker that serves {run.flow} answers on task queue {run.task_queue!r}")


def _others(run: RunSummary) -> Obstacle:
    return Obstacle(
        "unknown_flow",
        f"a worker without {run.flow} answers on task queue {run.task_queue!r}: workers with different flows poll it; "
        "give each set of flows its own --task-queue",
    )
