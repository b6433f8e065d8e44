"""Schedules as people see them: what each starts, when, what it has started last, and how it stands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionResult,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleListDescription,
    ScheduleOverlapPolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from everstep.errors import EverstepError, WorkflowRuntimeError
from everstep.temporal.schedule_times import described_times

Overlap = Literal["skip", "buffer-one", "buffer-all", "cancel-other", "terminate-other", "allow-all"]
"""What happens at a due time while the run before goes on."""

OVERLAPS: tuple[Overlap, ...] = get_args(Overlap)


class ScheduleNotFoundError(EverstepError):
    """There is no schedule with this id."""


class ScheduleExistsError(EverstepError):
    """A schedule with this id is there already."""


class ScheduleRefusedError(EverstepError):
    """The server refuses what was asked of a schedule, such as a cron expression that is none."""


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """A run that a schedule has started, and the time for which it did."""

    run_id: str
    at: datetime

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {"run": self.run_id, "at": self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class ScheduleSummary:
    """A schedule: what it starts, when, and how it stands. The times come first, the last runs last."""

    schedule_id: str
    flow: str
    times: list[str]
    paused: bool
    note: str
    next_at: list[datetime]
    recent: list[ScheduledRun]

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {
            "schedule": self.schedule_id,
            "flow": self.flow,
            "times": self.times,
            "paused": self.paused,
            "note": self.note,
            "next": [at.isoformat() for at in self.next_at],
            "recent": [run.to_json() for run in self.recent],
        }


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """All of one schedule. `started`, `skipped` and `missed` count due times."""

    summary: ScheduleSummary
    task_queue: str
    start: Any
    overlap: Overlap
    running: list[str] = field(default_factory=list[str])
    started: int = 0
    skipped: int = 0
    missed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return self.summary.to_json() | {
            "task_queue": self.task_queue,
            "input": self.start,
            "overlap": self.overlap,
            "running": self.running,
            "started": self.started,
            "skipped": self.skipped,
            "missed": self.missed,
        }


async def list_schedules(client: Client) -> list[ScheduleSummary]:
    """The schedules of a namespace that start flows, by id.

    Raises:
        WorkflowRuntimeError: the server has no schedules; Temporal's time-skipping test server has none.
    """
    try:
        found = [_listed(one) async for one in await client.list_schedules()]
    except RPCError as error:
        if error.status == RPCStatusCode.UNIMPLEMENTED:
            raise WorkflowRuntimeError(
                "this Temporal server has no schedules; use another, such as a dev server"
            ) from error
        raise
    return sorted((one for one in found if one is not None), key=lambda one: one.schedule_id)


async def find_schedule(client: Client, schedule_id: str) -> ScheduleView:
    """All of one schedule.

    Raises:
        ScheduleNotFoundError: there is none with this id.
    """
    found = await describe_schedule(client, schedule_id)
    action, info = found.schedule.action, found.info
    assert isinstance(action, ScheduleActionStartWorkflow)
    summary = ScheduleSummary(
        schedule_id,
        action.workflow,
        described_times(found.schedule.spec),
        found.schedule.state.paused,
        found.schedule.state.note or "",
        list(info.next_action_times),
        recent_runs(info.recent_actions),
    )
    return ScheduleView(
        summary,
        action.task_queue,
        await _start_of(client, action),
        _overlap(found.schedule.policy.overlap),
        [run.workflow_id for run in info.running_actions if isinstance(run, ScheduleActionExecutionStartWorkflow)],
        info.num_actions,
        info.num_actions_skipped_overlap,
        info.num_actions_missed_catchup_window,
    )


async def describe_schedule(client: Client, schedule_id: str) -> ScheduleDescription:
    """What the server tells of a schedule.

    Raises:
        ScheduleNotFoundError: there is none with this id.
    """
    async with explained(schedule_id):
        return await client.get_schedule_handle(schedule_id).describe()


@asynccontextmanager
async def explained(schedule_id: str) -> AsyncGenerator[None]:
    """Turn what the server says against a schedule into errors of ours."""
    try:
        yield
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND and "amespace" not in error.message:
            raise ScheduleNotFoundError(
                f"There is no schedule {schedule_id!r}. See which there are: `starter.py schedule list`."
            ) from None
        if error.status == RPCStatusCode.INVALID_ARGUMENT:
            raise ScheduleRefusedError(f"The server refuses schedule {schedule_id!r}: {error.message}.") from error
        if error.status == RPCStatusCode.UNIMPLEMENTED:
            raise ScheduleRefusedError(
                "This Temporal server has no schedules; use another, such as a dev server."
            ) from error
        raise


def _listed(found: ScheduleListDescription) -> ScheduleSummary | None:
    """What the server's index tells of a schedule; None of one that starts no workflow."""
    if found.schedule is None or found.info is None:
        return None
    return ScheduleSummary(
        found.id,
        getattr(found.schedule.action, "workflow", ""),
        described_times(found.schedule.spec),
        found.schedule.state.paused,
        found.schedule.state.note or "",
        list(found.info.next_action_times),
        recent_runs(found.info.recent_actions),
    )


def recent_runs(actions: Sequence[ScheduleActionResult]) -> list[ScheduledRun]:
    """The runs that a schedule has started last, the newest last."""
    return [
        ScheduledRun(result.action.workflow_id, result.scheduled_at)
        for result in actions
        if isinstance(result.action, ScheduleActionExecutionStartWorkflow)
    ]


async def _start_of(client: Client, action: ScheduleActionStartWorkflow) -> Any:
    given = [one for one in action.args if isinstance(one, Payload)]
    values = await client.data_converter.decode(given) if given else []
    return values[0] if values else {}


def _overlap(policy: ScheduleOverlapPolicy) -> Overlap:
    name = policy.name.lower().replace("_", "-")
    return next(one for one in OVERLAPS if one == name)
