"""`graph`: a flow as a picture: as Mermaid text, as a page, or as data.

Rule: nothing here imports the Temporal client, which takes longer than drawing; the way of a run is in graph_run.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from everstep.cli.exits import CommandError, Exit
from everstep.cli.flows import resolve
from everstep.cli.program import called_as, command_function
from everstep.flow.definition import FlowDefinition
from everstep.representation import (
    WorkflowGraph,
    get_workflow_representation,
    to_html,
    to_mermaid,
)


class Drawing(StrEnum):
    """The forms of a graph."""

    MERMAID = "mermaid"
    HTML = "html"
    JSON = "json"
    DEFINITION = "definition"


_FORMATS = frozenset(form.value for form in Drawing)
_ENDINGS = {
    ".html": Drawing.HTML,
    ".htm": Drawing.HTML,
    ".json": Drawing.JSON,
    ".mmd": Drawing.MERMAID,
    ".mermaid": Drawing.MERMAID,
}

FormatOption = Annotated[
    Drawing | None,
    typer.Option(
        "--format",
        "-f",
        help="mermaid, html (a page that needs nothing else), json (nodes and edges), or definition (the flow as it "
        "stands in histories); without it, what the file's ending says, else mermaid.",
    ),
]
PlaceOption = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write it there; or a format, to print it so."),
]


def graph(
    flow: Annotated[
        str | None,
        typer.Argument(metavar="FLOW", help="path/to/file.py:Class, package.module:Class, or a name from workflows/."),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Draw the way that this run took.")] = None,
    format: FormatOption = None,
    output: PlaceOption = None,
) -> None:
    """Draw a flow: as a Mermaid diagram, for Markdown files and mermaid.live, or as a page to look at.

    The class may be left out where the file has one flow. No server is needed, but for --run.

    Examples:

      {command} workflows/approval.py

      {command} workflows/rag.py:RagFlow -o rag.html

      {command} workflows.approval:RefundFlow -f json

      {command} --run refund-17 -o run.html
    """
    if (flow is None) == (run is None):
        raise CommandError("Name a flow, such as workflows/approval.py, or a run by --run: one of both.", Exit.USAGE)
    form, file = where(format, output)
    if run is not None:
        command_function("graph_run:put_run")(run, form, file)
        return
    assert flow is not None
    found = resolve(flow, Path.cwd())
    if len(found) > 1:
        names = ", ".join(f"{flow}:{one.name}" for one in found)
        raise CommandError(f"{flow} has several flows: name one of {names}.", Exit.USAGE)
    put(get_workflow_representation(found[0].flow), found[0].flow.definition, form, file)


def where(format: Drawing | None, output: str | None) -> tuple[Drawing, Path | None]:
    """The form that is asked for, and the file to write, if any.

    Raises:
        CommandError: the file's ending tells no form.
    """
    if output is None:
        return format or Drawing.MERMAID, None
    if format is None and output in _FORMATS:
        return Drawing(output), None
    file = Path(output)
    form = format or _ENDINGS.get(file.suffix.lower())
    if form is None:
        raise CommandError(
            f"The ending of {output} tells no format: use .html, .mmd or .json, or give --format.", Exit.USAGE
        )
    return form, file


def put(found: WorkflowGraph, definition: FlowDefinition, form: Drawing, file: Path | None) -> None:
    """Print a graph, or write it.

    Raises:
        CommandError: the file cannot be written.
    """
    text = _text(found, definition, form)
    if file is None:
        sys.stdout.write(text)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"{file} cannot be written: {error.strerror or error}. Name another file, as in "
            f"{called_as()} graph … -o picture.html",
            Exit.USAGE,
        ) from error
    sys.stderr.write(f"wrote {file}\n")


def _text(found: WorkflowGraph, definition: FlowDefinition, form: Drawing) -> str:
    if form is Drawing.HTML:
        return to_html(found)
    if form is Drawing.MERMAID:
        return to_mermaid(found)
    data = definition.to_json() if form is Drawing.DEFINITION else found.model_dump(mode="json", exclude_none=True)
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"
