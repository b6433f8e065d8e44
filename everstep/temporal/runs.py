"""Runs as a whole: finding them on the server, and the inbox: every request to a human that is open in any run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, get_args

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from everstep.errors import PayloadStorageError, RunNotFoundError, UnreadablePayloadError, WorkflowRuntimeError
from everstep.temporal import names
from everstep.temporal.live import RunSilentError, ask_run
from everstep.temporal.worker import has_waiting_attribute

RunStatus = Literal["running", "completed", "failed", "cancelled", "terminated", "timed_out", "continued"]
"""Where a run stands: Temporal's statuses in lower case. A run past its own `timeout` counts as failed."""

STATUSES: tuple[RunStatus, ...] = get_args(RunStatus)
BELOW = 1000
"""How many children of a run are ended with it at one go."""
INBOX_RUNS = 500
"""How many waiting runs an inbox asks, unless it is told otherwise."""

_ON_THE_WIRE: Mapping[str, str] = {
    "running": "Running",
    "completed": "Completed",
    "failed": "Failed",
    "cancelled": "Canceled",
    "terminated": "Terminated",
    "timed_out": "TimedOut",
    "continued": "ContinuedAsNew",
}
_STATUS: Mapping[WorkflowExecutionStatus, RunStatus] = {
    WorkflowExecutionStatus.RUNNING: "running",
    WorkflowExecutionStatus.COMPLETED: "completed",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "terminated",
    WorkflowExecutionStatus.TIMED_OUT: "timed_out",
    WorkflowExecutionStatus.CONTINUED_AS_NEW: "continued",
}
_WAITING = SearchAttributeKey.for_bool(names.WAITING)
_ASKED_AT_A_TIME = 8
_INBOX_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run, as the server's index tells of it.

    Attributes:
        run_id: its id.
        flow: the flow's name.
        status: where it stands.
        task_queue: what its workers poll.
        started_at: when it began, with time zone.
        closed_at: when it ended; None while it goes on.
        waiting: whether it waits for a person; None where the index does not know.
        execution: Temporal's id of this execution of it.
        events: the length of its history; None while it goes on: the index counts at its end.
        cancel_requested: whether it was asked to cancel; only `find_run` tells.
    """

    run_id: str
    flow: str
    status: RunStatus
    task_queue: str
    started_at: datetime
    closed_at: datetime | None
    waiting: bool | None
    execution: str
    events: int | None
    cancel_requested: bool = False

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {
            "run": self.run_id,
            "flow": self.flow,
            "status": self.status,
            "waiting": self.waiting,
            "task_queue": self.task_queue,
            "started_at": self.started_at.isoformat(),
            "closed_at": None if self.closed_at is None else self.closed_at.isoformat(),
        } | ({} if self.events is None else {"events": self.events})


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request to a human that nobody has answered yet; `request` is its record, as a run's query gives it."""

    run_id: str
    flow: str
    request: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {"run": self.run_id, "flow": self.flow, **self.request}


@dataclass(slots=True)
class Inbox:
    """The open requests of all runs, those due first before those without a due time.

    `silent` are runs that wait but could not be asked, with the reason: no worker that serves them answers. `indexed`
    tells whether the server's index found the waiting runs; without it every running one was asked. `more` tells that
    there are more runs than were asked.
    """

    requests: list[OpenRequest] = field(default_factory=list[OpenRequest])
    silent: dict[str, str] = field(default_factory=dict[str, str])
    indexed: bool = True
    more: bool = False

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {
            "requests": [request.to_json() for request in self.requests],
            "silent": dict(self.silent),
            "indexed": self.indexed,
            "more": self.more,
        }


async def find_run(client: Client, run_id: str) -> RunSummary:
    """One run by its id: its newest execution.

    Raises:
        RunNotFoundError: there is none.
    """
    try:
        found = await client.get_workflow_handle(run_id).describe()
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise RunNotFoundError(run_id, f"in namespace {client.namespace!r}") from None
        raise
    asked = found.raw_description.workflow_extended_info.cancel_requested
    return replace(_summary(found), events=found.history_length, cancel_requested=asked)


async def cancel_reason(client: Client, run: RunSummary) -> str:
    """Why a run was asked to cancel, as its history tells; empty where nobody said."""
    handle = client.get_workflow_handle(run.run_id, run_id=run.execution)
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
            return event.workflow_execution_cancel_requested_event_attributes.cause
    return ""


async def terminate_run(client: Client, run_id: str, reason: str = "") -> list[str]:
    """End a run at once, without a worker, and the runs below it; gives their ids.

    The server's index finds what is below; where it keeps none, children end when they have something to tell.

    Raises:
        RunNotFoundError: there is no such run.
    """
    run = await find_run(client, run_id)
    await client.get_workflow_handle(run_id, run_id=run.execution).terminate(reason=reason or None)
    ended = [run_id]
    try:
        below = await _find(client, f"ParentWorkflowId = {_quoted(run_id)} AND ExecutionStatus = 'Running'", BELOW)
    except (WorkflowRuntimeError, RPCError):
        return ended
    for child in below:
        try:
            ended += await terminate_run(client, child.run_id, reason)
        except (RunNotFoundError, RPCError):
            continue  # it has ended meanwhile
    return ended


async def list_runs(
    client: Client,
    *,
    flow: str | None = None,
    statuses: Sequence[str] = (),
    waiting: bool = False,
    task_queue: str | None = None,
    limit: int = 50,
) -> list[RunSummary]:
    """The runs of a namespace, whatever started them: those under way, then the last to end.

    A run that continued as new is one run.

    Args:
        client: connected to the server, which must keep an index of runs; Temporal's test server keeps none.
        flow: of this flow only.
        statuses: only those that stand so; see `STATUSES`.
        waiting: only those that wait for a person.
        task_queue: only those on this one.
        limit: how many at most.

    Raises:
        WorkflowRuntimeError: the server cannot list runs.

    Example: `for run in await list_runs(client, waiting=True): print(run.run_id, run.flow)`
    """
    if not waiting:
        return await _find(client, _query(flow, statuses, task_queue), limit)
    if await has_waiting_attribute(client):
        return await _find(client, f"{_query(flow, ('running',), task_queue)} AND {names.WAITING} = true", limit)
    box = await inbox(client, flow=flow, task_queue=task_queue)
    ids = {request.run_id for request in box.requests}
    found = await _find(client, _query(flow, ("running",), task_queue), INBOX_RUNS)
    return [run for run in found if run.run_id in ids][:limit]


async def inbox(
    client: Client, *, flow: str | None = None, task_queue: str | None = None, limit: int = INBOX_RUNS
) -> Inbox:
    """Every open request of every run: who is asked what, until when.

    The search attribute `EverstepWaiting` finds the runs; where the server does not have it, each running one is asked.

    Args:
        client: connected to the server.
        flow: of this flow only.
        task_queue: of runs on this one only.
        limit: how many runs are asked at most.

    Raises:
        WorkflowRuntimeError: the server cannot list runs.
    """
    indexed = await has_waiting_attribute(client)
    query = _query(flow, ("running",), task_queue)
    runs = await _find(client, f"{query} AND {names.WAITING} = true" if indexed else query, limit + 1)
    box = Inbox(indexed=indexed, more=len(runs) > limit)
    gate = asyncio.Semaphore(_ASKED_AT_A_TIME)

    async def ask(run: RunSummary) -> None:
        async with gate:
            await _ask(client, run, box)

    await asyncio.gather(*(ask(run) for run in runs[:limit]))
    _drop_repeated(box)
    box.requests.sort(key=lambda found: (found.request.get("due_at") or "~", found.request.get("asked_at") or ""))
    return box


def _drop_repeated(box: Inbox) -> None:
    """A request of a child is told by the runs above it too: the child's own telling is kept, where there is one."""
    own = {(found.run_id, found.request["id"]) for found in box.requests if "run" not in found.request}
    kept: dict[tuple[str, str], OpenRequest] = {}
    for found in box.requests:
        run, name = found.request.get("run", found.run_id), found.request.get("request", found.request["id"])
        if "run" not in found.request or (run, name) not in own:
            kept.setdefault((run, name), found)
    box.requests = list(kept.values())


async def _ask(client: Client, run: RunSummary, box: Inbox) -> None:
    try:
        requests: list[dict[str, Any]] = await ask_run(client, run, names.REQUESTS, True, seconds=_INBOX_SECONDS)
    except RunNotFoundError:
        return  # it has ended meanwhile
    except RunSilentError as error:
        box.silent[run.run_id] = error.obstacle.text
    except (UnreadablePayloadError, PayloadStorageError) as error:  # of one run: others may be readable
        box.silent[run.run_id] = str(error)
    except WorkflowRuntimeError as error:
        if box.indexed:  # without the index, workflows that are not everstep's are asked too
            box.silent[run.run_id] = str(error)
    else:
        box.requests.extend(OpenRequest(run.run_id, run.flow, request) for request in requests)


async def _find(client: Client, query: str, limit: int) -> list[RunSummary]:
    found: list[RunSummary] = []
    try:
        async for execution in client.list_workflows(query, limit=limit, page_size=min(limit, 1000)):
            found.append(_summary(execution))
    except RPCError as error:
        if error.status == RPCStatusCode.UNIMPLEMENTED:
            raise WorkflowRuntimeError("this Temporal server keeps no index of runs; name a run to see it") from error
        raise
    return found


def _query(flow: str | None, statuses: Sequence[str], task_queue: str | None) -> str:
    parts = [f"ExecutionStatus != '{_ON_THE_WIRE['continued']}'"]
    if statuses:
        unknown = [status for status in statuses if status not in _ON_THE_WIRE]
        if unknown:
            raise WorkflowRuntimeError(f"there is no status {unknown[0]!r}; there are {', '.join(STATUSES)}")
        parts = ["(" + " OR ".join(f"ExecutionStatus = '{_ON_THE_WIRE[status]}'" for status in statuses) + ")"]
    if flow is not None:
        parts.append(f"WorkflowType = {_quoted(flow)}")
    if task_queue is not None:
        parts.append(f"TaskQueue = {_quoted(task_queue)}")
    return " AND ".join(parts)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _summary(execution: WorkflowExecution) -> RunSummary:
    status = _STATUS[execution.status] if execution.status is not None else "running"
    waiting = execution.typed_search_attributes.get(_WAITING)
    return RunSummary(
        execution.id,
        execution.workflow_type,
        status,
        execution.task_queue,
        execution.start_time,
        execution.close_time,
        bool(waiting) if status == "running" and waiting is not None else None if status == "running" else False,
        execution.run_id,
        None if status == "running" else execution.history_length,
    )
