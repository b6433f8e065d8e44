"""Why a run does not move: no worker, a worker without its flow, a step that is being retried. Asks the server only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import EventType, PendingActivityState, TaskQueueType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from everstep.errors import RunNotFoundError
from everstep.temporal import names
from everstep.temporal.failure_words import attempt_failure, failure_message

Kind = Literal["no_worker", "unknown_flow", "fault", "busy", "retrying"]

POLLER_SECONDS = 90.0
"""A worker asks for work at least once a minute; one that was silent for longer is gone."""

QUIET_SECONDS = 2.0
"""How long something may wait for a worker before that is worth telling."""

CHILDREN_ASKED = 10
"""How many children of a run are looked at."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that holds a run up, in a sentence.

    Attributes:
        kind: what kind of thing, for programs.
        text: the sentence, without a full stop.
        step: the step that it is about, if it is about one.
        task_queue: where a worker is missing, if that is it.
    """

    kind: Kind
    text: str
    step: str | None = None
    task_queue: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {"kind": self.kind, "text": self.text} | ({} if self.step is None else {"step": self.step})


async def obstacles(client: Client, run_id: str) -> list[Obstacle]:
    """What holds a run up right now; empty for one that moves, waits for a person, or has ended.

    Raises:
        RunNotFoundError: there is no such run.
    """
    try:
        found = await client.get_workflow_handle(run_id).describe()
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise RunNotFoundError(run_id) from None
        raise
    if found.close_time is not None:
        return []
    return [*await _of_flow(client, found), *await _of_steps(client, found), *await _of_children(client, found)]


async def has_worker(client: Client, task_queue: str, *, steps: bool = False) -> bool:
    """Whether a worker has lately asked this task queue for work: for runs, or for steps."""
    kind = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY if steps else TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=kind
        )
    )
    return any(_age(poller.last_access_time) < POLLER_SECONDS for poller in answer.pollers)


async def _of_flow(client: Client, found: WorkflowExecutionDescription) -> list[Obstacle]:
    description = found.raw_description
    if not description.HasField("pending_workflow_task"):
        return []
    task, queue, flow = description.pending_workflow_task, found.task_queue, found.workflow_type
    if task.attempt > 1:
        message = await _task_failure(client, found)
        if message and "not registered" in message:
            known = message.partition("available workflows:")[2].strip()
            serves = f"; what answered serves {known}" if known else ""
            return [Obstacle("unknown_flow", f"no worker on task queue {queue!r} serves flow {flow!r}{serves}")]
        if message:
            return [Obstacle("fault", f"the run's workflow task fails and is tried again: {message}")]
    age = _age(task.original_scheduled_time or task.scheduled_time)
    if age < QUIET_SECONDS:
        return []
    if not await has_worker(client, queue):
        text = f"no worker polls task queue {queue!r}, so nobody runs {flow!r}"
        return [Obstacle("no_worker", text, task_queue=queue)]
    text = f"the run has waited {age:.0f} s for a worker on task queue {queue!r}: all are busy or gone"
    return [Obstacle("busy", text, task_queue=queue)]


async def _of_steps(client: Client, found: WorkflowExecutionDescription) -> list[Obstacle]:
    out: dict[str, Obstacle] = {}
    for pending in _pending(found):
        step = pending.activity_type.name.removeprefix(f"{found.workflow_type}.")
        if step in out:
            continue
        if pending.HasField("last_failure") and pending.last_failure.message:
            why = await attempt_failure(client, pending.last_failure, pending.heartbeat_details.payloads)
            text = f"step {step!r} is tried again (attempt {pending.attempt}): {why}"
            out[step] = Obstacle("retrying", text, step)
        elif pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED:
            age = _age(pending.scheduled_time)
            if age >= QUIET_SECONDS:
                queue = pending.activity_options.task_queue.name or found.task_queue
                out[step] = await _of_waiting_step(client, queue, step, age)
    return list(out.values())


async def _of_children(client: Client, found: WorkflowExecutionDescription) -> list[Obstacle]:
    """What holds the children up: those of this execution, and those of an earlier one that are looked after."""
    info = found.raw_description
    runs = [child.workflow_id for child in info.pending_children]
    watched = [one.activity_id for one in info.pending_activities if one.activity_type.name == names.WATCH]
    out: list[Obstacle] = []
    for run in [*runs, *(name.removeprefix("child-") for name in watched)][:CHILDREN_ASKED]:
        try:
            below = await obstacles(client, run)
        except RunNotFoundError:
            continue
        out += [Obstacle(one.kind, f"child run {run}: {one.text}", task_queue=one.task_queue) for one in below]
    return out


async def _of_waiting_step(client: Client, queue: str, step: str, age: float) -> Obstacle:
    if not await has_worker(client, queue, steps=True):
        return Obstacle("no_worker", f"step {step!r} waits: no worker polls task queue {queue!r}", step, queue)
    return Obstacle("busy", f"step {step!r} has waited {age:.0f} s for a worker to take it", step, queue)


def _pending(found: WorkflowExecutionDescription) -> Iterable[PendingActivityInfo]:
    return (
        pending
        for pending in found.raw_description.pending_activities
        if pending.activity_type.name.startswith(f"{found.workflow_type}.")
    )


async def _task_failure(client: Client, found: WorkflowExecutionDescription) -> str | None:
    """Why the workflow task fails: the newest failure that the history tells."""
    handle = client.get_workflow_handle(found.id, run_id=found.run_id)
    failed: HistoryEvent | None = None
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            failed = event
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            failed = None
    return failed and await failure_message(client, failed.workflow_task_failed_event_attributes.failure)


def _age(moment: Timestamp) -> float:
    """Seconds since a moment; for one that is not set, as if it were now."""
    if not moment.seconds:
        return 0.0
    return max(0.0, (datetime.now(UTC) - moment.ToDatetime(UTC)).total_seconds())
