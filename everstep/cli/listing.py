"""`list` and `inbox`: runs, and requests to people, over a whole namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from everstep.cli.exits import CommandError, Exit
from everstep.cli.output import Output, OutputOption
from everstep.cli.program import called_as
from everstep.cli.session import Session, with_session
from everstep.cli.text import ago, answer_command, brief, moment, span
from everstep.temporal.runs import STATUSES, Inbox, RunSummary, list_runs
from everstep.temporal.runs import inbox as open_requests


def list_(
    waiting: Annotated[bool, typer.Option("--waiting", help="Only runs that wait for a person.")] = False,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"Only with this status; may be given again. {', '.join(STATUSES)}."),
    ] = None,
    flow: Annotated[str | None, typer.Option("--flow", help="Only runs of this flow.")] = None,
    task_queue: Annotated[str | None, typer.Option("--task-queue", help="Only runs on this task queue.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 50,
    output: OutputOption = None,
) -> None:
    """List runs, those under way first, then the last to end: all of the namespace, whoever started them.

    Examples:

      {command} --waiting

      {command} --flow RagFlow --status failed --status timed_out --limit 5

      {command} -o json | jq -r '.runs[].run'
    """
    for one in status or ():
        if one not in STATUSES:
            raise CommandError(f"There is no status {one!r}. There are: {', '.join(STATUSES)}.", Exit.USAGE)
    if waiting and any(one != "running" for one in status or ()):
        raise CommandError("A run that waits is running: leave out --status, or --waiting.", Exit.USAGE)
    out = Output(output)

    async def find(session: Session) -> list[RunSummary]:
        return await list_runs(
            session.client, flow=flow, statuses=status or (), waiting=waiting, task_queue=task_queue, limit=limit
        )

    runs = with_session(find)
    if out.json:
        out.data({"runs": [run.to_json() for run in runs]})
    elif not runs:
        out.note("No run matches.")
    else:
        out.table(("RUN", "FLOW", "STATUS", "STARTED", "TOOK"), [_row(run) for run in runs])
        if len(runs) == limit:
            out.note(f"These are the first {limit}; --limit shows more.")


def inbox(
    flow: Annotated[str | None, typer.Option("--flow", help="Only runs of this flow.")] = None,
    task_queue: Annotated[str | None, typer.Option("--task-queue", help="Only runs on this task queue.")] = None,
    assignee: Annotated[str | None, typer.Option("--assignee", help="Only what this person or role is asked.")] = None,
    output: OutputOption = None,
) -> None:
    """List all open requests to people, over all runs: who is asked what, until when, and how to answer.

    Examples:

      {command}

      {command} --assignee finance -o json
    """
    out = Output(output)

    async def find(session: Session) -> Inbox:
        return await open_requests(session.client, flow=flow, task_queue=task_queue)

    box = with_session(find)
    if assignee is not None:
        box.requests = [found for found in box.requests if found.request.get("assignee") == assignee]
    if out.json:
        out.data(box.to_json())
    else:
        _show_inbox(out, box)
    does = "waits for a person" if box.indexed else "goes on"
    for run_id, reason in box.silent.items():
        out.note(f"Run {run_id} {does}, but could not be asked: {reason}.")
    if not box.indexed:
        out.note("This server does not index EverstepWaiting, so every running run was asked.")
    if box.more:
        out.note("There are more runs than were asked; narrow it by --flow or --task-queue.")


def question_text(request: Mapping[str, Any]) -> str:
    """What a request asks, in a line: its type and its own fields."""
    fields = {k: v for k, v in request["question"].items() if k not in ("due", "assignee") and v not in (None, "")}
    return f"{request['type']}" + "".join(f" {key}={brief(value)}" for key, value in fields.items())


def due_text(request: Mapping[str, Any]) -> str:
    """Until when a request may be answered."""
    return moment(request.get("due_at")) or "-"


def _show_inbox(out: Output, box: Inbox) -> None:
    if not box.requests:
        out.note("The runs that could be asked have no open request." if box.silent else "Nobody is asked anything.")
        return
    several = {found.run_id for found in box.requests if _open_in(box, found.run_id) > 1}
    rows = [
        (
            found.run_id,
            found.flow,
            str(found.request["id"]),
            str(found.request.get("assignee") or "anybody"),
            question_text(found.request),
            due_text(found.request),
        )
        for found in box.requests
    ]
    out.table(("RUN", "FLOW", "REQUEST", "ASKED", "QUESTION", "DUE"), rows)
    first = box.requests[0]
    command = answer_command(called_as(), first.run_id, first.request, name_it=first.run_id in several)
    out.text(f"\nAnswer the first with:  {command}", "dim")


def _open_in(box: Inbox, run_id: str) -> int:
    return sum(found.run_id == run_id for found in box.requests)


def _row(run: RunSummary) -> tuple[str, ...]:
    status = "waiting" if run.waiting else run.status
    took = "" if run.closed_at is None else span((run.closed_at - run.started_at).total_seconds())
    return run.run_id, run.flow, status, ago(run.started_at), took
