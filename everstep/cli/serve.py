"""`worker`: serve flows until told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from everstep.cli.exits import DEBUG_VARIABLE, CommandError, Exit, leave
from everstep.cli.flows import Found, distinct, in_folder, resolve
from everstep.cli.session import explained
from everstep.errors import FlowNotFoundError, WorkflowConfigurationError
from everstep.observe import RunLogFilter
from everstep.temporal.deployment import deployment_from
from everstep.temporal.metrics_settings import metrics_config
from everstep.temporal.settings import ConnectionFailedError, ConnectionSettings, connect
from everstep.temporal.worker import MAX_CONCURRENT_STEPS, serving

_log = logging.getLogger("everstep.worker")
RETRY_SECONDS = 2.0


def worker(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[FLOW]...", help="Which flows of workflows/ to serve; default all.")
    ] = None,
    flows: Annotated[
        list[str] | None,
        typer.Option(
            "--flows", metavar="PLACE", help="Flows elsewhere: path/to/file.py[:Class] or package.module[:Class]."
        ),
    ] = None,
    task_queue: Annotated[
        str | None, typer.Option("--task-queue", help="What it polls; default TEMPORAL_TASK_QUEUE, else everstep.")
    ] = None,
    max_concurrent_steps: Annotated[
        int, typer.Option("--max-concurrent-steps", min=1, help="How many steps it runs at one time.")
    ] = MAX_CONCURRENT_STEPS,
    graceful_shutdown: Annotated[
        float, typer.Option("--graceful-shutdown", min=0, help="Seconds that running steps get to end when it stops.")
    ] = 10.0,
    wait_for_server: Annotated[
        float, typer.Option("--wait-for-server", min=0, help="Seconds to wait for a server that is not there yet.")
    ] = 60.0,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error that ends it.")] = False,
) -> None:
    """Serve flows: run their steps. By default all that the files of workflows/ define.

    SIGTERM or Ctrl-C stops it gracefully: it takes no new work, running steps get their grace, the rest goes to
    another worker at once. A second signal ends it at once. With TEMPORAL_DEPLOYMENT_NAME and
    TEMPORAL_WORKER_BUILD_ID set, it is a version of that worker deployment.

    Exit codes beside those below: 143 or 130 when a second signal ended it.

    Examples:

      {command}

      {command} RefundFlow --task-queue refunds

      {command} --flows workflows/rag.py:RagFlow --flows workflows/approval.py --max-concurrent-steps 20
    """
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
    _set_up_logging(log_level)
    found = choose(names or (), flows or (), _root())
    with explained():
        asyncio.run(
            _serve(
                found,
                task_queue,
                wait_for_server,
                max_concurrent_steps=max_concurrent_steps,
                graceful_shutdown=graceful_shutdown,
            )
        )


def choose(names: Sequence[str], places: Sequence[str], root: Path) -> list[Found]:
    """The flows to serve: those named, of `workflows/` under `root`, and those at other places; else all of the folder.

    Raises:
        FlowNotFoundError: one is not there.
        WorkflowConfigurationError: one cannot be imported or built, or two have one name.
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


async def _serve(found: Sequence[Found], task_queue: str | None, patience: float, **options: Any) -> None:
    stop = _stop_on_signals()
    connected = await _connected(patience, stop)
    if connected is None:
        return
    client, settings = connected
    await _check_namespace(client, settings)
    queue = task_queue or settings.task_queue
    deployment = deployment_from(os.environ)
    if deployment is not None:
        options |= {"deployment_config": deployment}
    async with serving(client, [one.flow for one in found], task_queue=queue, **options):
        _log.info("serves %s", ", ".join(f"{one.name} ({one.origin})" for one in found))
        _log.info("polls task queue %r at %s, namespace %r", queue, settings.address, settings.namespace)
        _log.info(
            "is %s, pid %d, up to %d steps at a time", _build(deployment), os.getpid(), options["max_concurrent_steps"]
        )
        await stop.wait()
        _log.info(
            "stops: running steps have %g s to end; a second signal ends it at once", options["graceful_shutdown"]
        )
    _log.info("has stopped")


async def _connected(patience: float, stop: asyncio.Event) -> tuple[Client, ConnectionSettings] | None:
    """Connect, again and again while the server is not there; None when told to stop meanwhile."""
    deadline = time.monotonic() + patience
    runtime = _runtime()
    told = False
    while not stop.is_set():
        settings = await asyncio.to_thread(ConnectionSettings.load)
        try:
            left = min(10.0, max(1.0, deadline - time.monotonic()))
            return await connect(settings, timeout=left, runtime=runtime), settings
        except ConnectionFailedError as error:
            if time.monotonic() >= deadline:
                raise
            if not told:
                _log.warning("%s Trying again for %g s.", error, patience)
                told = True
        try:
            async with asyncio.timeout(min(RETRY_SECONDS, max(0.1, deadline - time.monotonic()))):
                await stop.wait()
        except TimeoutError:
            continue
    return None


async def _check_namespace(client: Client, settings: ConnectionSettings) -> None:
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise CommandError(
                f"There is no namespace {client.namespace!r} at {settings.address}. Check TEMPORAL_NAMESPACE, or "
                "create it.",
                Exit.NOT_FOUND,
            ) from None
        _log.debug("the namespace cannot be described: %s", error)  # it need not be permitted


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()

    def told(number: signal.Signals) -> None:
        if stop.is_set():
            _log.warning("ends at once, by a second signal")
            leave(128 + number)
        _log.info("received %s", number.name)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)
    return stop


def _runtime() -> Runtime:
    """The SDK's core: its log goes into this process's own, its metrics where the OTEL_* settings say.

    Raises:
        WorkflowConfigurationError: metrics cannot go there.
    """
    forwarding = LogForwardingConfig(logging.getLogger("temporalio.core"), prepend_target_on_message=False)
    metrics = metrics_config(os.environ)
    telemetry = TelemetryConfig(logging=LoggingConfig(TelemetryFilter("WARN", "ERROR"), forwarding), metrics=metrics)
    try:
        runtime = Runtime(telemetry=telemetry)
    except (RuntimeError, ValueError) as error:
        raise WorkflowConfigurationError(
            f"Metrics cannot be exported: {error}. Check OTEL_EXPORTER_…, and whether the port is free."
        ) from error
    if metrics is not None:
        _log.info("metrics: %s", metrics.bind_address if isinstance(metrics, PrometheusConfig) else metrics.url)
    return runtime


def _build(deployment: WorkerDeploymentConfig | None) -> str:
    build = f"everstep {version('everstep')}, temporalio {version('temporalio')}, Python {platform.python_version()}"
    if deployment is None:
        return build
    return f"build {deployment.version.build_id} of {deployment.version.deployment_name}, {build}"


def _root() -> Path:
    """Where `workflows/` is: beside the program `worker.py`, else in the working directory."""
    program = Path(sys.argv[0])
    return program.resolve().parent if program.suffix == ".py" else Path.cwd()


def _set_up_logging(level: str) -> None:
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise CommandError(f"There is no log level {level!r}: give debug, info, warning or error.", Exit.USAGE)
    form = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s %(message)s%(where)s"
    formatter = logging.Formatter(form, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(RunLogFilter())  # tells run, step and trace of what steps log
    logging.basicConfig(level=logging.WARNING if number >= logging.INFO else number, handlers=[handler])
    logging.getLogger("everstep").setLevel(number)
