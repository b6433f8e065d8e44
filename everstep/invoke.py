"""Run one step once: the only place where user code runs, shared by both drivers.

In goes a `StepCall`, out comes an `Outcome`, or the step's own exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from everstep.context import Context, StepScope
from everstep.engine.messages import Envelope, Outcome
from everstep.errors import EventDecodeError, StepTimeoutError, UnknownEventError, WorkflowRuntimeError
from everstep.events import Event, InputRequiredEvent, event_ancestors, event_from_data, event_name, event_to_data
from everstep.exception_data import exception_text
from everstep.flow.compile import FlowTypes, flow_types, former_steps, step_specs
from everstep.observe.here import Here, here
from everstep.outside import not_from_outside
from everstep.passes import Pass
from everstep.resource_pool import ResourcePool
from everstep.retry_policy import RetryInfo
from everstep.signature import EventParameter
from everstep.stand_ins import standing_in
from everstep.state_lock import RefusedLock, StateLock
from everstep.state_store import StateSource
from everstep.step_spec import StepSpec
from everstep.threads import AttemptThreads, in_step_thread, step_threads
from everstep.wire import StepCall
from everstep.workflow import Workflow

FIRST_TRY = RetryInfo(retry_number=0, elapsed_seconds=0.0, last_exception=None, last_failed_at=None)

_LOCAL = (
    "step {!r} is local=True, and a local step cannot use edit_state, which needs others to see what it does while it "
    "runs: remove local=True from @step"
)


class EventRejectedError(WorkflowRuntimeError):
    """The present class of an event rejects what an earlier version of the flow wrote; no user code has run."""


class Invoker:
    """The steps of one flow instance, ready to run.

    Args:
        flow: the instance whose methods are run.
        executor: where sync steps run.
        resources: gives the pool of the loop on which a step runs.
    """

    def __init__(self, flow: Workflow, executor: Executor, resources: Callable[[], ResourcePool]) -> None:
        self.flow = flow
        self.types: FlowTypes = flow_types(type(flow))
        # By all names that runs may call them by: a run goes on with the names of the version that it began with.
        self.specs: Mapping[str, StepSpec] = step_specs(type(flow)) | former_steps(type(flow))
        self._steps = frozenset(self.specs)
        self._flow_name = flow.workflow_name
        self._executor = executor
        self._resources = resources

    def decode(self, envelope: Envelope, *, waited: bool = False) -> Event:
        """Build an event from its envelope; only types that the flow declares, or loaded subclasses of them.

        One that a step has `waited` for may be of any loaded type: the step's code has named it.

        Raises:
            UnknownEventError: no such type is declared.
            EventDecodeError: the data does not fit the type.
        """
        cls = self.types.waited(envelope.type) if waited else self.types.resolve(envelope.type)
        if cls is None:
            raise UnknownEventError(envelope.type, self.flow.workflow_name, self.types.names())
        return event_from_data(cls, envelope.data, self.types.resolve)

    def encode(self, event: Event) -> Envelope:
        """The envelope of an event.

        Raises:
            WorkflowRuntimeError: it is no event, or holds what has no JSON form.
        """
        if not isinstance(event, Event):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise WorkflowRuntimeError(f"{type(event).__name__} is no Event; give an instance of an Event class")
        name = event_name(type(event))
        ancestors = () if name in self.types.declared else event_ancestors(type(event))
        if isinstance(event, InputRequiredEvent) and event.due is not None:
            due_in, due_at = _due(event.due)
            return Envelope(name, event_to_data(event), ancestors, due_in, due_at)
        return Envelope(name, event_to_data(event), ancestors)

    async def run(
        self,
        step: str,
        call: StepCall,
        *,
        state: StateSource,
        publish: Callable[[Envelope], None],
        retry_info: RetryInfo = FIRST_TRY,
        lock: StateLock | None = None,
        scope_made: Callable[[StepScope], None] | None = None,
        attempt: int = 1,
    ) -> Outcome:
        """Run one attempt of `step` on the present event loop, within the step's timeout.

        Args:
            state: gives the run's state when the step first reads it.
            publish: takes events for the stream, at once; may be called from other threads.
            lock: what `edit_state` asks for the run's lock.
            scope_made: is given the attempt's scope before user code runs, so that the driver can set `cancelled`.
            attempt: which attempt of the invocation this is, for logs.

        Raises:
            Exception: whatever the step raises; StepTimeoutError when it takes too long.
        """
        spec = standing_in(self.flow, self.specs[step])
        try:
            given = self._given(spec, call)
        except (EventDecodeError, UnknownEventError) as error:
            if call.unjudged:
                return Outcome(unfit=exception_text(error))
            raise EventRejectedError(f"step {step!r} cannot take its event: {error}") from error
        if call.unjudged:
            for event in given.values():
                if (fault := not_from_outside(self.flow.definition, event)) is not None:
                    return Outcome(unfit=fault)
        this = Pass(step, call.record, may_wait=not spec.options.local)
        only = given[spec.parameters[0].name] if len(given) == 1 else None
        collected = only if isinstance(only, Event) else None
        scope = self._scope(spec, call, this, collected, state, publish, retry_info, lock)
        context: Context[Any] = Context.of_step(scope)
        scope.threads = AttemptThreads(self._executor)
        step_threads.set(scope.threads)
        here.set(Here(call.run_id, self._flow_name, step, call.invocation, attempt))
        if scope_made is not None:
            scope_made(scope)
        try:
            arguments = given if spec.context_parameter is None else {**given, spec.context_parameter: context}
            returned = await self._call(spec, arguments, scope)
        except BaseException as error:
            if not this.suspended or isinstance(error, asyncio.CancelledError):
                raise
            return _suspended(this, context)
        if this.suspended:  # its code has swallowed the suspension; what it did since does not count
            return _suspended(this, context)
        this.finish()
        store = context.store
        return Outcome(
            self._returned(spec, returned), context.sent, store.changes, gathers=this.gathers, edits=store.committed
        )

    def _scope(
        self,
        spec: StepSpec,
        call: StepCall,
        this: Pass,
        given: Event | None,
        state: StateSource,
        publish: Callable[[Envelope], None],
        retry_info: RetryInfo,
        lock: StateLock | None,
    ) -> StepScope:
        return StepScope(
            call.run_id,
            spec.name,
            call.invocation,
            retry_info,
            state,
            self.encode,
            publish,
            self._steps,
            call.origin,
            this,
            given,
            functools.partial(self._unwrap, spec.name),
            self.types.state,
            RefusedLock(_LOCAL.format(spec.name)) if spec.options.local else lock,
        )

    def _given(self, spec: StepSpec, call: StepCall) -> dict[str, Any]:
        """The events of a call, by the parameters that take them."""
        if call.event is not None and len(spec.parameters) == 1 and not spec.join:
            return {spec.parameters[0].name: self.decode(call.event)}
        events = [self.decode(item) for item in call.batch or ()] if call.event is None else [self.decode(call.event)]
        given: dict[str, Any] = {}
        if call.event is None and not call.one_each:
            given = {spec.parameters[0].name: events} if spec.join else {}
        elif not spec.join:
            given = _placed(spec, events)
        if given.keys() != {each.name for each in spec.parameters}:
            raise EventRejectedError(
                f"step {spec.name!r} was given {call.event_name}, which its parameters "
                f"({', '.join(each.name for each in spec.parameters)}) do not take: they are not those with which the "
                "run began. A worker with the earlier version can go on with it."
            )
        return given

    def _unwrap(self, step: str, envelope: Envelope, kind: type[Event] | None) -> Event:
        """An event that a step has waited for, or collected."""
        try:
            if kind is not None and envelope.type == event_name(kind):
                return event_from_data(kind, envelope.data, self.types.resolve)
            return self.decode(envelope, waited=True)
        except (EventDecodeError, UnknownEventError) as error:
            raise EventRejectedError(f"step {step!r} cannot take what it waited for: {error}") from error

    async def _call(self, spec: StepSpec, arguments: dict[str, Any], scope: StepScope) -> Any:
        timeout = spec.options.timeout
        limit = None if timeout is None else asyncio.timeout(timeout)
        try:
            if limit is None:
                return await self._with_resources(spec, arguments, None)
            async with limit:
                return await self._with_resources(spec, arguments, limit)
        except TimeoutError as error:
            scope.cancelled = True
            if timeout is not None and limit is not None and limit.expired():
                raise StepTimeoutError(spec.name, timeout) from error
            raise
        except asyncio.CancelledError as error:
            scope.cancelled = True
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                raise WorkflowRuntimeError(
                    f"step {spec.name!r} raised CancelledError, though nobody cancelled it: something that it awaited "
                    "was cancelled; catch that where it is awaited"
                ) from error
            raise
        except SystemExit as error:
            raise WorkflowRuntimeError(
                f"step {spec.name!r} called sys.exit({error.code!r}); return a StopEvent to end the run, raise an "
                "exception to fail it"
            ) from error

    async def _with_resources(self, spec: StepSpec, arguments: dict[str, Any], limit: asyncio.Timeout | None) -> Any:
        if not spec.resources:
            return await self._work(spec, arguments, limit)
        async with self._resources().lend(spec.name, spec.resources) as resources:
            return await self._work(spec, arguments | resources, limit)

    def _work(self, spec: StepSpec, arguments: dict[str, Any], limit: asyncio.Timeout | None) -> Awaitable[Any]:
        function = functools.partial(spec.function, self.flow) if spec.is_method else spec.function
        if spec.is_async:
            return function(**arguments)
        return _in_thread(functools.partial(function, **arguments), limit)

    def _returned(self, spec: StepSpec, returned: Any) -> Envelope | list[Envelope] | None:
        if returned is None:
            return None
        if isinstance(returned, list):
            if not spec.returns_list:
                raise WorkflowRuntimeError(
                    f"step {spec.name!r} returned a list, but its annotation declares none; annotate it -> list[…]"
                )
            return [self._envelope(spec, item) for item in cast("list[Any]", returned)]
        return self._envelope(spec, returned)

    def _envelope(self, spec: StepSpec, event: Any) -> Envelope:
        if not isinstance(event, Event):
            raise WorkflowRuntimeError(
                f"step {spec.name!r} returned {type(event).__name__}, which is no Event; return one, or None"
            )
        envelope = self.encode(event)
        if self.types.resolve(envelope.type) is None:
            raise WorkflowRuntimeError(
                f"step {spec.name!r} returned {envelope.type}, which flow {self.flow.workflow_name} does not declare; "
                "add it to the step's return annotation"
            )
        return envelope


async def _in_thread(function: Callable[[], Any], limit: asyncio.Timeout | None) -> Any:
    """Run a sync step. Its time begins with its thread: where others hold them all, it waits, and does not fail."""
    when = None if limit is None else limit.when()
    if limit is None or when is None:
        return await in_step_thread(function)
    loop = asyncio.get_running_loop()
    left = when - loop.time()
    limit.reschedule(None)
    ended = False

    def begun() -> None:
        if not ended:
            limit.reschedule(loop.time() + left)

    def work() -> Any:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            loop.call_soon_threadsafe(begun)
        return function()

    try:
        return await in_step_thread(work)
    finally:
        ended = True


def _placed(spec: StepSpec, events: Sequence[Event]) -> dict[str, Any]:
    """One event for each parameter, in their order; where the author has changed that, by what each takes."""
    parameters = spec.parameters
    if len(parameters) == len(events) == 1:
        return {parameters[0].name: events[0]}

    def takes(parameter: EventParameter, event: Event) -> bool:
        by_base = spec.options.accept_event_subclasses and isinstance(event, parameter.accepts)
        return by_base or type(event) in parameter.accepts

    if len(parameters) == len(events) and all(map(takes, parameters, events)):
        return {each.name: event for each, event in zip(parameters, events, strict=True)}
    out: dict[str, Any] = {}
    for event in events:
        name = next((each.name for each in parameters if each.name not in out and takes(each, event)), None)
        if name is None:
            return {}
        out[name] = event
    return out


def _suspended(this: Pass, context: Context[Any]) -> Outcome:
    """What a pass that waits has done so far."""
    store = context.store
    return Outcome(
        sent=context.sent,
        state=store.changes,
        gathers=this.gathers,
        wait=this.wait,
        effects=this.effects,
        edits=store.committed,
        calls=this.calls,
    )


def _due(due: timedelta | datetime | float) -> tuple[float | None, float | None]:
    """When an answer is due: seconds from now, or epoch seconds."""
    if isinstance(due, datetime):
        return None, due.astimezone(UTC).timestamp()
    return (due.total_seconds() if isinstance(due, timedelta) else float(due)), None
