"""Serving flows on a Temporal task queue: a worker of one's own, or a plugin for a worker that exists."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from typing import Any

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client, ClientConfig
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.service import RPCError
from temporalio.worker import Worker, WorkerConfig

from everstep.errors import WorkflowConfigurationError
from everstep.temporal import names
from everstep.temporal.boundary import Limits
from everstep.temporal.exit import wait_at_exit
from everstep.temporal.flow_activities import FlowActivities
from everstep.temporal.host import StepHost
from everstep.temporal.interpreter import workflow_class
from everstep.temporal.privacy.logs import keep_contents_out
from everstep.temporal.privacy.settings import (
    hides_contents,
    private_converter,
    require_privacy,
    stores_large_payloads,
)
from everstep.temporal.privacy.storage import LARGEST_STORED
from everstep.temporal.telemetry import Telemetry
from everstep.workflow import Workflow

_log = logging.getLogger("everstep.worker")

MAX_CONCURRENT_STEPS = 100
"""How many steps a worker runs at one time, unless it is told otherwise."""

STICKY_TIMEOUT = timedelta(seconds=2)
"""How long a run waits for the worker that has it in its cache before any other may take it."""

BUILD_ID = f"everstep-{version('everstep')}"
"""Tells in the Temporal UI what a worker runs, unless the deployment says more."""

Flow = Workflow | type[Workflow]


class EverstepPlugin(SimplePlugin):
    """Adds flows to a Temporal worker of your own; give it to the client or to the worker, not to both.

    On the client, it also has payloads encrypted and stored as the EVERSTEP_* settings say.

    Args:
        flows: flow classes, which are built without arguments, or instances.
        limits: what runs that begin on this worker are given; see `Limits`.
        step_threads: how many sync steps may run at one time.

    Raises:
        WorkflowConfigurationError: there is no flow, or two have one name.
        WorkflowValidationError: a flow cannot work.
        SettingsError: by client or worker, where what the environment says of payloads cannot be done.

    Example:
        >>> client = await Client.connect("localhost:7233", plugins=[EverstepPlugin(flows=[MyFlow])])
        >>> worker = Worker(client, task_queue="mine", workflows=[OtherWorkflow])
    """

    def __init__(
        self, flows: Sequence[Flow], *, limits: Limits | None = None, step_threads: int = MAX_CONCURRENT_STEPS
    ) -> None:
        wait_at_exit()
        self._flows = _instances(flows)
        self._limits = limits or Limits()
        self._host = StepHost(step_threads)
        self._activities: list[FlowActivities] = []
        self._telemetry = Telemetry()
        workflows = [
            workflow_class(flow.workflow_name, watcher=self._telemetry.watcher(flow.span_kind)) for flow in self._flows
        ]
        super().__init__("everstep", workflows=workflows)  # pyright: ignore[reportUnknownMemberType]

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """Have the client's payloads written as the settings say."""
        config = super().configure_client(config)
        config["data_converter"] = private_converter(config.get("data_converter", DataConverter.default))
        return config

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Add the flows' workflows and activities to a worker."""
        config = super().configure_worker(config)
        assert "client" in config
        client = config["client"]
        require_privacy(client)
        if stores_large_payloads(client) and self._limits.payload == Limits().payload:
            self._limits = replace(self._limits, payload=LARGEST_STORED)
        self._telemetry.measure(client)
        activities = FlowActivities(self._flows, self._host, client, self._limits, self._telemetry)
        self._activities.append(activities)
        own: Sequence[Any] = config.get("activities", ())  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        config["activities"] = [*own, *activities.all()]
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        """Run a worker with the steps' threads beside it."""
        if not self._limits.search_attributes and await has_waiting_attribute(worker.client):
            self._limits = replace(self._limits, search_attributes=True)
        for activities in self._activities:
            activities.limits = self._limits
        if hides_contents(worker.client):
            keep_contents_out()
        self._host.acquire()
        try:
            async with self._telemetry.telling(worker.client, indexed=self._limits.search_attributes):
                await super().run_worker(worker, next)
        finally:
            self._host.release()


@contextlib.asynccontextmanager
async def serving(
    client: Client,
    flows: Sequence[Flow],
    *,
    task_queue: str = "everstep",
    limits: Limits | None = None,
    max_concurrent_steps: int = MAX_CONCURRENT_STEPS,
    graceful_shutdown: float = 10.0,
    **options: Any,
) -> AsyncGenerator[Worker]:
    """A worker that serves flows within the block, and stops gracefully at its end.

    Args:
        client: connected to the server, without an `EverstepPlugin` of its own.
        flows: flow classes, which are built without arguments, or instances.
        task_queue: what it polls.
        limits: what runs that begin on this worker are given.
        max_concurrent_steps: how many steps it runs at one time.
        graceful_shutdown: seconds that running steps have to end when the worker stops; the rest goes elsewhere.
        options: further arguments of `temporalio.worker.Worker`.

    Example:
        >>> async with serving(client, [MyFlow]):
        ...     result = await MyFlow(runtime=TemporalRuntime(client)).run(topic="x")
    """
    settings: dict[str, Any] = {
        "task_queue": task_queue,
        "max_concurrent_activities": max_concurrent_steps,
        "sticky_queue_schedule_to_start_timeout": STICKY_TIMEOUT,
        "build_id": BUILD_ID,  # the SDK would hash all loaded code otherwise, a second of every start
        "graceful_shutdown_timeout": timedelta(seconds=graceful_shutdown),
        "plugins": [EverstepPlugin(flows, limits=limits, step_threads=max_concurrent_steps)],
    }
    if options.get("deployment_config") is not None:
        del settings["build_id"]  # the deployment's own says more
    async with Worker(client, **(settings | options)) as worker:
        yield worker


async def has_waiting_attribute(client: Client) -> bool:
    """Whether the server knows the search attribute `EverstepWaiting`; an unregistered one would leave runs stuck."""
    try:
        known = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
    except RPCError as error:
        _log.debug("search attributes cannot be listed: %s", error)
        return False
    return names.WAITING in known.custom_attributes


def _instances(flows: Sequence[Flow]) -> list[Workflow]:
    if not flows:
        raise WorkflowConfigurationError("A worker needs at least one flow to serve: give flows=[MyFlow].")
    instances = [flow() if isinstance(flow, type) else flow for flow in flows]
    seen: set[str] = set()
    for flow in instances:
        flow.validate()
        if flow.workflow_name in seen:
            raise WorkflowConfigurationError(
                f"Two flows are named {flow.workflow_name!r}; the name is the workflow type, so rename one."
            )
        seen.add(flow.workflow_name)
    return instances
