"""`dev`: the embedded Temporal dev server of this directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from everstep.cli.exits import CommandError, Exit
from everstep.cli.output import Output, OutputOption
from everstep.cli.program import called_as
from everstep.temporal.devserver import (
    DEFAULT_DIRECTORY,
    DevServer,
    ensure_dev_server,
    find_dev_server,
    stop_dev_server,
)


def dev(
    stop: Annotated[bool, typer.Option("--stop", help="Stop it; its data stays.")] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Only tell whether it runs (exit code 3: it does not).")
    ] = False,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="For clients; default 7233, or a free one.")
    ] = None,
    ui_port: Annotated[
        int | None, typer.Option("--ui-port", min=1, max=65535, help="For the web UI; default 8233, or a free one.")
    ] = None,
    directory: Annotated[Path, typer.Option("--directory", help="Where its files are.")] = DEFAULT_DIRECTORY,
    output: OutputOption = None,
) -> None:
    """Start the Temporal dev server of this directory, or find the one that runs, and tell where it is.

    It goes on in the background, keeps its runs in .everstep/, and is found by every program that is called here.

    Examples:

      {command}

      {command} --status -o json

      {command} --stop
    """
    out = Output(output)
    if stop and status:
        raise CommandError("Give --stop or --status, not both.", Exit.USAGE)
    if stop:
        _say(out, {"running": False, "stopped": stop_dev_server(directory)}, "stopped", "no dev server ran here")
        return
    if status:
        found = find_dev_server(directory)
        if found is None:
            if out.json:
                out.data({"running": False})
            raise CommandError(f"No dev server runs here. Start one with: {called_as()} dev", Exit.UNREACHABLE)
        _tell(out, found)
        return
    _tell(out, ensure_dev_server(directory, port=port, ui_port=ui_port))


def _tell(out: Output, server: DevServer) -> None:
    if out.json:
        out.data(
            {
                "running": True,
                "started": server.started,
                "address": server.address,
                "ui_url": server.ui_url,
                "pid": server.pid,
                "data": str(server.spec.db_file),
            }
        )
        return
    out.text(f"Temporal dev server {'started' if server.started else 'runs'} at {server.address}", "bold")
    out.text(f"  Temporal UI  {server.ui_url}")
    out.text(f"  data         {server.spec.db_file}")
    out.text(f"Stop it with: {called_as()} dev --stop", "dim")


def _say(out: Output, data: dict[str, Any], done: str, nothing: str) -> None:
    if out.json:
        out.data(data)
    else:
        out.text(done if data["stopped"] else nothing)
