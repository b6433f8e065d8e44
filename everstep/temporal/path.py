"""The way of a run on Temporal: had by feeding its recorded history to the same engine again. No worker is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError

from everstep.errors import WorkflowRuntimeError
from everstep.run_path import PathRecorder, RunPath, under_way
from everstep.temporal.failure_words import attempt_failure
from everstep.temporal.internal import observed
from everstep.temporal.step_log import history_events


async def run_path(client: Client, run_id: str) -> RunPath:
    """Which way a run took, from its beginning, across continue-as-new; of a run under way, so far.

    Args:
        client: its data converter decodes the history.
        run_id: the run's id.

    Raises:
        RunNotFoundError: there is no such run, or retention has removed its beginning.
        WorkflowRuntimeError: no worker has taken it yet, or it is no run of a flow.
    """
    recorder = PathRecorder(run_id)
    async for history in _executions(client, run_id):
        await observed(client, run_id, history, lambda engine: partial(recorder, engine))
    path = recorder.path()
    if path is None:
        raise WorkflowRuntimeError(
            f"Run {run_id} has taken no way yet: no worker has begun it, or it is no run of a flow of everstep. Start "
            "a worker that serves its flow, and try again."
        )
    if path.ended_at is None:
        under_way(path, await _attempts(client, run_id, path.definition.name))
    return path


async def _executions(client: Client, run_id: str) -> AsyncIterator[list[HistoryEvent]]:
    """The histories of a run's executions, in order."""
    history: list[HistoryEvent] = []
    async for event in history_events(client, run_id):
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED and history:
            yield history
            history = []
        history.append(event)
    if history:
        yield history


async def _attempts(client: Client, run_id: str, flow: str) -> dict[str, tuple[int, str]]:
    """How often the steps that run now were tried, and the last failure."""
    try:
        found = await client.get_workflow_handle(run_id).describe()
    except RPCError:  # it was there a moment ago: what the history tells is enough
        return {}
    out: dict[str, tuple[int, str]] = {}
    for pending in found.raw_description.pending_activities:
        step = pending.activity_type.name.removeprefix(f"{flow}.")
        tries, error = out.get(step, (0, ""))
        why = await attempt_failure(client, pending.last_failure, pending.heartbeat_details.payloads)
        out[step] = tries + max(1, pending.attempt), why or error
    return out
