"""Schedules: flows that the Temporal server starts by itself, by cron expressions or intervals.

A scheduled run is a run like any other. Its id is the schedule's with the time that it was due, such as
`nightly-2026-11-22T02:00:00Z`: it stays the same when the server makes up for a time that it missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from everstep.temporal import names
from everstep.temporal.payloads import raw
from everstep.temporal.schedule_view import (
    Overlap,
    ScheduleExistsError,
    ScheduleRefusedError,
    describe_schedule,
    explained,
    recent_runs,
)

TRIGGER_SECONDS = 5.0
"""How long the server gets to tell which run a trigger has started."""


@dataclass(frozen=True, slots=True)
class Times:
    """When a schedule starts runs: at each time of any of its cron expressions and intervals.

    Args:
        cron: cron expressions of five fields, such as ``0 2 * * *``, or names such as ``@daily``.
        every: intervals in seconds, counted from 1970.
        time_zone: of the cron expressions, such as ``Europe/Berlin``; by default UTC.
        jitter: each start is put off by a random time of up to so many seconds.
    """

    cron: Sequence[str] = ()
    every: Sequence[float] = ()
    time_zone: str | None = None
    jitter: float = 0.0

    def spec(self) -> ScheduleSpec:
        """As Temporal wants it. Each expression is its own comment: the server keeps nothing else of its text."""
        return ScheduleSpec(
            cron_expressions=[f"{text} # {text}" if "#" not in text else text for text in self.cron],
            intervals=[ScheduleIntervalSpec(timedelta(seconds=seconds)) for seconds in self.every],
            time_zone_name=self.time_zone,
            jitter=timedelta(seconds=self.jitter) if self.jitter else None,
        )


async def create_schedule(
    client: Client,
    schedule_id: str,
    flow: str,
    start: Mapping[str, Any] | None = None,
    *,
    times: Times,
    overlap: Overlap = "skip",
    catch_up: float | None = None,
    timeout: float | None = None,
    task_queue: str = "everstep",
    note: str = "",
    paused: bool = False,
    replace: bool = False,
) -> None:
    """Have the server start a flow by itself, with the fields of its start event as plain JSON.

    Args:
        client: connected to the server.
        schedule_id: the schedule's name; the ids of its runs begin with it.
        flow: the flow's name: the name of its class.
        start: the fields of the start event, the same for every run.
        times: when.
        overlap: what happens at a due time while the run before goes on.
        catch_up: for how many past seconds starts are made up that the server has missed; by default a year.
        timeout: bounds each run, in seconds.
        task_queue: what the flow's workers poll.
        note: a line for people.
        paused: it begins to start runs when it is unpaused.
        replace: change a schedule of this id, if there is one; whether that is paused stays as it was.

    Raises:
        ScheduleExistsError: there is one with this id, and `replace` is not set.
        ScheduleRefusedError: the server refuses it, such as for a cron expression that is none.

    Example:
        >>> await create_schedule(client, "nightly", "IndexFlow", {"folder": "docs"}, times=Times(cron=["0 2 * * *"]))
    """
    if not times.cron and not times.every:
        raise ScheduleRefusedError(f"Schedule {schedule_id!r} has no times: give a cron expression or an interval.")
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            flow,
            raw(start or {}),
            id=schedule_id,
            task_queue=task_queue,
            memo=None if timeout is None else {names.MEMO: {"timeout": timeout}},
        ),
        spec=times.spec(),
        policy=SchedulePolicy(
            overlap=_policy(overlap), catchup_window=None if catch_up is None else timedelta(seconds=catch_up)
        ),
        state=ScheduleState(note=note or None, paused=paused),
    )
    async with explained(schedule_id):
        try:
            await client.create_schedule(schedule_id, schedule)
            return
        except ScheduleAlreadyRunningError:
            if not replace:
                raise ScheduleExistsError(
                    f"Schedule {schedule_id!r} exists already: choose another id, replace it, or delete it first."
                ) from None

        def updated(found: ScheduleUpdateInput) -> ScheduleUpdate:
            schedule.state.paused = paused or found.description.schedule.state.paused
            return ScheduleUpdate(schedule)

        await client.get_schedule_handle(schedule_id).update(updated)


async def pause_schedule(client: Client, schedule_id: str, note: str = "") -> None:
    """Start no more runs until it is unpaused; those that run go on. The note stays as it is where none is given.

    Raises:
        ScheduleNotFoundError: there is none with this id.
    """
    kept = note or (await describe_schedule(client, schedule_id)).schedule.state.note or "paused"
    async with explained(schedule_id):
        await client.get_schedule_handle(schedule_id).pause(note=kept)


async def unpause_schedule(client: Client, schedule_id: str, note: str = "") -> None:
    """Start runs again, from the next due time on. The note stays as it is where none is given.

    Raises:
        ScheduleNotFoundError: there is none with this id.
    """
    kept = note or (await describe_schedule(client, schedule_id)).schedule.state.note or "unpaused"
    async with explained(schedule_id):
        await client.get_schedule_handle(schedule_id).unpause(note=kept)


async def trigger_schedule(client: Client, schedule_id: str, overlap: Overlap | None = None) -> str | None:
    """Start a run now, whether the schedule is paused or not; gives the run's id, None where the overlap allows none.

    Ids tell the second: where one was started in this second, it is the next one's.

    Args:
        overlap: instead of the schedule's own.

    Raises:
        ScheduleNotFoundError: there is none with this id.
    """
    before = (await describe_schedule(client, schedule_id)).info
    if before.recent_actions:
        age = (datetime.now(UTC) - before.recent_actions[-1].started_at).total_seconds()
        await asyncio.sleep(max(0.0, min(1.0, 1.0 - age)))
    async with explained(schedule_id):
        await client.get_schedule_handle(schedule_id).trigger(overlap=None if overlap is None else _policy(overlap))
    deadline = asyncio.get_running_loop().time() + TRIGGER_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        info = (await describe_schedule(client, schedule_id)).info
        if info.num_actions > before.num_actions:
            return recent_runs(info.recent_actions)[-1].run_id
        if info.num_actions_skipped_overlap > before.num_actions_skipped_overlap:
            return None
        await asyncio.sleep(0.1)
    return None


async def delete_schedule(client: Client, schedule_id: str) -> None:
    """Take a schedule away; the runs that it has started go on.

    Raises:
        ScheduleNotFoundError: there is none with this id.
    """
    async with explained(schedule_id):
        await client.get_schedule_handle(schedule_id).delete()


def _policy(overlap: Overlap) -> ScheduleOverlapPolicy:
    return ScheduleOverlapPolicy[overlap.replace("-", "_").upper()]
