"""`respond`, `send` and `cancel`: what people and programs tell a run."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Mapping
from typing import Annotated, Any

import typer

from everstep.cli.exits import CommandError, Exit
from everstep.cli.output import Output, OutputOption
from everstep.cli.program import called_as
from everstep.cli.session import Session, with_session
from everstep.cli.show import RunArgument
from everstep.cli.text import InputError, nearly_json, parse_fields
from everstep.cli.waiting import Lookout, told
from everstep.errors import EverstepError
from everstep.events import HumanResponseEvent
from everstep.temporal import names
from everstep.temporal.live import ask_run
from everstep.temporal.obstacles import obstacles
from everstep.temporal.payloads import raw
from everstep.temporal.privacy.plain_text import refuse_plain_text
from everstep.temporal.runs import RunSummary, find_run, terminate_run

VERDICT_SECONDS = 30.0
"""How long a sender waits for a worker's verdict on a message, unless told otherwise."""

CANCEL_SECONDS = 2.5
"""How long `cancel` looks whether a worker carries it out."""

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

      {command} refund-17 approved=true comment="customer since 1998"

      {command} refund-17 --request approve-2 --by ann approved=false

      {command} refund-17 --input @answer.json
    """
    answer = parse_fields(fields or (), given)
    if not answer:
        raise InputError("An answer needs fields, such as approved=true. The inbox shows what is asked.")
    who = by or _user()
    out = Output(output)
    for line in nearly_json(fields or ()):
        out.note(line)

    async def work(session: Session) -> None:
        handle, found = session.handle(run), await _receiver(session, run)
        if no_wait:
            body = {"request": request, "by": who, "answer": answer}
            await handle.workflow.signal(names.RESPOND, raw({k: v for k, v in body.items() if v is not None}))
        else:
            await _heard(session, out, found, handle.respond(answer, request=request, by=who), timeout)
            await _note_undeclared(session, out, run, request, answer)

    with_session(work)
    done: dict[str, Any] = {"run": run, "answer": answer, "by": who, "accepted": None if no_wait else True}
    _confirm(out, done | ({"request": request} if request else {}), "The answer", no_wait)


async def _note_undeclared(
    session: Session, out: Output, run_id: str, request: str | None, answer: Mapping[str, Any]
) -> None:
    """Note the fields of an answer that was taken which its type does not declare, where a worker still tells that."""
    try:
        asked = await ask_run(session.client, await find_run(session.client, run_id), names.REQUESTS, seconds=1.0)
    except EverstepError:
        return
    answered = [one for one in asked if one["answered_at"] and request in (None, one["id"])]
    if not answered:
        return
    schemas: Mapping[str, Any] = max(answered, key=lambda one: one["answered_at"])["answer_schemas"]
    declared = list(dict.fromkeys(name for schema in schemas.values() for name in schema.get("properties", {})))
    # What every answer has is the library's; a type with no more than that takes any fields.
    own = [name for name in declared if name not in HumanResponseEvent.model_fields]
    out.note_undeclared((key for key in answer if key not in declared), " or ".join(schemas), own)


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

      {command} chat-1 UserMessage text="and on Sundays?"

      {command} chat-1 Nudge --step remind --no-wait
    """
    data = parse_fields(fields or (), given)
    out = Output(output)
    for line in nearly_json(fields or ()):
        out.note(line)

    async def work(session: Session) -> None:
        handle, found = session.handle(run), await _receiver(session, run)
        if no_wait:
            body = {"type": type_, "data": data} | ({} if step is None else {"step": step})
            await handle.workflow.signal(names.SEND_EVENT, raw(body))
        else:
            await _heard(session, out, found, handle.send_json(type_, data, step=step), timeout)

    with_session(work)
    done: dict[str, Any] = {"run": run, "type": type_, "data": data, "accepted": None if no_wait else True}
    _confirm(out, done, f"The {type_}", no_wait)


def cancel(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="The runs' ids, as `list` shows them.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    terminate: Annotated[
        bool, typer.Option("--terminate", help="End it on the server, at once and without a worker.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Cancel runs. A worker that serves the flow cancels the running steps, and the run ends as cancelled.

    Without a worker the cancellation waits for one. --terminate needs none: the server ends the run at once, and
    nothing of it runs any more; a step that is under way learns of it at its next heartbeat, or not at all.

    Examples:

      {command} refund-17 --reason "asked for twice"

      {command} refund-17 refund-18 --terminate --reason obsolete
    """
    out = Output(output)

    async def work(session: Session) -> list[tuple[str, EverstepError]]:
        failed: list[tuple[str, EverstepError]] = []
        done: list[dict[str, Any]] = []
        for run in dict.fromkeys(runs):
            try:
                done.append(await _cancel(session, out, run, reason, terminate))
            except EverstepError as error:
                if len(runs) == 1:
                    raise
                failed.append((run, error))
        if out.json:
            out.data(done[0] if len(runs) == 1 else {"runs": done})
        return failed

    failed = with_session(work)
    for run, error in failed[1:]:
        out.note(f"{run}: {error}")
    if failed:
        raise failed[0][1]


async def _cancel(session: Session, out: Output, run_id: str, reason: str, terminate: bool) -> dict[str, Any]:
    found = await find_run(session.client, run_id)
    if found.status != "running":
        raise CommandError(f"Run {run_id} has ended already: {found.status}.", Exit.FAILED)
    if terminate:
        ended = await terminate_run(session.client, run_id, reason)
        below = f", and {len(ended) - 1} below it" if len(ended) > 1 else ""
        if not out.json:
            out.text(f"Run {run_id} is terminated{below}.")
        return {"run": run_id, "terminated": True} | ({"below": ended[1:]} if below else {})
    await session.handle(run_id).cancel_run(reason, timeout=0)
    status, hindered = await _seen_to_end(session, run_id)
    if not out.json:
        out.text(f"Run {run_id} is asked to cancel." if status == "running" else f"Run {run_id} has ended: {status}.")
    if hindered:
        out.note(
            f"The cancellation of {run_id} waits for a worker: {hindered}. To end it at once, without one: "
            f"{called_as()} cancel {run_id} --terminate"
        )
    return {"run": run_id, "cancel_requested": True, "status": status, "waits_for_worker": bool(hindered)}


async def _seen_to_end(session: Session, run_id: str) -> tuple[str, str]:
    """The status of a run that was asked to cancel, after a moment, and what keeps it from being carried out."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CANCEL_SECONDS
    while True:
        found = await find_run(session.client, run_id)
        if found.status != "running":
            return found.status, ""
        if loop.time() >= deadline:
            break
        await asyncio.sleep(0.2)
    held = [one for one in await obstacles(session.client, run_id) if one.step is None]
    return found.status, held[0].text if held else ""


async def _receiver(session: Session, run_id: str) -> RunSummary:
    """The run that is to be told something.

    Raises:
        RunNotFoundError: there is none.
        SettingsError: it is encrypted, and this command is not.
    """
    run = await find_run(session.client, run_id)
    await refuse_plain_text(session.client, run.task_queue, run_id)
    return run


async def _heard(session: Session, out: Output, run: RunSummary, sending: Awaitable[None], timeout: float) -> None:
    """Wait for the verdict; when it takes long, say why."""
    lookout = Lookout(session, run.run_id, out.note, f"no worker that serves {run.flow} has answered yet")
    task = asyncio.ensure_future(sending)
    done, _ = await told(lookout, asyncio.wait({task}, timeout=timeout))
    if done:
        return task.result()
    task.cancel()  # not waited for: what is on its way to the server may stay there
    raise CommandError(
        f"No worker took it for run {run.run_id} within {timeout:g} s; it may still be taken if one comes now. "
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
