"""A worker's way to its server: patient while the server is not there yet, exact about what is wrong otherwise."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from datetime import timedelta

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

from everstep.cli.exits import CommandError, Exit
from everstep.errors import WorkflowConfigurationError
from everstep.temporal.metrics_settings import metrics_config
from everstep.temporal.settings import ConnectionFailedError, ConnectionSettings, connect

_log = logging.getLogger("everstep.worker")

RETRY_SECONDS = 2.0

TELL_EVERY = timedelta(seconds=5)
"""How often a worker tells the server of itself: what it serves, how busy it is."""


async def connected(patience: float, stop: asyncio.Event) -> tuple[Client, ConnectionSettings] | None:
    """Connect, again and again while the server is not there; None when told to stop meanwhile.

    Raises:
        ConnectionFailedError: it was not there for `patience` seconds, or refuses what waiting does not mend.
        WorkflowConfigurationError: metrics cannot go where the settings say.
    """
    deadline = time.monotonic() + patience
    runtime = _runtime()
    # In containers, process and host alone may be the same for several; readiness goes by this.
    identity = f"{os.getpid()}@{socket.gethostname()}-{secrets.token_hex(3)}"
    told = False
    while not stop.is_set():
        settings = await asyncio.to_thread(ConnectionSettings.load)
        try:
            left = min(10.0, max(1.0, deadline - time.monotonic()))
            return await connect(settings, timeout=left, runtime=runtime, identity=identity), settings
        except ConnectionFailedError as error:
            if time.monotonic() >= deadline or error.lasting:
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


async def check_namespace(client: Client, settings: ConnectionSettings) -> None:
    """Say so where the namespace is not there; the SDK would only say that polling failed.

    Raises:
        CommandError: it is not there.
    """
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise no_namespace(client, settings) from None
        _log.debug("the namespace cannot be described: %s", error)  # it need not be permitted


def no_namespace(client: Client, settings: ConnectionSettings) -> CommandError:
    """The error of a namespace that is not there."""
    return CommandError(
        f"There is no namespace {client.namespace!r} at {settings.address}. Check TEMPORAL_NAMESPACE, or create it.",
        Exit.NOT_FOUND,
    )


def _runtime() -> Runtime:
    """The SDK's core: its log goes into this process's own, its metrics where the OTEL_* settings say.

    Raises:
        WorkflowConfigurationError: metrics cannot go there.
    """
    forwarding = LogForwardingConfig(logging.getLogger("temporalio.core"), prepend_target_on_message=False)
    metrics = metrics_config(os.environ)
    telemetry = TelemetryConfig(logging=LoggingConfig(TelemetryFilter("WARN", "ERROR"), forwarding), metrics=metrics)
    try:
        runtime = Runtime(telemetry=telemetry, worker_heartbeat_interval=TELL_EVERY)
    except (RuntimeError, ValueError) as error:
        raise WorkflowConfigurationError(
            f"Metrics cannot be exported: {error}. Check OTEL_EXPORTER_…, and whether the port is free."
        ) from error
    if metrics is not None:
        _log.info("metrics: %s", metrics.bind_address if isinstance(metrics, PrometheusConfig) else metrics.url)
    return runtime
