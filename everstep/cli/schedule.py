"""`schedule …`: flows that the server starts by itself, at times: made, listed, shown, paused, triggered, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from everstep.cli.exits import CommandError, Exit
from everstep.cli.output import Output, OutputOption
from everstep.cli.program import called_as
from everstep.cli.session import Session, with_session
from everstep.cli.talk import FieldsArgument, InputOption
from everstep.cli.text import moment, parse_fields, seconds_of, shown
from everstep.errors import RunNotFoundError
from everstep.temporal import schedule_view, schedules
from everstep.temporal.obstacles import has_worker
from everstep.temporal.privacy.plain_text import refuse_plain_text
from everstep.temporal.runs import find_run
from everstep.temporal.schedule_view import OVERLAPS, Overlap, ScheduleSummary, ScheduleView, find_schedule
from everstep.temporal.schedules import Times

T = TypeVar("T")

_SHOWN_TIMES = 3
"""How many of the next times are shown."""

ScheduleArgument = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule's id.")]
NoteOption = Annotated[str, typer.Option("--note", help="A line for people, shown with the schedule.")]
OverlapOption = Annotated[
    str | None,
    typer.Option("--overlap", help=f"What happens while the run before goes on: {', '.join(OVERLAPS)}."),
]


def create(
    schedule: ScheduleArgument,
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="The flow's name: the name of its class.")],
    fields: FieldsArgument = None,
    given: InputOption = None,
    cron: Annotated[
        list[str] | None, typer.Option("--cron", help="A cron expression, such as '0 2 * * *'; may be given again.")
    ] = None,
    every: Annotated[
        list[str] | None, typer.Option("--every", metavar="SPAN", help="An interval: 30s, 15m, 1h30m, 1d; also again.")
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option("--time-zone", help="Of the cron expressions, such as Europe/Berlin; default UTC.")
    ] = None,
    jitter: Annotated[
        str | None, typer.Option("--jitter", metavar="SPAN", help="Put each start off by a random time up to this.")
    ] = None,
    overlap: OverlapOption = None,
    catch_up: Annotated[
        str | None,
        typer.Option("--catch-up", metavar="SPAN", help="Make up only for starts missed within this; default a year."),
    ] = None,
    note: NoteOption = "",
    paused: Annotated[bool, typer.Option("--paused", help="Start no runs before it is unpaused.")] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0.001, help="Bounds each run, in seconds.")] = None,
    task_queue: Annotated[
        str | None, typer.Option("--task-queue", help="What the flow's workers poll; default TEMPORAL_TASK_QUEUE.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Change the schedule of this id, if there is one; paused ones stay so.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Have the server start a flow by itself, at times. Its input is given as for `run`, the same for every run.

    A run's id is the schedule's with the time that it was due, such as nightly-2026-11-22T02:00:00Z. While a run goes
    on, the next due times are skipped, unless --overlap says otherwise.

    Examples:

      {command} nightly IndexFlow folder=docs index=docs --cron '0 2 * * *' --time-zone Europe/Berlin

      {command} sweep Sweep --every 15m --jitter 1m --overlap allow-all --note "what is left over"
    """
    start = parse_fields(fields or (), given)
    times = Times(
        tuple(cron or ()),
        tuple(seconds_of(span, "--every") for span in every or ()),
        time_zone,
        0.0 if jitter is None else seconds_of(jitter, "--jitter"),
    )
    if not times.cron and not times.every:
        raise CommandError("A schedule needs times: give --cron '0 2 * * *', or --every 15m.", Exit.USAGE)
    policy = _overlap(overlap) or "skip"
    out = Output(output)

    async def work(session: Session) -> ScheduleView:
        queue = task_queue or session.settings.task_queue
        await refuse_plain_text(session.client, queue)
        await schedules.create_schedule(
            session.client,
            schedule,
            flow,
            start,
            times=times,
            overlap=policy,
            catch_up=None if catch_up is None else seconds_of(catch_up, "--catch-up"),
            timeout=timeout,
            task_queue=queue,
            note=note,
            paused=paused,
            replace=replace,
        )
        if not await has_worker(session.client, queue):
            out.note(f"No worker polls task queue {queue!r} yet: runs wait for one.")
        return await find_schedule(session.client, schedule)

    made = _with_schedules(work)
    if out.json:
        out.data(made.to_json())
        return
    out.text(f"Schedule {schedule} starts {flow}: {'; '.join(made.summary.times)}.")
    _tell_next(out, made.summary)


def list_(output: OutputOption = None) -> None:
    """List the schedules: what each starts, when, and when next. A new one takes a moment to be listed.

    Examples:

      {command}

      {command} -o json | jq -r '.schedules[] | select(.paused) | .schedule'
    """
    out = Output(output)
    found = _with_schedules(lambda session: schedule_view.list_schedules(session.client))
    if out.json:
        out.data({"schedules": [one.to_json() for one in found]})
    elif not found:
        out.note("There are no schedules.")
    else:
        out.table(("SCHEDULE", "FLOW", "TIMES", "NEXT", "LAST", "NOTE"), [_row(one) for one in found])


def show(schedule: ScheduleArgument, output: OutputOption = None) -> None:
    """Show one schedule: its times, its input, its last runs and how they ended.

    Example:

      {command} nightly
    """
    out = Output(output)

    async def work(session: Session) -> tuple[ScheduleView, list[str]]:
        view = await find_schedule(session.client, schedule)
        return view, await asyncio.gather(*(_status(session, run.run_id) for run in view.summary.recent))

    view, statuses = _with_schedules(work)
    if out.json:
        data = view.to_json()
        for run, status in zip(data["recent"], statuses, strict=True):
            run["status"] = status
        out.data(data)
        return
    summary = view.summary
    rows = [
        ("schedule", summary.schedule_id),
        ("flow", f"{summary.flow} on task queue {view.task_queue!r}"),
        ("input", shown(view.start)),
        ("times", "; ".join(summary.times)),
        ("overlap", view.overlap),
        ("started", f"{view.started}, {view.skipped} skipped, {view.missed} missed"),
        *([("note", summary.note)] if summary.note else []),
        *([("paused", "yes")] if summary.paused else [("next", _times(summary))]),
    ]
    out.table(("", ""), rows)
    if summary.recent:
        runs = [(run.run_id, status) for run, status in zip(summary.recent, statuses, strict=True)]
        out.text("")
        out.table(("LAST RUNS", "STATUS"), runs[::-1])


def pause(schedule: ScheduleArgument, note: NoteOption = "", output: OutputOption = None) -> None:
    """Have a schedule start no more runs, until `schedule unpause`. Runs that it has started go on.

    Example:

      {command} nightly --note "the archive moves"
    """
    _with_schedules(lambda session: schedules.pause_schedule(session.client, schedule, note))
    _confirm(Output(output), {"schedule": schedule, "paused": True}, f"Schedule {schedule} is paused.")


def unpause(schedule: ScheduleArgument, note: NoteOption = "", output: OutputOption = None) -> None:
    """Have a paused schedule start runs again, from its next time on; what it has missed meanwhile is not made up for.

    Example:

      {command} nightly
    """
    _with_schedules(lambda session: schedules.unpause_schedule(session.client, schedule, note))
    _confirm(Output(output), {"schedule": schedule, "paused": False}, f"Schedule {schedule} goes on.")


def trigger(schedule: ScheduleArgument, overlap: OverlapOption = None, output: OutputOption = None) -> None:
    """Start a run of a schedule now, whether it is paused or not. Its times stay as they are.

    Exit code 5 where a run goes on and the overlap does not allow another.

    Example:

      {command} nightly
    """
    policy = _overlap(overlap)
    run = _with_schedules(lambda session: schedules.trigger_schedule(session.client, schedule, policy))
    if run is None:
        raise CommandError(
            f"Schedule {schedule} has started no run: the one before goes on. See it with: {called_as()} schedule show "
            f"{schedule}; start another beside it with --overlap allow-all.",
            Exit.NOT_YET,
        )
    text = f"Run {run} has started. See it with: {called_as()} show {run}"
    _confirm(Output(output), {"schedule": schedule, "run": run}, text)


def delete(schedule: ScheduleArgument, output: OutputOption = None) -> None:
    """Take a schedule away. Runs that it has started go on.

    Example:

      {command} nightly
    """
    _with_schedules(lambda session: schedules.delete_schedule(session.client, schedule))
    _confirm(Output(output), {"schedule": schedule, "deleted": True}, f"Schedule {schedule} is deleted.")


def _with_schedules(work: Callable[[Session], Awaitable[T]]) -> T:
    try:
        return with_session(work)
    except schedule_view.ScheduleNotFoundError as error:
        raise CommandError(str(error), Exit.NOT_FOUND) from error
    except schedule_view.ScheduleRefusedError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def _overlap(given: str | None) -> Overlap | None:
    if given is None:
        return None
    found: Overlap | None = next((one for one in OVERLAPS if one == given.replace("_", "-").lower()), None)
    if found is None:
        raise CommandError(f"There is no overlap {given!r}. There are: {', '.join(OVERLAPS)}.", Exit.USAGE)
    return found


async def _status(session: Session, run_id: str) -> str:
    try:
        run = await find_run(session.client, run_id)
    except RunNotFoundError:
        return "gone"
    return "waiting" if run.waiting else run.status


def _confirm(out: Output, data: Mapping[str, Any], text: str) -> None:
    if out.json:
        out.data(data)
    else:
        out.text(text)


def _tell_next(out: Output, summary: ScheduleSummary) -> None:
    out.text("It is paused." if summary.paused else f"Next: {_times(summary)}", "dim")


def _times(summary: ScheduleSummary) -> str:
    return ", ".join(moment(at) for at in summary.next_at[:_SHOWN_TIMES]) or "never"


def _row(one: ScheduleSummary) -> tuple[str, ...]:
    following = "paused" if one.paused else moment(one.next_at[0]) if one.next_at else "never"
    last = one.recent[-1].run_id if one.recent else ""
    return one.schedule_id, one.flow, "; ".join(one.times), following, last, one.note
