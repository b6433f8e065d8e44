"""`TemporalRuntime`: starts runs on a Temporal server, from a flow's class or by its name alone."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Self, cast
from weakref import WeakKeyDictionary

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from everstep.context import Context
from everstep.context.snapshot import Snapshot
from everstep.errors import ContextStateError, RunAlreadyStartedError, WorkflowRuntimeError
from everstep.events import Event, event_name, event_to_data
from everstep.flow.compile import flow_types
from everstep.handler import WorkflowHandler
from everstep.runtime import require_loop
from everstep.state_store import begin_state
from everstep.temporal import names
from everstep.temporal.exit import wait_at_exit
from everstep.temporal.handler import TemporalHandler
from everstep.temporal.payloads import dump
from everstep.temporal.privacy.settings import require_privacy
from everstep.temporal.settings import ConnectionSettings, connect
from everstep.temporal.start_input import run_arguments
from everstep.temporal.turns import Turns
from everstep.workflow import Workflow


class TemporalRuntime:
    """Runs flows on Temporal; a worker that serves them must poll the task queue.

    Args:
        client: a connected `temporalio.client.Client`.
        task_queue: what the flow's workers poll.

    Raises:
        SettingsError: the environment asks for encryption or storage of payloads, and the client does without.

    Example:
        >>> runtime = TemporalRuntime(await Client.connect("localhost:7233"))
        >>> result = await MyFlow(runtime=runtime).run(topic="x")
    """

    def __init__(self, client: Client, *, task_queue: str = "everstep") -> None:
        wait_at_exit()
        require_privacy(client)
        self.client = client
        self.task_queue = task_queue
        self._turns: WeakKeyDictionary[Workflow, Turns] = WeakKeyDictionary()

    @classmethod
    async def connect(cls, settings: ConnectionSettings | str | None = None, **options: Any) -> Self:
        """A runtime for the server that the TEMPORAL_* settings name.

        Args:
            settings: instead of those; or an address alone, and the rest as they say.
            options: see `everstep.temporal.settings.connect`.

        Raises:
            SettingsError: the settings cannot be used.
            ConnectionFailedError: no server answers there.

        Example:
            >>> runtime = await TemporalRuntime.connect("localhost:7233")
        """
        chosen = ConnectionSettings.of(settings)
        return cls(await connect(chosen, **options), task_queue=chosen.task_queue)

    def start(
        self, flow: Workflow, start_event: Event, *, run_id: str | None = None, ctx: Any | None = None
    ) -> TemporalHandler:
        """Start a run; see `Workflow.run`. The handle is there at once, the server is asked in the background.

        Raises:
            WorkflowRuntimeError: there is no running event loop.
            StateValueError: `ctx` is no state that the flow can begin with.
        """
        require_loop(flow)
        options: dict[str, Any] = {}
        if flow.timeout != type(flow).timeout:
            options["timeout"] = flow.timeout
        types = flow_types(type(flow))
        state, carried = _begins_with(ctx)
        if state is not None:
            options["state"] = begin_state(types.state, state)
        run_id = run_id or str(uuid.uuid4())
        work = self._start(flow.workflow_name, event_to_data(start_event), run_id, options, None, carried)
        stop = event_name(flow.stop_event_class)
        if flow.num_concurrent_runs is not None:
            work = self._turns.setdefault(flow, Turns(self.client, flow.num_concurrent_runs)).begin(run_id, work)
        return TemporalHandler(self.client, run_id, types, stop=stop, started=work)

    def resume(self, flow: Workflow, snapshot: Snapshot, *, run_id: str | None = None) -> TemporalHandler:
        """Refuse: what was taken down in a process goes on in a process.

        Raises:
            ContextStateError: always.
        """
        raise ContextStateError(
            f"the context goes on with run {snapshot.run_id} of {flow.workflow_name}, which was taken down in a "
            "process, and a run on Temporal begins with a start event: resume it in process, with LocalRuntime(), or "
            "begin a new run with its state: run(ctx=data['state'], …)"
        )

    async def start_flow(
        self,
        flow: str,
        start: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        timeout: float | None = None,
        task_queue: str | None = None,
        state: Mapping[str, Any] | None = None,
        after_failure: bool = True,
    ) -> TemporalHandler:
        """Start a flow by its name, with the fields of its start event as plain JSON; its class is not needed.

        Args:
            flow: the flow's name: the name of its class.
            start: the fields of the start event.
            run_id: the run's id, to find it by; by default a new one.
            timeout: bounds the run, in seconds.
            task_queue: instead of this runtime's.
            state: what the run's state begins with, as plain JSON, such as the `state()` of another run.
            after_failure: whether it starts again where a run of this id has failed or was cancelled.

        Raises:
            RunAlreadyStartedError: a run with this id is there already.
        """
        run_id = run_id or str(uuid.uuid4())
        options: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        if state is not None:
            options["state"] = dict(state)
        await self._start(flow, start or {}, run_id, options, task_queue, after_failure=after_failure)
        return TemporalHandler(self.client, run_id)

    def handle(self, run_id: str) -> TemporalHandler:
        """The handle of a run that exists."""
        return TemporalHandler(self.client, run_id)

    async def _start(
        self,
        flow: str,
        start: Mapping[str, Any],
        run_id: str,
        options: dict[str, Any],
        task_queue: str | None,
        carried: WorkflowHandler | None = None,
        *,
        after_failure: bool = True,
    ) -> None:
        """Start a run; `carried` is one whose state it begins with."""
        if carried is not None:
            options = {**options, "state": await carried.state()}
        state = options.pop("state", None)
        try:
            await self.client.start_workflow(
                flow,
                args=run_arguments(dump(start), state),
                id=run_id,
                task_queue=task_queue or self.task_queue,
                # A run's id names its work: idempotency keys are made of it. Work that is done is not done again; work
                # that failed may be, and what it has paid stays paid.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
                if after_failure
                else WorkflowIDReusePolicy.REJECT_DUPLICATE,
                memo={names.MEMO: options} if options else None,
            )
        except WorkflowAlreadyStartedError:
            raise RunAlreadyStartedError(run_id) from None
        except RPCError as error:
            raise WorkflowRuntimeError(f"run {run_id} of {flow} could not be started: {error}") from error


def _begins_with(ctx: Any) -> tuple[Any, WorkflowHandler | None]:
    """The state that a run begins with, or the run that it is carried over from."""
    if not isinstance(ctx, Context):
        return ctx, None
    outside = cast("Context[Any]", ctx).outside
    if outside.store.own is not None:
        return outside.store.own or None, None
    return None, outside.run
