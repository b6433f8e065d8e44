"""`show`, `result` and `state`: one run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from everstep.cli.exits import CommandError, Exit
from everstep.cli.listing import due_text, question_text
from everstep.cli.output import Output, OutputOption
from everstep.cli.program import called_as
from everstep.cli.session import Session, with_session
from everstep.cli.text import answer_command, by_fields, moment, shown
from everstep.cli.waiting import Lookout, told
from everstep.errors import EverstepError
from everstep.events import StopEvent
from everstep.temporal import names
from everstep.temporal.live import RunSilentError, ask_run
from everstep.temporal.obstacles import Obstacle, obstacles
from everstep.temporal.runs import RunSummary, cancel_reason, find_run
from everstep.temporal.step_log import StepCounts, step_changes

STATE_SECONDS = 10.0
"""How long `state` waits for a worker, unless told otherwise."""

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `list` shows it.")]


@dataclass(slots=True)
class RunView:
    """Everything that `show` tells.

    `requests`, `refused` (messages that belong to no request), `children` (those under way) and `unmatched` (events
    that wait for others, in steps that take several) are None where no worker could tell them; `silent` says why.
    """

    run: RunSummary
    steps: StepCounts
    requests: list[dict[str, Any]] | None = None
    refused: list[dict[str, Any]] | None = None
    unmatched: list[dict[str, Any]] | None = None
    children: list[dict[str, Any]] | None = None
    silent: Obstacle | None = None
    obstacles: list[Obstacle] = field(default_factory=list[Obstacle])
    cancel: str | None = None
    result: Any = None
    error: str | None = None
    url: str | None = None

    @property
    def status(self) -> str:
        """The run's status, `waiting` where it waits for a person; without a worker the server's index tells that."""
        asks = bool(self.open) if self.requests is not None else bool(self.run.waiting)
        return "waiting" if self.run.status == "running" and asks and not self.steps.running else self.run.status

    @property
    def open(self) -> list[dict[str, Any]]:
        """The requests that nobody has answered."""
        return [request for request in self.requests or () if request["status"] == "open"]

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        out = self.run.to_json() | {"status": self.status, "waiting": bool(self.open) or self.run.waiting}
        out["steps"] = [count.to_json() for count in self.steps.steps.values()]
        out["requests"] = self.requests
        out["refused_messages"] = self.refused
        out["unmatched_events"] = self.unmatched
        if self.children:
            out["children"] = self.children
        out["obstacles"] = [obstacle.to_json() for obstacle in self.obstacles]
        if self.silent is not None:
            out["silent"] = self.silent.text
        if self.cancel is not None:
            out["cancel_requested"] = {"reason": self.cancel}
        if self.run.status == "completed":
            out["result"] = self.result
        if self.error is not None:
            out["error"] = self.error
        out["url"] = self.url
        return out


def show(run: RunArgument, output: OutputOption = None) -> None:
    """Show one run: its status, what its steps did, what it asks whom, which messages it refused, what holds it up.

    Works for runs that have ended too, and without a worker; only requests and refused messages need one.

    Examples:

      {command} refund-17

      {command} refund-17 -o json | jq .steps
    """
    out = Output(output)
    view = with_session(lambda session: look(session, run))
    if out.json:
        out.data(view.to_json())
    else:
        _print(out, view)


def result(
    run: RunArgument,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the run to end.")] = True,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="How many seconds to wait.")] = None,
    output: OutputOption = None,
) -> None:
    """Print a run's result, waiting for it. A text is printed as it is, everything else as JSON.

    Examples:

      {command} answer-1

      {command} answer-1 --no-wait || echo "exit code 5: not yet"
    """
    out = Output(output)
    value = with_session(lambda session: _result(session, out, run, 0.0 if not wait else timeout))
    if out.json:
        out.data(value)
    elif isinstance(value, str):
        out.text(value)
    else:
        out.data(value)


def state(
    run: RunArgument,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for a worker.")] = STATE_SECONDS,
    output: OutputOption = None,
) -> None:
    """Print a run's state as JSON; of a run that has ended, the last one. A worker must be there to tell it.

    Example:

      {command} refund-17
    """
    out = Output(output)
    out.data(with_session(lambda session: _state(session, out, run, timeout)))


async def look(session: Session, run_id: str) -> RunView:
    """Gather what `show` tells.

    Raises:
        RunNotFoundError: there is no such run.
    """
    run = await find_run(session.client, run_id)
    view = RunView(run, StepCounts(), url=session.settings.run_url(run_id, run.execution))
    if run.cancel_requested:
        view.cancel = await cancel_reason(session.client, run)
    await asyncio.gather(_ask(session, view), _count(session, view))
    if run.status == "running":
        view.obstacles = await obstacles(session.client, run_id)
        if view.silent is not None and not any(found.kind == view.silent.kind for found in view.obstacles):
            view.obstacles.insert(0, view.silent)
        return view
    view.steps.close()
    try:
        view.result = plain(await session.handle(run_id).stop_event_result())
    except EverstepError as error:
        view.error = str(error)
    return view


def plain(event: Any) -> Any:
    """What a run gives, as plain data: the stop event's result, or the fields of a typed one."""
    if type(event) is StopEvent:
        return event.result
    fields = dict(event.to_dict())
    fields.pop("type_name", None)
    return fields


async def _ask(session: Session, view: RunView) -> None:
    try:
        view.requests = await ask_run(session.client, view.run, names.REQUESTS)
        progress = await ask_run(session.client, view.run, names.PROGRESS)
        view.refused, view.children = progress.get("refused_messages", []), progress.get("children", [])
        view.unmatched = progress.get("unmatched", [])
    except RunSilentError as error:
        view.silent = error.obstacle
    except EverstepError as error:
        view.silent = Obstacle("fault", str(error).rstrip("."))


async def _count(session: Session, view: RunView) -> None:
    async for change in step_changes(session.client, view.run.run_id):
        view.steps.add(change)


async def _state(session: Session, out: Output, run_id: str, timeout: float) -> Any:
    run = await find_run(session.client, run_id)
    lookout = Lookout(session, run_id, out.note, f"no worker that serves {run.flow} has answered yet")
    try:
        return await told(lookout, ask_run(session.client, run, names.STATE, seconds=timeout))
    except RunSilentError as error:
        raise CommandError(str(error), Exit.NOT_YET) from error


async def _result(session: Session, out: Output, run_id: str, timeout: float | None) -> Any:
    run = await find_run(session.client, run_id)
    if run.status == "running" and timeout == 0:
        raise CommandError(f"Run {run_id} is still running: it has no result yet. Leave out --no-wait.", Exit.NOT_YET)
    try:
        async with asyncio.timeout(timeout if run.status == "running" else None):
            lookout = Lookout(session, run_id, out.note)
            return plain(await told(lookout, session.handle(run_id).stop_event_result()))
    except TimeoutError:
        raise CommandError(
            f"Run {run_id} is still running after {timeout:g} s. See what it does with: {called_as()} show {run_id}",
            Exit.NOT_YET,
        ) from None


def _print(out: Output, view: RunView) -> None:
    run = view.run
    rows = [
        ("run", run.run_id),
        ("flow", run.flow),
        ("status", view.status),
        ("cancel", "" if view.cancel is None or run.closed_at else _cancel_text(view.cancel)),
        ("task queue", run.task_queue),
        ("started", moment(run.started_at)),
        ("ended", moment(run.closed_at)),
        ("result", by_fields(view.result) if run.status == "completed" else ""),
        ("error", view.error or ""),
        ("Temporal UI", view.url or ""),
    ]
    out.table(("", ""), [(name, value) for name, value in rows if value])
    counts = view.steps.steps.values()
    if counts:
        out.text("")
        out.table(
            ("STEP", "RUNNING", "DONE", "FAILED", "CANCELLED", "LAST ERROR"),
            [(c.step, _n(c.running), _n(c.done), _n(c.failed), _n(c.cancelled), c.last_error) for c in counts],
        )
    if view.children:
        out.text("")
        rows = [(str(one["run"]), str(one["flow"]), str(one["step"]), moment(one["since"])) for one in view.children]
        out.table(("CHILD", "FLOW", "OF STEP", "SINCE"), rows)
    _print_requests(out, view)
    _print_refusals(out, view)
    for one in view.unmatched or ():
        has = ", ".join(f"{kind} ×{count}" if count > 1 else kind for kind, count in one["has"].items())
        out.text(f"{one['step']} has {has} and waits for {', '.join(one['lacks'])}", "dim")
    if view.silent is not None:
        out.text(f"What it asks people and what it refused cannot be told: {view.silent.text}.", "yellow")
    for obstacle in view.obstacles:
        if obstacle is not view.silent:
            out.text(f"! {obstacle.text}", "yellow")


def _cancel_text(reason: str) -> str:
    return f"requested ({reason})" if reason else "requested"


def _print_requests(out: Output, view: RunView) -> None:
    if not view.requests:
        return
    out.text("")
    out.table(
        ("REQUEST", "STATUS", "ASKED", "QUESTION", "DUE", "ANSWER"),
        [
            (
                str(request["id"]),
                str(request["status"]),
                str(request.get("assignee") or "anybody"),
                question_text(request),
                due_text(request),
                _answer(request),
            )
            for request in view.requests
        ],
    )
    for request in view.open:
        command = answer_command(called_as(), view.run.run_id, request, name_it=len(view.open) > 1)
        out.text(f"answer with:  {command}", "dim")


def _print_refusals(out: Output, view: RunView) -> None:
    """The messages that were refused: answers to a request, and those that belong to none."""
    refused = [(str(request["id"]), one) for request in view.requests or () for one in request["refused"]]
    refused += [("", one) for one in view.refused or ()]
    if not refused:
        return
    out.text("")
    out.table(
        ("REFUSED", "BY", "REQUEST", "MESSAGE", "REASON"),
        [
            (
                moment(one.get("at")),
                str(one.get("by") or ""),
                request,
                shown(one.get("answer", one.get("message"))),
                str(one["reason"]),
            )
            for request, one in refused
        ],
    )


def _answer(request: Mapping[str, Any]) -> str:
    if request["answer"] is None:
        return ""
    fields = {k: v for k, v in request["answer"].items() if k not in ("request_id", "expired") and v is not None}
    by = f" by {request['answered_by']}" if request["answered_by"] else ""
    return " ".join(f"{key}={shown(value)}" for key, value in fields.items()) + by


def _n(count: int) -> str:
    return str(count) if count else ""
