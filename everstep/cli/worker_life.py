"""The life of a worker process: connect, serve, drain, end; and the errors that end it because it cannot mend them.

Rule: a worker that can do no work ends with an exit code that is not 0, so that whoever started it starts another.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import signal
import threading
from collections.abc import Callable, Coroutine, Sequence
from importlib.metadata import version
from typing import Any, cast

from temporalio.client import Client
from temporalio.worker import Worker, WorkerDeploymentConfig

from everstep.cli.exits import CommandError, Exit, leave
from everstep.cli.flows import Found
from everstep.cli.health import serve_health
from everstep.cli.worker_connection import check_namespace, connected, no_namespace
from everstep.cli.worker_guard import guard
from everstep.cli.worker_settings import WorkerSettings
from everstep.temporal.deployment import deployment_from
from everstep.temporal.health import Polling, Stage, WorkerHealth
from everstep.temporal.host import StepsLoopDied
from everstep.temporal.loop_watch import LoopWatch
from everstep.temporal.privacy import PrivacySettings
from everstep.temporal.settings import ConnectionSettings
from everstep.temporal.worker import EverstepPlugin, serving

_log = logging.getLogger("everstep.worker")

OVERTIME_SECONDS = 15.0
"""How long after the grace of running steps a worker that stops may still take; then it is ended the hard way."""


async def live(found: Sequence[Found], settings: WorkerSettings) -> None:
    """Serve until told to stop.

    Raises:
        CommandError: it cannot go on; with the exit code.
        EverstepError: it cannot begin.
    """
    deployment_from(os.environ)  # what is wrong with that need not wait for a server
    watch = LoopWatch()
    watch.add("worker's", asyncio.get_running_loop(), threading.get_ident())
    health = WorkerHealth(watch, settings.liveness_bound)
    if settings.health_address is not None:
        _log.info("health: http://%s/livez and /readyz", serve_health(health, *settings.health_address))
    stop = _stop_on_signals()
    health.stage = Stage.CONNECTING
    ready = await connected(settings.wait_for_server, stop)
    if ready is None:
        return
    client, connection = ready
    await check_namespace(client, connection)
    try:
        await _serve(client, connection, found, settings, health, watch, stop)
    except StepsLoopDied as error:
        raise CommandError(str(error), Exit.FAILED) from error
    except RuntimeError as error:
        raise _beyond_repair(error, client, connection) from error
    _log.info("has stopped")


async def _serve(
    client: Client,
    connection: ConnectionSettings,
    found: Sequence[Found],
    settings: WorkerSettings,
    health: WorkerHealth,
    watch: LoopWatch,
    stop: asyncio.Event,
) -> None:
    queue = settings.task_queue or connection.task_queue
    options: dict[str, Any] = settings.serving()
    deployment = deployment_from(os.environ)
    if deployment is not None:
        options["deployment_config"] = deployment
    async with serving(client, [one.flow for one in found], task_queue=queue, watch=watch, **options) as worker:
        flows = [one.name for one in found]
        about = {"task_queue": queue, "flows": flows, "build": _build(deployment)}
        full, stuck = _load(worker, settings)
        health.polling = Polling(client, queue, full, not settings.steps_only, stuck, about)
        health.stage = Stage.SERVING
        _log.info("serves %s", ", ".join(f"{one.name} ({one.origin})" for one in found))
        place = connection.address, connection.protection, connection.namespace
        _log.info("polls task queue %r at %s (%s), namespace %r", queue, *place)
        _log.info("is %s, pid %d, %s", _build(deployment), os.getpid(), settings.told())
        for what, how in (await asyncio.to_thread(PrivacySettings.load().describe)).items():
            _log.info("%s of payloads: %s", what, how)
        try:
            await _first(stop.wait(), guard(client, connection))
        finally:
            health.stage = Stage.DRAINING
            grace = settings.graceful_shutdown
            _end_after(grace + OVERTIME_SECONDS)
            _log.info("stops: running steps have %g s to end; a second signal ends it at once", grace)
    health.stage = Stage.STOPPED


async def _first(*works: Coroutine[Any, Any, Any]) -> None:
    """Wait for the first of these to end, and raise what it raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()


def _load(worker: Worker, settings: WorkerSettings) -> tuple[Callable[[], bool], Callable[[], str | None]]:
    """What tells whether a worker can take no more steps now; and why none ever, until it is started anew."""
    plugins = cast("dict[str, Any]", worker.config())["plugins"]
    plugin = next(one for one in plugins if isinstance(one, EverstepPlugin))
    by_resources = settings.target_memory is not None or settings.target_cpu is not None

    def full() -> bool:
        return plugin.running + plugin.left >= (1 if by_resources else settings.max_concurrent_steps)

    def stuck() -> str | None:
        if plugin.left < settings.max_concurrent_steps:
            return None
        return (
            f"all {plugin.left} places for steps are kept by steps that were given up, and whose code does not return: "
            "start it anew; the log names the steps"
        )

    return full, stuck


def _beyond_repair(error: RuntimeError, client: Client, connection: ConnectionSettings) -> CommandError:
    """What has ended the worker from within, in words; the SDK gives up only on what trying again does not mend."""
    reason = str(error.__cause__ or error)
    if "NotFound" in reason and "amespace" in reason:
        return no_namespace(client, connection)
    if "PermissionDenied" in reason or "Unauthenticated" in reason:
        return CommandError(
            f"The server at {connection.address} does not permit it any more: {reason}. Check TEMPORAL_API_KEY, or the "
            "client certificate of TEMPORAL_TLS_CLIENT_CERT_PATH.",
            Exit.FAILED,
        )
    return CommandError(f"The worker cannot go on: {reason}.", Exit.FAILED)


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


def _end_after(seconds: float) -> None:
    """End the process if it still lives then: what hangs must not hold up whoever waits for its end."""

    def end() -> None:
        _log.error("has not stopped %g s after it was told to, and is ended; its steps go on elsewhere", seconds)
        leave(Exit.FAILED)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _build(deployment: WorkerDeploymentConfig | None) -> str:
    build = f"everstep {version('everstep')}, temporalio {version('temporalio')}, Python {platform.python_version()}"
    if deployment is None:
        return build
    return f"build {deployment.version.build_id} of {deployment.version.deployment_name}, {build}"
