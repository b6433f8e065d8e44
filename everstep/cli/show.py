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
from everstep.cli.text import answer_command, clean, moment, shown
from everstep.errors import EverstepError
from everstep.events import StopEvent
from everstep.temporal.obstacles import Obstacle, obstacles
from everstep.temporal.runs import RunSummary, find_run
from everstep.temporal.step_log import StepCounts, step_changes

ANSWER_SECONDS = 5.0
"""How long `show` waits for a worker to tell a run's requests."""

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `list` shows it.")]


@dataclass(slots=True)
class RunView:
    """Everything that `show` tells. `requests` is None where no worker could tell them."""

    run: RunSummary
    steps: StepCounts
    requests: list[dict[str, Any]] | None = None
    obstacles: list[Obstacle] = field(default_factory=list[Obstacle])
    result: Any = None
    error: str | None = None
    url: str | None = None

    @property
    def status(self) -> str:
        """The run's status, `waiting` where it waits for a person."""
        if self.run.status == "running" and self.open and not self.steps.running:
            return "waiting"
        return self.run.status

    @property
    def open(self) -> list[dict[str, Any]]:
        """The requests that nobody has answered."""
        return [request for request in self.requests or () if request["status"] == "open"]

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        out = self.run.to_json() | {"status": self.status, "waiting": bool(self.open) or self.run.waiting}
        out["steps"] = [count.to_json() for count in self.steps.steps.values()]
        out["requests"] = self.requests
        out["obstacles"] = [obstacle.to_json() for obstacle in self.obstacles]
        if self.run.status == "completed":
            out["result"] = self.result
        if self.error is not None:
            out["error"] = self.error
        out["url"] = self.url
        return out


def show(run: RunArgument, output: OutputOption = None) -> None:
    """Show one run: its status, what its steps did, what it asks whom, what holds it up, its page in the Temporal UI.

    Works for runs that have ended too, and without a worker; only the requests to people need one.

    Examples:

      show refund-17

      show refund-17 -o json | jq .steps
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

      result answer-1

      result answer-1 --no-wait || echo "exit code 5: not yet"
    """
    out = Output(output)
    value = with_session(lambda session: _result(session, run, 0.0 if not wait else timeout))
    if out.json:
        out.data(value)
    elif isinstance(value, str):
        out.text(value)
    else:
        out.data(value)


def state(run: RunArgument, output: OutputOption = None) -> None:
    """Print a run's state as JSON; of a run that has ended, the last one. A worker must be there to tell it.

    Example:

      state refund-17
    """
    out = Output(output)
    out.data(with_session(lambda session: session.handle(run).state()))


async def look(session: Session, run_id: str) -> RunView:
    """Gather what `show` tells.

    Raises:
        RunNotFoundError: there is no such run.
    """
    run = await find_run(session.client, run_id)
    view = RunView(run, StepCounts(), url=session.settings.run_url(run_id, run.execution))
    async for change in step_changes(session.client, run_id):
        view.steps.add(change)
    view.requests = await _requests(session, run_id)
    if run.status == "running":
        view.obstacles = await obstacles(session.client, run_id)
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


async def _requests(session: Session, run_id: str) -> list[dict[str, Any]] | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await session.handle(run_id).requests(only_open=False)
    except (TimeoutError, EverstepError):
        return None


async def _result(session: Session, run_id: str, timeout: float | None) -> Any:
    run = await find_run(session.client, run_id)
    if run.status == "running" and timeout == 0:
        raise CommandError(f"Run {run_id} is still running: it has no result yet. Leave out --no-wait.", Exit.NOT_YET)
    try:
        async with asyncio.timeout(timeout if run.status == "running" else None):
            return plain(await session.handle(run_id).stop_event_result())
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
        ("task queue", run.task_queue),
        ("started", moment(run.started_at)),
        ("ended", moment(run.closed_at)),
        ("result", shown(view.result) if run.status == "completed" else ""),
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
    _print_requests(out, view)
    for obstacle in view.obstacles:
        out.note(f"! {obstacle.text}")


def _print_requests(out: Output, view: RunView) -> None:
    if view.requests is None:
        if view.run.status == "running":
            out.note("What it asks people cannot be told: no worker that serves the flow answers.")
        return
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
        for refused in request["refused"]:
            out.note(f"refused from {refused['by'] or 'somebody'}: {clean(refused['reason'])}")
        command = answer_command(called_as(), view.run.run_id, request, name_it=len(view.open) > 1)
        out.text(f"answer with:  {command}", "dim")


def _answer(request: Mapping[str, Any]) -> str:
    if request["answer"] is None:
        return ""
    fields = {k: v for k, v in request["answer"].items() if k not in ("request_id", "expired") and v is not None}
    by = f" by {request['answered_by']}" if request["answered_by"] else ""
    return " ".join(f"{key}={shown(value)}" for key, value in fields.items()) + by


def _n(count: int) -> str:
    return str(count) if count else ""
