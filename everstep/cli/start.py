"""`run`: start a run of a flow, and with `--follow` see it through."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from temporalio.service import RPCError

from everstep.cli.exits import CommandError, Exit
from everstep.cli.follow import Follower
from everstep.cli.output import Output, OutputOption
from everstep.cli.program import called_as
from everstep.cli.session import Session, with_session
from everstep.cli.talk import FieldsArgument, InputOption
from everstep.cli.text import nearly_json, parse_fields
from everstep.errors import EverstepError
from everstep.temporal.beginning import beginning
from everstep.temporal.obstacles import has_worker, obstacles
from everstep.temporal.privacy.plain_text import refuse_plain_text
from everstep.temporal.runtime import TemporalRuntime

BEGIN_SECONDS = 1.5
"""How long `run` waits to hear whether the start is taken, where a worker polls the queue."""


def run(
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="The flow's name: the name of its class.")],
    fields: FieldsArgument = None,
    given: InputOption = None,
    run_id: Annotated[
        str | None, typer.Option("--id", metavar="RUN", help="The run's id; by default a new one.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show what it does until it ends; Ctrl-C leaves it.")
    ] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0.001, help="Bounds the run, in seconds.")] = None,
    task_queue: Annotated[
        str | None, typer.Option("--task-queue", help="What the flow's workers poll; default TEMPORAL_TASK_QUEUE.")
    ] = None,
    continued: Annotated[
        str | None, typer.Option("--continue", metavar="RUN", help="Begin with the state of this run.")
    ] = None,
    output: OutputOption = None,
) -> None:
    """Start a run of a flow. Its input is the fields of the flow's start event.

    Without --follow it returns with the run's id, once a worker, if there is one, has taken the start. With --follow
    it shows the steps, the events and the requests to people, and ends as the run does: exit code 0 completed, 1 failed
    or cancelled, 5 timed out.

    Examples:

      {command} RagFlow question="What is a run?" --follow

      {command} RefundFlow --input @refund.json --id refund-17

      echo '{"question": "What is a run?"}' | {command} RagFlow -i -

      {command} SupportDesk user_msg="And the other order?" --continue desk-1
    """
    start = parse_fields(fields or (), given)
    out = Output(output)
    for line in nearly_json(fields or ()):
        out.note(line)
    chosen = run_id or str(uuid.uuid4())
    reached: set[str] = set()

    async def work(session: Session) -> None:
        queue = task_queue or session.settings.task_queue
        await refuse_plain_text(session.client, queue)
        runtime = TemporalRuntime(session.client, task_queue=queue)
        state = None if continued is None else await session.handle(continued).state()
        reached.add("asked")
        await runtime.start_flow(flow, start, run_id=chosen, timeout=timeout, state=state)
        reached.add("started")
        url = session.settings.run_url(chosen)
        if not follow:
            await _see_begin(session, out, chosen, queue, start)
            _tell(out, flow, chosen, queue, url)
            return
        out.note(f"Run {chosen} of {flow}" + (f": {url}" if url else ""))
        await Follower(session, chosen, out).follow()

    try:
        with_session(work)
    except (KeyboardInterrupt, CommandError) as error:
        if isinstance(error, KeyboardInterrupt) or error.code is Exit.UNREACHABLE:
            _tell_where(out, chosen, reached)
        raise


def _tell_where(out: Output, run_id: str, reached: set[str]) -> None:
    """What to do where the command ends before it knows how the run began, or while that goes on."""
    if "started" in reached:
        out.note(f"\nThe run goes on. Come back with: {called_as()} stream {run_id}")
        out.note(f"or see how it stands with: {called_as()} show {run_id}")
    elif "asked" in reached:
        out.note(f"Whether run {run_id} has started is not known. Start it once, and not twice, by --id {run_id}.")


async def _see_begin(session: Session, out: Output, run_id: str, queue: str, start: Mapping[str, Any]) -> None:
    """Wait a moment for a worker to take the start, and tell what it says of it.

    The run has started: what keeps one from looking is no failure of that.

    Raises:
        CommandError: its start was refused.
    """
    try:
        await _look_at_begin(session, out, run_id, queue, start)
    except CommandError:
        raise
    except (EverstepError, RPCError) as error:
        out.note(f"Run {run_id} has started; whether a worker has taken its start cannot be seen: {error}")


async def _look_at_begin(session: Session, out: Output, run_id: str, queue: str, start: Mapping[str, Any]) -> None:
    if not await has_worker(session.client, queue):
        out.note(f"No worker polls task queue {queue!r} yet: the run waits for one.")
        return
    begun = await beginning(session.client, run_id, BEGIN_SECONDS)
    if begun.refused is not None:
        raise CommandError(f"Run {run_id} has ended: its start was refused. {begun.refused}", Exit.FAILED)
    if begun.start:
        out.note_undeclared(start, begun.start, begun.fields)
        return
    for obstacle in await obstacles(session.client, run_id):
        if obstacle.kind == "unknown_flow":
            out.note(f"Run {run_id} waits: {obstacle.text}. Check the flow's name, or start a worker that serves it.")


def _tell(out: Output, flow: str, run_id: str, queue: str, url: str | None) -> None:
    if out.json:
        out.data({"run": run_id, "flow": flow, "task_queue": queue, "url": url})
        return
    out.text(f"Run {run_id} of {flow} has started on task queue {queue!r}.")
    out.text(f"See it with: {called_as()} show {run_id}" + (f"  or at {url}" if url else ""), "dim")
