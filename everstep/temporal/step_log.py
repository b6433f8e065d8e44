"""What the steps of a run did, told from its Temporal history: no worker is asked, so it works for ended runs too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from everstep.errors import RunNotFoundError
from everstep.temporal.executions import Executions

Change = Literal["scheduled", "done", "failed", "cancelled", "refused"]


@dataclass(frozen=True, slots=True)
class StepChange:
    """One invocation of a step began or ended. A pass that now waits for a person counts as done.

    ``refused``: what came from outside was no event for the step, and its code has not run.
    """

    step: str
    change: Change
    at: datetime
    attempts: int = 1
    error: str = ""


@dataclass(slots=True)
class StepCount:
    """How often a step was scheduled and how its invocations ended."""

    step: str
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    last_error: str = ""

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        out: dict[str, Any] = {"step": self.step, "running": self.running, "done": self.done, "failed": self.failed}
        if self.cancelled:
            out["cancelled"] = self.cancelled
        if self.last_error:
            out["last_error"] = self.last_error
        return out


class StepCounts:
    """The counts per step, in the order in which the steps first ran."""

    def __init__(self) -> None:
        self.steps: dict[str, StepCount] = {}

    def add(self, change: StepChange) -> None:
        """Count one change."""
        count = self.steps.setdefault(change.step, StepCount(change.step))
        if change.change == "scheduled":
            count.running += 1
            return
        count.running = max(0, count.running - 1)
        if change.change == "done":
            count.done += 1
        elif change.change == "cancelled":
            count.cancelled += 1
        elif change.change == "failed":
            count.failed += 1
            count.last_error = change.error

    def close(self) -> None:
        """The run has ended: what was under way was cancelled with it."""
        for count in self.steps.values():
            count.cancelled, count.running = count.cancelled + count.running, 0

    @property
    def running(self) -> int:
        """How many invocations are under way."""
        return sum(count.running for count in self.steps.values())


async def step_changes(client: Client, run_id: str, *, follow: bool = False) -> AsyncIterator[StepChange]:
    """What the steps of a run did, from its beginning, across continue-as-new; with `follow`, until it ends.

    Raises:
        RunNotFoundError: there is no such run, or retention has removed its beginning.
    """
    reader = _StepReader(client)
    async for event in history_events(client, run_id, follow=follow):
        for change in await reader.read(event):
            yield change


async def history_events(client: Client, run_id: str, *, follow: bool = False) -> AsyncIterator[HistoryEvent]:
    """The history of a run, from its beginning, across continue-as-new; with `follow`, until it ends.

    Of what was reset only that is given which counts; with `follow`, what came before a reset was given already.

    Raises:
        RunNotFoundError: there is no such run, or retention has removed its beginning.
    """
    line = Executions(client, run_id)
    try:
        execution: str | None = await line.first()
        while execution:
            following: str | None = None
            handle = client.get_workflow_handle(run_id, run_id=execution)
            async for event in handle.fetch_history_events(wait_new_event=follow):
                following = await line.next(execution, event)
                if not line.repeats(event):
                    yield event
            execution = following
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise RunNotFoundError(run_id) from None
        raise


class _StepReader:
    def __init__(self, client: Client) -> None:
        self._converter = client.data_converter
        self._prefix = ""
        self._steps: dict[int, str] = {}

    async def read(self, event: HistoryEvent) -> list[StepChange]:
        kind, at = event.event_type, event.event_time.ToDatetime(UTC)
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            self._prefix = f"{event.workflow_execution_started_event_attributes.workflow_type.name}."
            left, self._steps = self._steps, {}
            # What was moved over the boundary of continue-as-new is scheduled there again.
            return [StepChange(step, "cancelled", at) for step in left.values()]
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            step = self._step(event.activity_task_scheduled_event_attributes.activity_type.name)
            if step is None:
                return []
            self._steps[event.event_id] = step
            return [StepChange(step, "scheduled", at)]
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            done = event.activity_task_completed_event_attributes
            result = await self._json(done.result)
            change = "refused" if "unfit" in result else "done"
            return self._ended(done.scheduled_event_id, change, at, attempts=_attempts(result))
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
            failed = event.activity_task_failed_event_attributes
            attempts, message = await self._why(failed.failure)
            return self._ended(failed.scheduled_event_id, "failed", at, attempts, message)
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
            return self._ended(
                event.activity_task_timed_out_event_attributes.scheduled_event_id, "failed", at, 1, "timed out"
            )
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
            return self._ended(event.activity_task_canceled_event_attributes.scheduled_event_id, "cancelled", at)
        if kind == EventType.EVENT_TYPE_MARKER_RECORDED:
            return await self._local(event, at)
        return []

    async def _local(self, event: HistoryEvent, at: datetime) -> list[StepChange]:
        """A local step stands in the history as one marker, at its end."""
        marker = event.marker_recorded_event_attributes
        if marker.marker_name != "core_local_activity":
            return []
        step = self._step((await self._json(marker.details["data"])).get("activity_type", ""))
        if step is None:
            return []
        if "result" in marker.details:
            end = StepChange(step, "done", at, _attempts(await self._json(marker.details["result"])))
        else:
            end = StepChange(step, "failed", at, *await self._why(marker.failure))
        return [StepChange(step, "scheduled", at), end]

    def _step(self, activity: str) -> str | None:
        return activity.removeprefix(self._prefix) if activity.startswith(self._prefix) else None

    def _ended(
        self, scheduled: int, change: Change, at: datetime, attempts: int = 1, error: str = ""
    ) -> list[StepChange]:
        step = self._steps.pop(scheduled, None)
        return [] if step is None else [StepChange(step, change, at, attempts, error)]

    async def _why(self, failure: FailureProto) -> tuple[int, str]:
        error = await self._converter.decode_failure(failure)
        if isinstance(error, ApplicationError) and error.details and isinstance(error.details[0], dict):
            record = cast("dict[str, Any]", error.details[0])
            if "message" in record:
                return int(record.get("attempts") or 1), f"{record.get('type', 'error')}: {record['message']}"
        return 1, str(error)

    async def _json(self, payloads: Payloads) -> dict[str, Any]:
        values = await self._converter.decode(payloads.payloads)
        return cast("dict[str, Any]", values[0]) if values and isinstance(values[0], dict) else {}


def _attempts(outcome: dict[str, Any]) -> int:
    return int(outcome.get("attempts") or 1)
