"""`respond`, `send` and `cancel`: what people and programs tell a run."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable
from typing import Annotated, Any

import typer

from everstep.cli.exits import CommandError, Exit
from everstep.cli.output import Output, OutputOption
from everstep.cli.program import called_as
from everstep.cli.session import Session, with_session
from everstep.cli.show import RunArgument
from everstep.cli.text import InputError, parse_fields
from everstep.temporal import names
from everstep.temporal.obstacles import obstacles
from everstep.temporal.payloads import raw
from everstep.temporal.runs import find_run

VERDICT_SECONDS = 30.0
"""How long a sender waits for a worker's verdict on a message, unless told otherwise."""

_NOTICE_SECONDS = 3.0

FieldsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Fields: JSON where it parses, else text; a.b=1 nests.")
]
InputOption = Annotated[
    str | None, typer.Option("--input", "-i", metavar="JSON|@FILE|-", help="Fields as one JSON object.")
]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the verdict.")]
NoWaitOption = Annotated[
    bool, typer.Option("--no-wait", help="Leave it with the server, also without a worker; the verdict is in `show`.")
]


def respond(
    run: RunArgument,
    fields: FieldsArgument = None,
    request: Annotated[
        str | None, typer.Option("--request", help="Which request; needed while several are open.")
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Who answers; by default you, as the system knows you.")
    ] = None,
    given: InputOption = None,
    timeout: TimeoutOption = VERDICT_SECONDS,
    no_wait: NoWaitOption = False,
    output: OutputOption = None,
) -> None:
    """Answer a run's request. The run judges the answer: what does not fit is refused, with the reason (exit code 1).

    Examples:

      respond refund-17 approved=true note="customer since 1998"

      respond refund-17 --request approve-2 --by ann approved=false

      respond refund-17 --input @answer.json
    """
    answer = parse_fields(fields or (), given)
    if not answer:
        raise InputError("An answer needs fields, such as approved=true. The inbox shows what is asked.")
    who = by or _user()
    out = Output(output)

    async def work(session: Session) -> None:
        handle = session.handle(run)
        if no_wait:
            body = {"request": request, "by": who, "answer": answer}
            await find_run(session.client, run)
            await handle.workflow.signal(names.RESPOND, raw({k: v for k, v in body.items() if v is not None}))
        else:
            await _heard(session, out, run, handle.respond(answer, request=request, by=who), timeout)

    with_session(work)
    done: dict[str, Any] = {"run": run, "answer": answer, "by": who, "accepted": None if no_wait else True}
    _confirm(out, done | ({"request": request} if request else {}), "The answer", no_wait)


def send(
    run: RunArgument,
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="The event's type: the name of its class.")],
    fields: FieldsArgument = None,
    step: Annotated[
        str | None, typer.Option("--step", help="Only for this step, instead of all that accept it.")
    ] = None,
    given: InputOption = None,
    timeout: TimeoutOption = VERDICT_SECONDS,
    no_wait: NoWaitOption = False,
    output: OutputOption = None,
) -> None:
    """Send an event to a run. What the run cannot take is refused, with the reason (exit code 1).

    Examples:

      send chat-1 UserMessage text="and on Sundays?"

      send chat-1 Nudge --step remind --no-wait
    """
    data = parse_fields(fields or (), given)
    out = Output(output)

    async def work(session: Session) -> None:
        handle = session.handle(run)
        if no_wait:
            body = {"type": type_, "data": data} | ({} if step is None else {"step": step})
            await find_run(session.client, run)
            await handle.workflow.signal(names.SEND_EVENT, raw(body))
        else:
            await _heard(session, out, run, handle.send_json(type_, data, step=step), timeout)

    with_session(work)
    done: dict[str, Any] = {"run": run, "type": type_, "data": data, "accepted": None if no_wait else True}
    _confirm(out, done, f"The {type_}", no_wait)


def cancel(
    run: RunArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    output: OutputOption = None,
) -> None:
    """Cancel a run: its running steps are cancelled, and it ends as cancelled.

    Example:

      cancel refund-17 --reason "asked for twice"
    """
    out = Output(output)

    async def work(session: Session) -> None:
        found = await find_run(session.client, run)
        if found.status != "running":
            raise CommandError(f"Run {run} has ended already: {found.status}.", Exit.FAILED)
        await session.handle(run).cancel_run(reason)

    with_session(work)
    if out.json:
        out.data({"run": run, "cancel_requested": True})
    else:
        out.text(f"Run {run} is asked to cancel.")


async def _heard(session: Session, out: Output, run_id: str, sending: Awaitable[None], timeout: float) -> None:
    """Wait for the verdict; when it takes long, say why."""
    await find_run(session.client, run_id)
    task = asyncio.ensure_future(sending)
    done, _ = await asyncio.wait({task}, timeout=min(timeout, _NOTICE_SECONDS))
    if not done:
        for obstacle in await obstacles(session.client, run_id):
            out.note(f"Waiting: {obstacle.text}.")
        done, _ = await asyncio.wait({task}, timeout=max(0.0, timeout - _NOTICE_SECONDS))
    if done:
        return task.result()
    task.cancel()
    raise CommandError(
        f"No worker took it for run {run_id} within {timeout:g} s; it may still be taken if one comes now. "
        "Start a worker that serves the flow and send it again, or leave it with the server by --no-wait.",
        Exit.NOT_YET,
    )


def _confirm(out: Output, done: dict[str, Any], what: str, no_wait: bool) -> None:
    if out.json:
        out.data(done)
    elif no_wait:
        out.text(f"{what} is left for run {done['run']}; see what becomes of it: {called_as()} show {done['run']}")
    else:
        out.text(f"{what} is accepted by run {done['run']}.")


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None
