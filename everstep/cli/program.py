"""The programs' commands as a table, and running them.

A command's module is imported when the command is called: those that speak to Temporal take a second to import, which
help, completion and usage errors need not wait for.
"""

from __future__ import annotations

import importlib
import inspect
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from everstep.cli.exits import DEBUG_VARIABLE, EXIT_CODES_HELP, guarded

SETTINGS_HELP = (
    "The server is the one that the TEMPORAL_* settings name (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, …); else the dev "
    "server of this directory, if it runs (`everstep dev`); else localhost:7233."
)


_CONTEXT = {"help_option_names": ["-h", "--help"]}


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: the function `module:name` of this package that carries it out, and its line in the help.

    One with `commands` is a group of these, and has no function of its own.
    """

    name: str
    function: str
    summary: str
    panel: str
    commands: tuple[Entry, ...] = ()


_SCHEDULES = (
    Entry("create", "schedule:create", "Have the server start a flow at times.", "Schedules"),
    Entry("list", "schedule:list_", "List the schedules.", "Schedules"),
    Entry("show", "schedule:show", "Show one schedule: times, input, last runs.", "Schedules"),
    Entry("pause", "schedule:pause", "Start no more runs, for now.", "Schedules"),
    Entry("unpause", "schedule:unpause", "Start runs again.", "Schedules"),
    Entry("trigger", "schedule:trigger", "Start a run now.", "Schedules"),
    Entry("delete", "schedule:delete", "Take a schedule away.", "Schedules"),
)
_RUNS = (
    Entry("run", "start:run", "Start a run of a flow; with --follow, see it through.", "Runs"),
    Entry("list", "listing:list_", "List runs: those under way, then the last to end.", "Runs"),
    Entry("show", "show:show", "Show one run: status, steps, open requests, what holds it up.", "Runs"),
    Entry("result", "show:result", "Print a run's result, waiting for it.", "Runs"),
    Entry("stream", "stream:stream", "Print the events that a run publishes.", "Runs"),
    Entry("state", "show:state", "Print a run's state.", "Runs"),
    Entry("cancel", "talk:cancel", "Cancel a run.", "Runs"),
    Entry("inbox", "listing:inbox", "List all open requests to people, over all runs.", "People and messages"),
    Entry("respond", "talk:respond", "Answer a run's request.", "People and messages"),
    Entry("send", "talk:send", "Send an event to a run.", "People and messages"),
    Entry("batch", "batch:batch", "Start a run for each line of a file, and collect the results.", "Many runs"),
    Entry("schedule", "", "Flows that the server starts by itself, at times.", "Many runs", _SCHEDULES),
)
_DOCTOR = Entry("doctor", "doctor:doctor", "Look at all that runs need; say what is wrong and what to do.", "Server")
# `everstep` has one command `graph` for both; `starter.py` knows runs only.
_RUN_GRAPH = Entry("graph", "graph_run:run_graph", "Draw the way that a run took.", "Runs")
_WORKER = Entry("worker", "serve:worker", "Serve flows: run their steps.", "Server")
_TOOLS = (
    Entry("dev", "dev:dev", "Start, find or stop the embedded Temporal dev server.", "Development"),
    Entry("graph", "graph:graph", "Draw a flow, or the way that a run took.", "Development"),
    _WORKER,
)
_PRIVACY = (
    Entry("keys", "keys:keys", "Make, rotate or list the keys that payloads are encrypted with.", "Privacy"),
    Entry("codec-server", "codec:codec_server", "Decode payloads for the Temporal UI and command.", "Privacy"),
)


class CommandTable(TyperGroup):
    """A group of commands whose modules are imported when they are called."""

    entries: Mapping[str, Entry] = MappingProxyType({})
    called: str | None = None
    """How a group within the program is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Put the command itself in the place of its stub."""
        entry = self.entries.get(args[0]) if args else None
        if entry is not None:
            self.commands[entry.name] = load(entry, f"{self.called or called_as()} {entry.name}")
        return super().resolve_command(ctx, args)


def table(about: str, entries: Sequence[Entry], called: str | None = None) -> Any:
    """A group with these commands, in this order; `about` begins its help."""
    app = typer.Typer(
        cls=CommandTable,
        help=about,
        epilog=f"{SETTINGS_HELP}\n\n{EXIT_CODES_HELP}",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        context_settings=_CONTEXT,
    )
    app.callback()(_group)
    for entry in entries:
        app.command(entry.name, help=entry.summary, rich_help_panel=entry.panel)(_stub)
    group = get_command(app)
    assert isinstance(group, CommandTable)
    group.entries = {entry.name: entry for entry in entries}
    group.called = called
    return group


def load(entry: Entry, command: str | None = None) -> Any:
    """Import a command's module and make the command; `command` is how it is called."""
    command = command or f"{called_as()} {entry.name}"
    if entry.commands:
        return table(entry.summary, entry.commands, command)
    function = command_function(entry.function)
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(entry.name, help=_help(function, command), context_settings=_CONTEXT, epilog=EXIT_CODES_HELP)(function)
    return get_command(app)


def command_function(place: str) -> Any:
    """The function `module:name` of this package, imported now."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"everstep.cli.{module}"), name)


def _help(function: Any, command: str) -> str:
    """A docstring with one line to the paragraph, so that the help is wrapped to the terminal and not twice.

    In its examples the command stands as it was called, to be copied.
    """
    paragraphs = (inspect.getdoc(function) or "").replace("{command}", command).split("\n\n")
    return "\n\n".join(text if text.startswith(" ") else " ".join(text.split("\n")) for text in paragraphs)


def everstep_commands() -> Any:
    """All commands: the console script `everstep`."""
    return table("Event-driven workflows, durable on Temporal.", (*_TOOLS, _DOCTOR, *_RUNS, *_PRIVACY))


def starter_commands() -> Any:
    """The commands of `starter.py`."""
    return table("Start runs of flows, see how they go on, and answer what they ask.", (*_RUNS, _RUN_GRAPH, _DOCTOR))


def worker_command() -> Any:
    """The one command of `worker.py`."""
    return load(_WORKER, called_as())


def run(command: Any) -> NoReturn:
    """Run a command with this process's arguments, and end the process."""
    guarded(lambda: command.main(prog_name=called_as()))


def called_as() -> str:
    """How this program was called, for commands to copy: `everstep`, or `python starter.py`."""
    path = Path(sys.argv[0])
    if path.suffix == ".py":
        return f"python {min(os.path.relpath(path), str(path), key=len)}"
    return path.name


def worker_called(task_queue: str | None = None) -> str:
    """How a worker is started where this program was, to be copied: `python worker.py`, or `everstep worker`.

    Args:
        task_queue: what it has to poll; None: nothing is said of it.
    """
    called = called_as()
    shipped = called.endswith("starter.py")
    worker = called.replace("starter.py", "worker.py") if shipped else f"{called} worker --flows FILE"
    return worker if task_queue is None else f"{worker} --task-queue {shlex.quote(task_queue)}"


def _group(
    debug: Annotated[
        bool, typer.Option("--debug", help=f"Show the traceback of an error (or set {DEBUG_VARIABLE}=1).")
    ] = False,
) -> None:
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


def _stub() -> None:
    """Stands for a command whose module is not imported yet."""
