"""`run`: start a run of a flow, and with `--follow` see it through."""

from __future__ import annotations

from typing import Annotated

import typer

from everstep.cli.exits import CommandError, Exit
from everstep.cli.follow import Follower
from everstep.cli.output import Output, OutputOption
from everstep.cli.program import called_as
from everstep.cli.session import Session, with_session
from everstep.cli.talk import FieldsArgument, InputOption
from everstep.cli.text import parse_fields
from everstep.temporal.runtime import TemporalRuntime


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
    output: OutputOption = None,
) -> None:
    """Start a run of a flow. Its input is the fields of the flow's start event.

    Without --follow it returns at once with the run's id. With --follow it shows the steps, the events and the
    requests to people, and ends as the run does: exit code 0 completed, 1 failed or cancelled, 5 timed out.

    Examples:

      {command} RefundFlow order_id=A-170 amount_cents=12050 reason=broken customer=Ann --follow

      {command} RagFlow --input '{"question": "What is a run?"}' --id answer-1

      echo '{"question": "What is a run?"}' | {command} RagFlow --input - -o json | jq -r .run
    """
    start = parse_fields(fields or (), given)
    out = Output(output)
    started: list[str] = []

    async def work(session: Session) -> None:
        queue = task_queue or session.settings.task_queue
        runtime = TemporalRuntime(session.client, task_queue=queue)
        handle = await runtime.start_flow(flow, start, run_id=run_id, timeout=timeout)
        started.append(handle.run_id)
        url = session.settings.run_url(handle.run_id)
        if not follow:
            _tell(out, flow, handle.run_id, queue, url)
            return
        out.note(f"Run {handle.run_id} of {flow}" + (f": {url}" if url else ""))
        await Follower(session, handle.run_id, out).follow()

    try:
        with_session(work)
    except (KeyboardInterrupt, CommandError) as error:
        if started and (isinstance(error, KeyboardInterrupt) or error.code is Exit.UNREACHABLE):
            out.note(f"\nThe run goes on. Come back with: {called_as()} stream {started[0]}")
            out.note(f"or see how it stands with: {called_as()} show {started[0]}")
        raise


def _tell(out: Output, flow: str, run_id: str, queue: str, url: str | None) -> None:
    if out.json:
        out.data({"run": run_id, "flow": flow, "task_queue": queue, "url": url})
        return
    out.text(f"Run {run_id} of {flow} has started on task queue {queue!r}.")
    out.text(f"See it with: {called_as()} show {run_id}" + (f"  or at {url}" if url else ""), "dim")
