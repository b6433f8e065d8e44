"""`worker`: serve flows until told to stop. Here are its options; `worker_life` is what it does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from everstep.cli.exits import DEBUG_VARIABLE, code_of, leave
from everstep.cli.flows import Found, distinct, in_folder, resolve
from everstep.cli.health import parse_address
from everstep.cli.logs import set_up_logging
from everstep.cli.session import explained
from everstep.cli.settings_shown import shown_settings
from everstep.cli.worker_life import live
from everstep.cli.worker_settings import GRACE_SECONDS, WorkerSettings, parse_concurrency, split
from everstep.errors import EverstepError, FlowNotFoundError
from everstep.temporal.health import LIVE_SECONDS
from everstep.temporal.slots import MAX_CONCURRENT_STEPS

_log = logging.getLogger("everstep.worker")


def worker(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[FLOW]...", help="Which flows of workflows/ to serve; default all.")
    ] = None,
    flows: Annotated[
        list[str] | None,
        typer.Option(
            "--flows",
            metavar="PLACE",
            envvar="EVERSTEP_FLOWS",
            help="Flows elsewhere: path/to/file.py[:Class] or package.module[:Class].",
        ),
    ] = None,
    task_queue: Annotated[
        str | None, typer.Option("--task-queue", envvar="TEMPORAL_TASK_QUEUE", help="What it polls; default everstep.")
    ] = None,
    steps_only: Annotated[
        bool,
        typer.Option(
            "--steps-only",
            envvar="EVERSTEP_STEPS_ONLY",
            help="Take no runs: for a queue that steps name by task_queue.",
        ),
    ] = False,
    max_concurrent_steps: Annotated[
        int,
        typer.Option(
            "--max-concurrent-steps",
            min=1,
            envvar="EVERSTEP_MAX_CONCURRENT_STEPS",
            help="How many steps it runs at one time.",
        ),
    ] = MAX_CONCURRENT_STEPS,
    step_concurrency: Annotated[
        list[str] | None,
        typer.Option(
            "--step-concurrency",
            metavar="FLOW.STEP=N",
            envvar="EVERSTEP_STEP_CONCURRENCY",
            help="How many of one step, several with commas.",
        ),
    ] = None,
    steps_per_second: Annotated[
        float | None,
        typer.Option(
            "--max-steps-per-second",
            min=0.001,
            envvar="EVERSTEP_MAX_STEPS_PER_SECOND",
            help="How many steps it begins per second.",
        ),
    ] = None,
    queue_steps_per_second: Annotated[
        float | None,
        typer.Option(
            "--queue-steps-per-second",
            min=0.001,
            envvar="EVERSTEP_QUEUE_STEPS_PER_SECOND",
            help="The same of all workers of the task queue, kept by the server.",
        ),
    ] = None,
    target_memory: Annotated[
        float | None,
        typer.Option(
            "--target-memory",
            min=0.01,
            max=1,
            envvar="EVERSTEP_TARGET_MEMORY",
            help="Begin steps only while less of the memory is in use, from 0 to 1.",
        ),
    ] = None,
    target_cpu: Annotated[
        float | None,
        typer.Option("--target-cpu", min=0.01, max=1, envvar="EVERSTEP_TARGET_CPU", help="The same for the CPU."),
    ] = None,
    graceful_shutdown: Annotated[
        float,
        typer.Option(
            "--graceful-shutdown",
            min=0,
            envvar="EVERSTEP_GRACEFUL_SHUTDOWN",
            help="Seconds that running steps get to end when it stops.",
        ),
    ] = GRACE_SECONDS,
    wait_for_server: Annotated[
        float,
        typer.Option(
            "--wait-for-server",
            min=0,
            envvar="EVERSTEP_WAIT_FOR_SERVER",
            help="Seconds to wait for a server that is not there yet.",
        ),
    ] = 60.0,
    health_address: Annotated[
        str | None,
        typer.Option(
            "--health-address",
            metavar="HOST:PORT",
            envvar="EVERSTEP_HEALTH_ADDRESS",
            help="Where to answer GET /livez and /readyz; off by default.",
        ),
    ] = None,
    liveness_bound: Annotated[
        float,
        typer.Option(
            "--liveness-bound",
            min=1,
            envvar="EVERSTEP_LIVENESS_BOUND",
            help="Seconds for which an event loop may be held before /livez fails.",
        ),
    ] = LIVE_SECONDS,
    log_format: Annotated[
        str, typer.Option("--log-format", envvar="EVERSTEP_LOG_FORMAT", help="text, or json: an object per line.")
    ] = "text",
    log_level: Annotated[
        str, typer.Option("--log-level", envvar="EVERSTEP_LOG_LEVEL", help="debug, info, warning or error.")
    ] = "info",
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error that ends it.")] = False,
) -> None:
    """Serve flows: run their steps. By default all that the files of workflows/ define.

    SIGTERM or Ctrl-C stops it gracefully: it takes no new work, running steps get their grace, the rest goes to
    another worker at once. A second signal ends it at once. With TEMPORAL_DEPLOYMENT_NAME and
    TEMPORAL_WORKER_BUILD_ID set, it is a version of that worker deployment.

    Exit codes beside those below: 1 when it cannot go on, 143 or 130 when a second signal ended it.

    Examples:

      {command}

      {command} RefundFlow --task-queue refunds

      {command} --flows workflows/rag.py:RagFlow --flows workflows/approval.py --max-concurrent-steps 20

      {command} --flows mine.py --task-queue gpu --steps-only --step-concurrency Mine.render=1
    """
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
    set_up_logging(log_level, log_format)
    source = context.get_parameter_source("flows")
    if names and source is not None and source.name == "ENVIRONMENT":
        flows = None  # who names flows on the command line means those
    with _told(log_format):
        settings = WorkerSettings(
            task_queue,
            max_concurrent_steps,
            parse_concurrency(step_concurrency),
            steps_per_second,
            queue_steps_per_second,
            target_memory,
            target_cpu,
            steps_only,
            graceful_shutdown,
            wait_for_server,
            None if health_address is None else parse_address(health_address),
            liveness_bound,
        )
        _log.info("settings: %s", " ".join(f"{k}={v}" for k, v in shown_settings(os.environ).items()) or "none are set")
        found = choose(names or (), split(flows), project_root())
        with explained():
            asyncio.run(live(found, settings))


@contextlib.contextmanager
def _told(log_format: str) -> Generator[None]:
    """Where the log is JSON, what ends the program is a line of it too."""
    try:
        yield
    except Exception as error:
        if log_format != "json":
            raise
        known = isinstance(error, EverstepError) and not os.environ.get(DEBUG_VARIABLE)
        _log.critical("%s", error, exc_info=None if known else error)
        leave(code_of(error))


def choose(names: Sequence[str], places: Sequence[str], root: Path) -> list[Found]:
    """The flows to serve: those named, of `workflows/` under `root`, and those at other places; else all of the folder.

    Raises:
        FlowNotFoundError: one is not there.
        WorkflowConfigurationError: one cannot be imported or built, or two have one name.
        WorkflowValidationError: one cannot work; names its place.
    """
    found: list[Found] = []
    if names or not places:
        folder = distinct(in_folder(root))
        by_name = {one.name: one for one in folder}
        for name in names:
            if name not in by_name:
                raise FlowNotFoundError(name, list(by_name))
        found += [by_name[name] for name in names] if names else folder
    for place in places:
        found += resolve(place, root)
    return distinct(found)


def project_root() -> Path:
    """Where `workflows/` is: beside the program `worker.py`, else in the working directory."""
    program = Path(sys.argv[0])
    return program.resolve().parent if program.suffix == ".py" else Path.cwd()
