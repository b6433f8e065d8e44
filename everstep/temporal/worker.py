"""Serving flows on a Temporal task queue: a worker of one's own, or a plugin for a worker that exists."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
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
from everstep.temporal.deployment import BUILD_ID
from everstep.temporal.exit import wait_at_exit
from everstep.temporal.flow_activities import FlowActivities
from everstep.temporal.host import StepHost
from everstep.temporal.interpreter import workflow_class
from everstep.temporal.loop_watch import LoopWatch
from everstep.temporal.pollers import plugin_name
from everstep.temporal.privacy.logs import contents_kept_out
from everstep.temporal.privacy.settings import (
    encrypts,
    hides_contents,
    private_converter,
    require_privacy,
    stores_large_payloads,
)
from everstep.temporal.privacy.storage import LARGEST_STORED
from everstep.temporal.slots import MAX_CONCURRENT_STEPS, StepSlots
from everstep.temporal.step_gate import StepGate
from everstep.temporal.telemetry import Telemetry
from everstep.workflow import Workflow

_log = logging.getLogger("everstep.worker")

STICKY_TIMEOUT = timedelta(seconds=2)
"""How long a run waits for the worker that has it in its cache before any other may take it."""

Flow = Workflow | type[Workflow]


class EverstepPlugin(SimplePlugin):
    """Adds flows to a Temporal worker of your own; give it to the client or to the worker, not to both.

    On the client, it also has payloads encrypted and stored as the EVERSTEP_* settings say.

    Args:
        flows: flow classes, which are built without arguments, or instances.
        limits: what runs that begin on this worker are given; see `Limits`.
        step_threads: how many sync steps may run at one time.
        runs: whether it takes runs, or only steps, of a task queue that only steps are sent to.
        gate: bounds how many attempts of which step run at one time; its slots must be the worker's.
        watch: looks after the event loops.

    Raises:
        WorkflowConfigurationError: there is no flow, or two have one name; or no run could go on within the limits.
        WorkflowValidationError: a flow cannot work.
        SettingsError: by client or worker, where what the environment says of payloads cannot be done.

    Example:
        >>> client = await Client.connect("localhost:7233", plugins=[EverstepPlugin(flows=[MyFlow])])
        >>> worker = Worker(client, task_queue="mine", workflows=[OtherWorkflow])
    """

    def __init__(
        self,
        flows: Sequence[Flow],
        *,
        limits: Limits | None = None,
        step_threads: int = MAX_CONCURRENT_STEPS,
        runs: bool = True,
        gate: StepGate | None = None,
        watch: LoopWatch | None = None,
    ) -> None:
        wait_at_exit()
        self._flows = instances(flows)
        self._limits = checked(limits or Limits())
        self._gate = gate
        self._watch = watch or LoopWatch()
        self._host = StepHost(step_threads, self._watch)
        self._activities: list[FlowActivities] = []
        self._telemetry = Telemetry()
        self._host.left.tell = self._telemetry.left
        workflows = [
            workflow_class(flow.workflow_name, watcher=self._telemetry.watcher(flow.span_kind)) for flow in self._flows
        ]
        self._runs, self._encrypted = runs, False
        super().__init__("everstep", workflows=workflows if runs else [])  # pyright: ignore[reportUnknownMemberType]

    def name(self) -> str:
        """What the worker tells of itself on the server: its flows, and whether it encrypts."""
        flows = [flow.workflow_name for flow in self._flows]
        return plugin_name(flows, runs=self._runs, encrypted=self._encrypted)

    @property
    def running(self) -> int:
        """How many attempts of steps are under way."""
        return self._host.running

    @property
    def left(self) -> int:
        """How many attempts of sync steps were given up, and still run in their threads."""
        return self._host.left.count

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
        self._encrypted = encrypts(client)
        if stores_large_payloads(client) and self._limits.payload == Limits().payload:
            self._limits = replace(self._limits, payload=LARGEST_STORED)
        self._telemetry.measure(client)
        activities = FlowActivities(self._flows, self._host, client, self._limits, self._telemetry, self._gate)
        self._activities.append(activities)
        own: Sequence[Any] = config.get("activities", ())  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        config["activities"] = [*own, *activities.all()]
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        """Run a worker with the steps' threads beside it.

        Raises:
            StepsLoopDied: the steps' loop was broken, and the worker cannot go on.
        """
        if not self._limits.search_attributes and await has_waiting_attribute(worker.client):
            self._limits = replace(self._limits, search_attributes=True)
        for activities in self._activities:
            activities.limits = self._limits
        hidden = contents_kept_out() if hides_contents(worker.client) else contextlib.nullcontext()
        loop = asyncio.get_running_loop()
        died: asyncio.Future[BaseException] = loop.create_future()
        self._watch.add("worker's", loop, threading.get_ident())

        def when_dead(error: BaseException) -> None:
            loop.call_soon_threadsafe(_set, died, error)

        self._host.acquire(when_dead)
        try:
            flows = [flow.workflow_name for flow in self._flows]
            async with self._telemetry.telling(worker.client, flows, indexed=self._limits.search_attributes):
                with hidden:
                    await _until(super().run_worker(worker, next), died, worker)
        finally:
            if self._host.users == 1:
                self._watch.remove(loop)  # from here on it may wait for what is left on the steps' loop
            self._host.release()


async def _until(work: Coroutine[Any, Any, None], died: asyncio.Future[BaseException], worker: Worker) -> None:
    """Run a worker to its end, which is soon where the steps' loop has died."""
    running = asyncio.ensure_future(work)
    try:
        await asyncio.wait({running, died}, return_when=asyncio.FIRST_COMPLETED)
        if died.done() and not running.done():
            await worker.shutdown()
            await running
            raise died.result()
        await running
    except asyncio.CancelledError:
        running.cancel()
        await running
        raise


def _set(future: asyncio.Future[BaseException], error: BaseException) -> None:
    if not future.done():
        future.set_result(error)


@contextlib.asynccontextmanager
async def serving(
    client: Client,
    flows: Sequence[Flow],
    *,
    task_queue: str = "everstep",
    limits: Limits | None = None,
    max_concurrent_steps: int = MAX_CONCURRENT_STEPS,
    step_concurrency: Mapping[str, int] | None = None,
    target_memory: float | None = None,
    target_cpu: float | None = None,
    steps_only: bool = False,
    graceful_shutdown: float = 10.0,
    watch: LoopWatch | None = None,
    **options: Any,
) -> AsyncGenerator[Worker]:
    """A worker that serves flows within the block, and stops gracefully at its end.

    Args:
        client: connected to the server, without an `EverstepPlugin` of its own.
        flows: flow classes, which are built without arguments, or instances.
        task_queue: what it polls.
        limits: what runs that begin on this worker are given.
        max_concurrent_steps: how many steps it runs at one time.
        step_concurrency: limits of single steps, as ``{"RagFlow.answer": 4}``.
        target_memory: the share of memory, between 0 and 1, that may be in use; while it is more no step is begun.
        target_cpu: the same of the CPU.
        steps_only: it takes steps and no runs, for a task queue that steps name by ``@step(task_queue=…)``.
        graceful_shutdown: seconds that running steps have to end when the worker stops; the rest goes elsewhere.
        watch: looks after the event loops, and can be asked about them.
        options: further arguments of `temporalio.worker.Worker`, such as `max_activities_per_second`.

    Raises:
        WorkflowConfigurationError: there is no flow, two have one name, or a limited step is not there.
        WorkflowValidationError: a flow cannot work.
        StepsLoopDied: the worker cannot go on, because a step has broken the event loop of all steps.

    Example:
        >>> async with serving(client, [MyFlow]):
        ...     result = await MyFlow(runtime=TemporalRuntime(client)).run(topic="x")
    """
    built = instances(flows)
    slots = StepSlots(max_concurrent_steps, step_concurrency or {}, target_memory, target_cpu)
    slots.check(built)
    gate = slots.gate()
    plugin = EverstepPlugin(
        built, limits=limits, step_threads=max_concurrent_steps, runs=not steps_only, gate=gate, watch=watch
    )
    settings: dict[str, Any] = {
        **slots.worker_options(gate),
        "task_queue": task_queue,
        "sticky_queue_schedule_to_start_timeout": STICKY_TIMEOUT,
        "build_id": BUILD_ID,  # the SDK would hash all loaded code otherwise, a second of every start
        "graceful_shutdown_timeout": timedelta(seconds=graceful_shutdown),
        "plugins": [plugin],
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


def instances(flows: Sequence[Flow]) -> list[Workflow]:
    """The flows, built and checked.

    Raises:
        WorkflowConfigurationError: there is none, or two have one name.
        WorkflowValidationError: one cannot work.
    """
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


def checked(limits: Limits) -> Limits:
    """The limits, as they are. Those in histories are not looked at: a run goes on with what it began with.

    Raises:
        WorkflowConfigurationError: a number with which no run could go on.
    """
    for name, least in _LEAST.items():
        value = getattr(limits, name)
        if value is not None and not value >= least:  # not a number is refused, too
            raise WorkflowConfigurationError(
                f"Limits: {name}={value!r} is too small for runs to go on with; give at least {least:,}, or leave it "
                f"out: then it is {getattr(Limits(), name):,}."
            )
    return limits


_LEAST = {
    "continue_at_events": 10,
    "continue_at_bytes": 10_000,
    "drain_seconds": 0,
    "heartbeat_seconds": 0.1,
    "payload": 1_000,
}
"""The smallest numbers of `Limits` that are taken."""
