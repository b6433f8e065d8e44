"""`graph RUN`: the way that a run took, read from its history, in the forms in which flows are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everstep.cli.graph import Drawing, FormatOption, PlaceOption, put, where
from everstep.cli.session import Session, with_session
from everstep.representation import get_run_representation
from everstep.run_path import RunPath
from everstep.temporal.path import run_path


def run_graph(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `list` shows it.")],
    format: FormatOption = None,
    output: PlaceOption = None,
) -> None:
    """Draw the way that a run took: which steps ran, how often, how long, what failed or waits.

    It is read from the run's history: for runs under way and for those that have ended, without a worker.

    Examples:

      {command} refund-17 -o run.html

      {command} refund-17 -f json | jq '.nodes[] | select(.run)'
    """
    put_run(run, *where(format, output))


def put_run(run_id: str, form: Drawing, file: Path | None) -> None:
    """Print the way of a run, or write it."""

    async def read(session: Session) -> RunPath:
        return await run_path(session.client, run_id)

    path = with_session(read)
    put(get_run_representation(path), path.definition, form, file)
