"""`batch`: a run for each line of a file, started at a rate, seen through, and its results collected."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from everstep.cli.batch_progress import Progress, Tally
from everstep.cli.exits import CommandError, Exit
from everstep.cli.output import Output, OutputOption
from everstep.cli.program import called_as
from everstep.cli.session import Session, with_session
from everstep.temporal.batch import Batch, BatchOptions
from everstep.temporal.batch_lines import BadLine, Line, read_lines
from everstep.temporal.batch_results import Record, ResultsFile, ResultsFileError, Status
from everstep.temporal.obstacles import has_worker
from everstep.temporal.privacy.plain_text import refuse_plain_text

_TOLD = 20
"""How many lines that went wrong are told of, one by one; all of them stand in the results."""


def batch(
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="The flow's name: the name of its class.")],
    inputs: Annotated[
        Path, typer.Argument(metavar="INPUTS", help="JSON Lines: the fields of a start event, one object a line.")
    ],
    batch_id: Annotated[
        str | None, typer.Option("--id", metavar="BATCH", help="The batch's id; by default FLOW-INPUTS.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="FIELD", help="Name runs by this field, not by all of the line.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where results go; default INPUTS.results.jsonl.")
    ] = None,
    rate: Annotated[float, typer.Option("--rate", min=0.01, help="How many runs to start in a second.")] = 50.0,
    in_flight: Annotated[
        int, typer.Option("--in-flight", min=1, help="How many runs may be under way; those for people do not count.")
    ] = 100,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="See the runs through, or only start them.")] = True,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.1, help="Stop waiting after so many seconds; runs go on.")
    ] = None,
    run_timeout: Annotated[
        float | None, typer.Option("--run-timeout", min=0.001, help="Bounds each run, in seconds.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Start those again that have failed, or were cancelled.")
    ] = False,
    task_queue: Annotated[
        str | None, typer.Option("--task-queue", help="What the flow's workers poll; default TEMPORAL_TASK_QUEUE.")
    ] = None,
    output: OutputOption = None,
) -> None:
    """Start a run of a flow for each line of a file, and collect the results in another, one line for each.

    Started again with the same file it goes on: a line's run has an id made of the batch's id and of what the line
    says, so that nothing is started twice, and results that came meanwhile are collected. Lines may be added and moved.
    To run the same lines anew, give another --id.

    Runs that wait for a person do not hold the others up; they are shown as such, and call for another time. Exit code
    0: all completed; 1: some failed, or lines were bad; 5: some go on or wait.

    Examples:

      {command} OrderFlow orders.jsonl --rate 20 --in-flight 50

      {command} OrderFlow orders.jsonl --key order_id --id orders-november --out results.jsonl

      {command} OrderFlow orders.jsonl --retry-failed
    """
    name = batch_id or f"{flow}-{inputs.stem}"
    path = results or inputs.with_name(f"{inputs.stem}.results.jsonl")
    total = _count(inputs, path)
    out = Output(output)
    try:
        with ResultsFile.open(path, name) as file:
            run = _Run(out, file, Tally(name, flow, total, path), retry_failed)
            with inputs.open("rb") as lines:
                run.lines = read_lines(lines, name, flow, key)
                options = BatchOptions(
                    rate=rate, in_flight=in_flight, run_timeout=run_timeout, retry_failed=retry_failed, wait=wait
                )
                with_session(lambda session: run.work(session, options, task_queue, timeout))
                run.finish()
    except ResultsFileError as error:
        raise CommandError(f"{error} (--out)", Exit.USAGE) from error
    except (KeyboardInterrupt, CommandError) as error:
        if isinstance(error, KeyboardInterrupt) or error.code is Exit.UNREACHABLE:
            out.note("\nWhat has started goes on. Go on with the same command, to start the rest and collect results.")
        raise
    run.summarise(wait=wait)


def _count(inputs: Path, results: Path) -> int:
    """How many lines there are to run.

    Raises:
        CommandError: the file cannot be read, or is that of the results.
    """
    try:
        if results.exists() and results.samefile(inputs):
            raise CommandError(f"--out {results} is the file of the inputs: give another.", Exit.USAGE)
        with inputs.open("rb") as file:
            return sum(1 for line in file if line.strip())
    except OSError as error:
        raise CommandError(f"{inputs} cannot be read: {error.strerror}.", Exit.USAGE) from None


class _Run:
    """One call of the command: what it reads, what it counts, what it writes."""

    def __init__(self, out: Output, file: ResultsFile, tally: Tally, retry: bool) -> None:
        self._out = out
        self._file = file
        self._tally = tally
        self._retry = retry
        self._told = 0
        self._batch: Batch | None = None
        self.lines: Iterator[Line | BadLine] = iter(())

    async def work(
        self, session: Session, options: BatchOptions, task_queue: str | None, timeout: float | None
    ) -> None:
        """Start the runs, and see them through."""
        queue = task_queue or session.settings.task_queue
        await refuse_plain_text(session.client, queue)
        if not await has_worker(session.client, queue):
            self._out.note(f"No worker polls task queue {queue!r} yet: the runs wait for one.")
        self._batch = Batch(session.client, self._tally.flow, options, self._record, task_queue=queue)
        limit = asyncio.timeout(timeout)
        with Progress(self._out.notes, self._tally, self._batch):
            try:
                async with limit:
                    await self._batch.run(self._to_do())
            except TimeoutError:
                if not limit.expired():
                    raise

    def _to_do(self) -> Iterator[Line]:
        for line in self.lines:
            if isinstance(line, BadLine):
                self._record(Record(line.number, None, "bad", error=line.reason))
                continue
            status = self._file.ended(line, retry=self._retry)
            if status is None:
                yield line
            else:
                self._tally.statuses[status] += 1
                self._tally.before += 1

    def _record(self, record: Record) -> None:
        self._file.add(record)
        self._tally.statuses[record.status] += 1
        if record.error is None:
            return
        self._told += 1
        if self._told <= _TOLD:
            which = f" (run {record.run_id})" if record.run_id else ""
            self._out.note(f"line {record.line}{which}: {record.status.replace('_', ' ')}: {record.error}")
        elif self._told == _TOLD + 1:
            self._out.note(f"… and more such lines; all of them stand in {self._tally.path}")

    def finish(self) -> None:
        """Write how the others stand, and put the file in order."""
        batch = self._batch
        assert batch is not None
        left: list[tuple[Status, dict[str, int]]] = [
            ("waiting", batch.waiting),
            ("running", batch.under_way),
            ("not_started", batch.unstarted),
        ]
        for status, runs in left:
            for run_id, number in runs.items():
                self._record(Record(number, run_id, status))
        for line in self._to_do():
            self._record(Record(line.number, line.run_id, "not_started"))
        self._file.put_in_order()
        self._tally.started, self._tally.found = batch.started, batch.found

    def summarise(self, *, wait: bool) -> None:
        """Say how it went.

        Raises:
            CommandError: not all has completed.
        """
        tally, out = self._tally, self._out
        if out.json:
            out.data(tally.to_json())
        else:
            out.text(f"{tally.total} lines: {tally.told()}.")
            out.text(f"Results: {tally.path}", "dim")
        if tally.statuses["waiting"]:
            out.note(f"See what people are asked with: {called_as()} inbox --flow {tally.flow}")
        if tally.wrong:
            unsuccessful = f"{tally.wrong} of {tally.total} lines have no result, and will have none by themselves"
            raise CommandError(
                f"{unsuccessful}; {tally.path} tells why. Mend bad lines and call again; start failed runs again with "
                "--retry-failed.",
                Exit.FAILED,
            )
        if tally.open and wait:
            raise CommandError(
                f"{tally.open} of {tally.total} lines have no result yet. Call again to collect them.", Exit.NOT_YET
            )
