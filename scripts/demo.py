"""The demo: index a folder of documents, ask them a question, approve the answer, see it published. On Temporal.

    make demo                          the project's own documents; you are asked to approve
    make demo YES=1 DOCS=~/papers      your own documents; approves by itself

It uses what any client would: flows started by name with plain JSON, and the run's own stream. The steps run in
`worker.py`, a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import shlex
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from demo_screen import console, plain, say, show_draft, show_result, shown_path
from demo_worker import ROOT, STATE, alongside, end_on_signals, worker, worker_log
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from temporalio.runtime import Runtime, TelemetryConfig

from everstep.cli.exits import CommandError, Exit, guarded
from everstep.cli.session import explained
from everstep.cli.text import clean
from everstep.errors import ResponseRefusedError
from everstep.temporal import TemporalRuntime
from everstep.temporal.devserver import DevServer, ensure_dev_server_async
from everstep.temporal.handler import TemporalHandler
from everstep.temporal.settings import ConnectionSettings

T = TypeVar("T")
Json = dict[str, Any]

# Not all of docs/: each page costs whoever tries the demo a moment.
OWN_DOCUMENTS = (
    "README.md",
    "docs/agents.md",
    "docs/architecture.md",
    "docs/concepts.md",
    "docs/decisions",
    "docs/guide.md",
    "docs/operations.md",
)
OWN_QUESTION = "What happens to a run when its worker dies?"
HEADING = re.compile(r"^(#{1,3})\s+(?:[\d.]+\s+)?(\w\S*(?: [\w-]\S*){1,7})\s*$", re.MULTILINE)
ENDINGS = ("WorkflowFailedEvent", "WorkflowTimedOutEvent", "WorkflowCancelledEvent")


@dataclass(frozen=True)
class Plan:
    """What this demo is to do."""

    folder: Path
    paths: tuple[str, ...]
    question: str
    yes: bool

    @property
    def index(self) -> str:
        """The name of the folder's index: the same each time, so that indexing again costs only what changed."""
        place = hashlib.sha256("\n".join([str(self.folder), *self.paths]).encode()).hexdigest()[:8]
        return f"demo {self.folder.name} {place}"


def demo(
    folder: Annotated[
        Path | None, typer.Argument(help="Documents: .md, .txt, .html, .pdf. Default: this project's own.")
    ] = None,
    question: Annotated[str | None, typer.Option("--question", "-q", help="What to ask them.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Approve the answer without asking.")] = False,
) -> None:
    """Index documents, ask them a question, approve the answer, see it published: all of it on Temporal."""
    plan = planned(folder, question, yes)
    told: list[signal.Signals] = []
    try:
        with explained():
            outcome = asyncio.run(play(plan, told))
    except asyncio.CancelledError:
        raise typer.Exit(128 + told[0]) from None
    raise typer.Exit(Exit.OK if outcome == "published" else Exit.FAILED)


def planned(folder: Path | None, question: str | None, yes: bool) -> Plan:
    """The arguments, checked, with what is missing filled in."""
    if folder is None:
        return Plan(ROOT, OWN_DOCUMENTS, question or OWN_QUESTION, yes)
    place = folder.expanduser().resolve()
    if not place.is_dir():
        raise CommandError(f"{folder} is not a folder. Name one that holds .md, .txt, .html or .pdf files.", Exit.USAGE)
    if question is None and at_terminal() and not yes:
        question = console.input(f"[bold]What do you want to know from {escape(str(place))}?[/] ").strip()
    return Plan(place, (".",), question or first_matter(place), yes)


def first_matter(folder: Path) -> str:
    """A question about a matter that the documents have a heading for, rather of a section than of a whole document."""
    found: list[tuple[int, str]] = []
    for file in sorted(folder.rglob("*.md"))[:50]:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found += [(len(marks), title) for marks, title in HEADING.findall(file.read_text(encoding="utf-8"))]
    sections = [title for level, title in found if level > 1] or [title for _, title in found]
    # The longest says most of what it is about.
    matter = max(sections, key=len, default="").strip(" #*`:")
    return f"What about {matter}?" if matter else "What are these documents about?"


async def play(plan: Plan, told: list[signal.Signals]) -> str:
    """The whole demo; gives how the question ended. A signal that ends it early is put into `told`."""
    end_on_signals(told)
    settings, server = await find_server()
    queue = os.environ.get("TEMPORAL_TASK_QUEUE") or "everstep-demo"
    # The SDK would log a lost server to stdout, between the lines that are for people.
    quiet = Runtime(telemetry=TelemetryConfig(logging=None))
    runtime = await TemporalRuntime.connect(settings, runtime=quiet)
    runtime.task_queue = queue
    say("server", f"Temporal at {settings.address}" + (f", web UI {settings.ui_url}" if settings.ui_url else ""))
    try:
        async with worker(settings, queue) as process:
            say("worker", f"worker.py, pid {process.pid}, task queue {queue}; log in {shown_path(worker_log())}")
            say("model", models())
            await alongside(process, indexed(plan, runtime))
            result = await alongside(process, answered(plan, runtime, settings))
    finally:
        with contextlib.suppress(OSError):  # the terminal may be gone
            say("worker", "stopped")
            if server is not None:
                console.print(
                    f"The dev server goes on, with all runs: {server.ui_url}. "
                    "Stop it with: .venv/bin/everstep dev --stop"
                )
    return str(result["status"])


async def find_server() -> tuple[ConnectionSettings, DevServer | None]:
    """The server that the settings name; without any, the project's dev server, started if need be."""
    settings = ConnectionSettings.load(directory=STATE)
    if settings.source == "settings":
        return settings, None
    server = await ensure_dev_server_async(STATE)
    return ConnectionSettings.load(directory=STATE), server


def models() -> str:
    """Which models the worker will use, by the same settings."""
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return f"{os.environ.get('EVERSTEP_MODEL') or 'the default chat model'}, as OPENAI_* say"
    return "no OPENAI_API_KEY: extractive answerer (quotes the documents, writes nothing) and packaged embeddings"


# --- Indexing ---------------------------------------------------------------------------------------------------------


async def indexed(plan: Plan, runtime: TemporalRuntime) -> None:
    """Index the folder and show how it goes."""
    start = {"folder": str(plan.folder), "paths": list(plan.paths), "index": plan.index}
    run = await runtime.start_flow("IndexFlow", start, run_id=run_id("index"))
    began = time.monotonic()
    columns = (TextColumn("[cyan]index   [/]"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    try:
        with Progress(*columns, console=console, transient=True, disable=not at_terminal()) as bar:
            result = await indexing(run, bar)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):  # the terminal may be gone
            tell_how_to_come_back(run.run_id, runtime.task_queue)
        raise
    for error in result["errors"]:
        say("index", f"[yellow]not readable:[/] {escape(clean(error['source']))}: {escape(clean(error['reason']))}")
    counts = ", ".join(
        f"{result[name]} {name}" for name in ("indexed", "unchanged", "removed", "failed") if result[name]
    )
    say("index", f"{counts or 'nothing'}; {result['passages']} passages in {time.monotonic() - began:.1f} s")
    if not result["passages"]:
        places = ", ".join(plan.paths) if plan.folder == ROOT else ""
        raise CommandError(
            f"There is nothing to ask in {plan.folder} {places}".strip()
            + ": it holds no readable .md, .txt, .html or .pdf file. Name another folder.",
            Exit.USAGE,
        )


async def indexing(run: TemporalHandler, bar: Progress) -> Json:
    """Show on a bar how a run indexes; gives its result."""
    task = bar.add_task("", total=None)
    done, result = 0, Json()
    async for kind, data in events_of(run):
        if kind == "IndexProgress" and data["stage"] == "scan":
            bar.update(task, total=done + data["total"])
        elif kind == "IndexProgress":
            done += 1
            bar.update(task, completed=done, description=escape(clean(data["text"])))
        elif kind == "IndexResult":
            result = data
    return result


# --- Answering --------------------------------------------------------------------------------------------------------


async def answered(plan: Plan, runtime: TemporalRuntime, settings: ConnectionSettings) -> Json:
    """Ask the question, show the steps, have the answer approved, show the result."""
    run = await runtime.start_flow("RagFlow", {"question": plan.question, "index": plan.index}, run_id=run_id("rag"))
    say("ask", f"[bold]{escape(clean(plan.question))}[/]")
    say("run", f"{run.run_id}" + (f"  {settings.run_url(run.run_id)}" if settings.ui_url else ""))
    try:
        result = await watched(plan, run, settings)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):  # the terminal may be gone
            tell_how_to_come_back(run.run_id, runtime.task_queue)
            tell_how(run.run_id, settings, "Once the answer waits for a person, approve it from another shell:")
        raise
    show_result(result, settings.run_url(run.run_id))
    return result


async def watched(plan: Plan, run: TemporalHandler, settings: ConnectionSettings) -> Json:
    """Show a run's steps as they run, and have its draft approved; gives its result."""
    result: Json = {}
    approving: asyncio.Task[None] | None = None
    async for kind, data in events_of(run):
        if kind == "RagProgress":
            strategy = f"[magenta]{data['strategy']:<8}[/] " if data["strategy"] else ""
            say(data["stage"], strategy + escape(clean(data["text"])))
        elif kind == "ApprovalRequested":
            show_draft(data)
            approving = asyncio.create_task(approve(plan, run, settings))
        elif kind == "RagResult":
            result = data
    if approving is not None:
        approving.cancel()
    return result


async def approve(plan: Plan, run: TemporalHandler, settings: ConnectionSettings) -> None:
    """Have the answer approved: by --yes, by the person at the terminal, or from elsewhere."""
    if plan.yes:
        say("approve", "by --yes")
        await run.respond({"approved": True, "comment": "approved by --yes"}, by="make demo")
        return
    if not at_terminal():
        tell_how(run.run_id, settings)
        return
    answer = await in_thread(ask_person)
    try:
        await run.respond(answer)
    except ResponseRefusedError as error:
        say("approve", escape(clean(str(error))))


def ask_person() -> Json:
    """What the person at the terminal says of the answer."""
    while True:
        said = console.input("[bold]Publish this answer?[/] \\[y]es, \\[n]o, \\[e]dit: ").strip().lower()
        if said in ("y", "yes"):
            return {"approved": True}
        if said in ("n", "no"):
            return {"approved": False, "comment": console.input("Why not? ").strip()}
        if said in ("e", "edit"):
            text = console.input("Your answer, on one line: ").strip()
            return {"approved": True, "answer": text} if text else {"approved": True}


def tell_how_to_come_back(run: str, queue: str) -> None:
    """What becomes of a run that the demo leaves, and the worker that takes it up, in commands to copy."""
    console.print(f"\nRun {run} stays on the server, and waits without a worker. It goes on with:")
    vectors = os.environ.get("EVERSTEP_VECTORS") or shown_path(STATE / "demo-vectors")
    plain(f"  EVERSTEP_VECTORS={shlex.quote(vectors)} .venv/bin/python worker.py --task-queue {shlex.quote(queue)}")
    console.print("See how it stands with:")
    plain(f"  .venv/bin/python starter.py show {shlex.quote(run)}")


def tell_how(
    run: str,
    settings: ConnectionSettings,
    begin: str = "The answer waits for a person. Approve it from another shell, in this directory:",
) -> None:
    """How to approve from another shell, in commands to copy."""
    name = shlex.quote(run)
    console.print(begin)
    plain(f"  .venv/bin/python starter.py respond {name} approved=true")
    plain(f"  .venv/bin/python starter.py respond {name} approved=false comment='too vague'")
    console.print("or with nothing but Temporal's own command line:")
    where = f"--address {settings.address} --namespace {settings.namespace} --workflow-id {name}"
    plain(f"  .venv/bin/temporal workflow signal {where} --name respond --input '{{\"approved\": true}}'")


# --- Small things -----------------------------------------------------------------------------------------------------


async def events_of(run: TemporalHandler) -> AsyncIterator[tuple[str, Json]]:
    """The run's published events as plain data; a run that fails ends the demo."""
    async for item in run.stream_published():
        kind, data = item.event.type, dict(item.event.data)
        if kind in ENDINGS:
            await run  # raises what went wrong
        yield kind, data


async def in_thread(work: Callable[[], T]) -> T:
    """Do what waits for a person in a thread that nobody waits for: Ctrl-C and answers from elsewhere end the demo."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        with contextlib.suppress(EOFError, RuntimeError):  # the input has ended, or the demo has
            value = work()
            loop.call_soon_threadsafe(lambda: done.done() or done.set_result(value))

    threading.Thread(target=run, daemon=True).start()
    return await done


def run_id(flow: str) -> str:
    """An id that tells when it was, and that nobody else has."""
    return f"demo-{flow}-{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def at_terminal() -> bool:
    """Whether a person can be asked here."""
    return sys.stdin.isatty() and sys.stdout.isatty()


if __name__ == "__main__":
    guarded(lambda: typer.run(demo))
