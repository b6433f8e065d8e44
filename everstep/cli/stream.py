"""`stream`: the events that a run publishes, as lines; also what `run --follow` prints of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from everstep.cli.exits import CommandError, Exit
from everstep.cli.output import Output, OutputOption
from everstep.cli.program import called_as
from everstep.cli.session import Session, with_session
from everstep.cli.show import RunArgument
from everstep.cli.text import shown
from everstep.cli.waiting import Lookout, told
from everstep.temporal.history import Published

ENDINGS = {
    "WorkflowFailedEvent": "failed",
    "WorkflowTimedOutEvent": "timed out",
    "WorkflowCancelledEvent": "cancelled",
}
"""How a run that did not complete ends on its stream."""


def stream(
    run: RunArgument,
    after: Annotated[str | None, typer.Option("--after", metavar="OFFSET", help="Go on behind this offset.")] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for more until the run ends.")] = True,
    output: OutputOption = None,
) -> None:
    """Print the events that a run publishes, from its beginning: JSON lines with offsets, or lines for people.

    Works for runs that have ended too, and without a worker.

    Examples:

      {command} answer-1

      {command} answer-1 -o json | jq -r .type

      {command} answer-1 --after 0198c0de-...:42:0 --no-follow
    """
    out = Output(output)
    last: str | None = after

    async def printed(session: Session, lookout: Lookout) -> None:
        nonlocal last
        async for item in session.handle(run).stream_published(after=after, follow=follow):
            last = item.offset
            lookout.news()
            print_item(out, item)

    async def work(session: Session) -> None:
        if after is not None:
            await _check_offset(session, run, after)
        lookout = Lookout(session, run, out.note)
        await told(lookout, printed(session, lookout))

    try:
        with_session(work)
    except KeyboardInterrupt:
        if last is not None:
            out.note(f"\nGo on with: {called_as()} stream {run} --after {last}")
        raise


async def _check_offset(session: Session, run: str, offset: str) -> None:
    async for item in session.handle(run).stream_published(follow=False):
        if item.offset == offset:
            return
    raise CommandError(f"Run {run} has no offset {offset!r}: is it from this run? Leave out --after.", Exit.NOT_FOUND)


def print_item(out: Output, item: Published) -> None:
    """One published event: a JSON line, or a line for people."""
    if out.json:
        out.line(item_json(item))
    else:
        out.text(item_text(item), _style(item))


def item_json(item: Published) -> dict[str, Any]:
    """A published event with its place, as plain JSON."""
    out: dict[str, Any] = {"type": item.event.type, "data": dict(item.event.data), "offset": item.offset}
    if item.invocation is not None:
        out |= {"invocation": item.invocation, "attempt": item.attempt}
    return out


def item_text(item: Published) -> str:
    """A published event in a line: its type and the fields that are set."""
    data = {key: value for key, value in item.event.data.items() if value is not None}
    if item.event.type == "WorkflowFailedEvent":
        exception = data.get("exception", {})
        where = f"failed in step {data['step_name']}" if data.get("step_name") else "failed"
        return f"{where}: {exception.get('type')}: {exception.get('message', '')}"
    fields = " ".join(f"{key}={shown(value)}" for key, value in data.items())
    return f"{item.event.type} {fields}".rstrip()


def _style(item: Published) -> str:
    return "red" if item.event.type in ENDINGS else ""
