"""`graph`: a flow as a Mermaid diagram, or its definition as JSON."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from everstep.cli.exits import CommandError, Exit
from everstep.cli.flows import resolve
from everstep.flow.draw import to_mermaid


class Drawing(StrEnum):
    """The forms of a flow."""

    MERMAID = "mermaid"
    JSON = "json"


def graph(
    flow: Annotated[
        str,
        typer.Argument(metavar="FLOW", help="path/to/file.py:Class, package.module:Class, or a name from workflows/."),
    ],
    output: Annotated[
        Drawing, typer.Option("--output", "-o", help="mermaid, or json: the flow's definition.")
    ] = Drawing.MERMAID,
) -> None:
    """Draw a flow as a Mermaid diagram, for Markdown files and mermaid.live. No server is needed.

    The class may be left out where the file has one flow.

    Examples:

      {command} workflows/approval.py

      {command} workflows/rag.py:RagFlow > docs/rag.mmd

      {command} workflows.approval:RefundFlow -o json
    """
    found = resolve(flow, Path.cwd())
    if len(found) > 1:
        names = ", ".join(f"{flow}:{one.name}" for one in found)
        raise CommandError(f"{flow} has several flows: name one of {names}.", Exit.USAGE)
    definition = found[0].flow.definition
    if output is Drawing.JSON:
        sys.stdout.write(json.dumps(definition.to_json(), ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write(to_mermaid(definition))
