"""`Context`: what a step may do beyond returning events, and a run as seen from outside.

Within a step, everything but published events is buffered until the step succeeds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import ContextVar
from itertools import groupby
from typing import TYPE_CHECKING, Any, Generic, Self, cast

from typing_extensions import TypeVar

from everstep.child_run import child_call, child_flow, child_result
from everstep.context.outside import Outside
from everstep.context.scope import StepScope, check_wait
from everstep.context.serializers import BaseSerializer
from everstep.engine.messages import Gather, Sent, Wait
from everstep.errors import ContextStateError, WorkflowRuntimeError
from everstep.events import Event, StartEvent
from everstep.injected import InjectedContext
from everstep.retry_policy import RetryInfo
from everstep.state_store import StateStore
from everstep.state_types import plain

if TYPE_CHECKING:
    from everstep.handler import WorkflowHandler
    from everstep.workflow import Workflow

E = TypeVar("E", bound=Event)
StateT = TypeVar("StateT", default=Any)

_of_this_step: ContextVar[Context[Any]] = ContextVar("everstep_step_context")


class Context(InjectedContext, Generic[StateT]):
    """A step's door to its run; outside of steps, a run to look at, to carry on from and to take down.

    Declare a parameter of this type and a step is given one. `handler.ctx` is that of a run. One that you make yourself
    holds the state over several runs of a flow.

    Args:
        workflow: the flow instance whose runs it is for.
        previous_context: what `to_dict` gave.
        serializer: what `previous_context` was written with; `to_dict` uses it too.

    Attributes:
        store: the run's state; before a run, what the run begins with.

    Raises:
        ContextSerdeError: `previous_context` cannot be restored.

    Example:
        >>> class Count(Workflow):
        ...     @step
        ...     async def count(self, ctx: Context, ev: StartEvent) -> StopEvent:
        ...         total = await ctx.store.get("total", default=0) + ev.amount
        ...         await ctx.store.set("total", total)
        ...         return StopEvent(result=total)

        >>> flow = Count()
        >>> ctx = Context(flow)
        >>> await flow.run(ctx=ctx, amount=1), await flow.run(ctx=ctx, amount=2)
        (1, 3)
    """

    store: StateStore[StateT]

    def __init__(
        self,
        workflow: Workflow,
        previous_context: Mapping[str, Any] | None = None,
        serializer: BaseSerializer | None = None,
    ) -> None:
        self._inside: StepScope | None = None
        self._outside = Outside.of_flow(workflow, previous_context, serializer)
        self._sent: list[Sent] = []
        self.store = self._outside.store

    @classmethod
    def of_step(cls, scope: StepScope) -> Self:
        """The context of one attempt of a step."""
        context = cls.__new__(cls)
        context._inside = scope
        context._sent = []
        context.store = StateStore(scope.state, scope.state_type, scope.lock, scope.record.repeats)
        _of_this_step.set(context)
        return context

    @classmethod
    def of_run(cls, run: WorkflowHandler) -> Self:
        """The context of a run that was begun without one."""
        context = cls.__new__(cls)
        context._inside = None
        context._outside = Outside.of_run(run)
        context._sent = []
        context.store = context._outside.store
        return context

    @classmethod
    def from_dict(cls, workflow: Workflow, data: Mapping[str, Any], serializer: BaseSerializer | None = None) -> Self:
        """The context that `to_dict` took down. If its run was under way, ``run(ctx=…)`` goes on with it, in process.

        Steps that were in flight run again, under the same idempotency keys; waits, requests and timers go on, those
        that became due meanwhile at once. The run keeps its id. Its stream begins anew.

        Args:
            workflow: the flow; it must still have the steps that the run began with.
            data: what `to_dict` gave.
            serializer: what `to_dict` was given.

        Raises:
            ContextSerdeError: it is no such thing, or of another flow.

        Example:
            >>> data = json.dumps(handler.ctx.to_dict())
            >>> handler = flow.run(ctx=Context.from_dict(flow, json.loads(data)))
        """
        return cls(workflow, data, serializer)

    def to_dict(self, serializer: BaseSerializer | None = None, *, include_state: bool = True) -> dict[str, Any]:
        """Take it down as plain JSON: its state, and the whole run if one is under way in this process.

        The run itself goes on; cancel it if it is to go on from here only.

        Args:
            serializer: writes state and run as texts instead; `from_dict` needs it again.
            include_state: False leaves the state out.

        Raises:
            ContextStateError: the run is on Temporal, which keeps it itself; or this is a step's context.
        """
        return self._from_outside("to_dict").to_dict(serializer, include_state)

    @staticmethod
    def get_step_context() -> Context[Any]:
        """The context of the step that runs here, for helpers that are not given it.

        Raises:
            WorkflowRuntimeError: no step runs here.
        """
        try:
            return _of_this_step.get()
        except LookupError:
            raise WorkflowRuntimeError(
                "get_step_context() was called where no step runs: call it within a step, in its task or its thread"
            ) from None

    @property
    def is_running(self) -> bool:
        """Whether the run is under way, or is to be gone on with."""
        return self._inside is not None or self._outside.is_running

    @property
    def outside(self) -> Outside:
        """What drivers carry over from run to run.

        Raises:
            ContextStateError: this is a step's context.
        """
        return self._from_outside("run(ctx=…)")

    def _in_step(self, what: str) -> StepScope:
        if self._inside is None:
            raise ContextStateError(f"{what} works within a step only: declare a parameter of type Context there")
        return self._inside

    def _from_outside(self, what: str) -> Outside:
        if self._inside is not None:
            raise ContextStateError(
                f"{what} is not for the context of a step, here of {self._inside.step!r}, which belongs to one "
                "attempt: use handler.ctx, outside of steps"
            )
        return self._outside

    @property
    def run_id(self) -> str:
        """The id of this run: on Temporal, the workflow id.

        Raises:
            ContextStateError: there is no run yet.
        """
        return self._outside.require_run("run_id").run_id if self._inside is None else self._inside.run_id

    @property
    def step_name(self) -> str:
        """The name of the step that this context was given to."""
        return self._in_step("step_name").step

    @property
    def idempotency_key(self) -> str:
        """The same text for every attempt of this invocation, and for no other: hand it to systems outside.

        Example:
            >>> ledger.pay(key=ctx.idempotency_key, amount=ev.amount)
        """
        scope = self._in_step("idempotency_key")
        return f"{scope.run_id}/{scope.step}/{scope.origin}"

    @property
    def cancelled(self) -> bool:
        """Whether this attempt was given up (timeout, cancellation, shutdown). Long sync steps look here and return."""
        return self._in_step("cancelled").cancelled

    @property
    def sent(self) -> list[Sent]:
        """The events sent so far; they leave when the step succeeds."""
        return self._sent

    def retry_info(self) -> RetryInfo:
        """How often this invocation was tried before, and how the last try failed."""
        return self._in_step("retry_info").retry_info

    def send_event(self, message: Event, step: str | None = None) -> None:
        """Send an event to every step that accepts it, or to the one named, once this step succeeds.

        From outside of steps it leaves at once, and nobody hears if it was refused: prefer `await
        handler.send_event(…)` there, which tells.

        Raises:
            WorkflowRuntimeError: the flow has no such step, or `message` is no event.
            ContextStateError: there is no run yet.
        """
        if self._inside is None:
            run = self._outside.require_run("send_event")
            run.in_background(run.send_event(message, step))
            return
        scope = self._inside
        if step is not None and step not in scope.steps:
            raise WorkflowRuntimeError(
                f"step {scope.step!r} sends to step {step!r}, which does not exist; the steps are: "
                f"{', '.join(sorted(scope.steps))}"
            )
        envelope = scope.wrap(message)
        target = "" if step is None else f" to {step}"
        if not scope.record.repeats(f"send {envelope.type}{target}"):
            self._sent.append(Sent(envelope, step))

    def write_event_to_stream(self, ev: Event | None) -> None:
        """Show an event to whoever follows the run, at once; None is ignored."""
        scope = self._in_step("write_event_to_stream")
        if ev is None:
            return
        envelope = scope.wrap(ev)
        if not scope.record.repeats(f"publish {envelope.type}"):
            scope.publish(envelope)

    async def wait_for_event(
        self,
        event_type: type[E],
        waiter_event: Event | None = None,
        waiter_id: str | None = None,
        requirements: dict[str, Any] | None = None,
        timeout: float | None = None,
    ) -> E:
        """Wait for an event, for as long as it takes: the step holds no slot, and nothing runs meanwhile.

        What the step did so far takes effect now. When the event comes, the step runs again from its top; up to here it
        must do the same, and none of it is repeated. The n-th wait of an invocation gets the n-th answer.

        Args:
            event_type: the event's class; subclasses only where the step has `accept_event_subclasses`.
            waiter_event: published when the wait begins. An `InputRequiredEvent` opens a request to a person; its
                answer comes here, and nowhere else.
            waiter_id: a name for this wait, seen by people; a pass that runs again must come to the same.
            requirements: values that top-level fields of the event must have.
            timeout: seconds; None waits for ever. It is kept over restarts.

        Raises:
            TimeoutError: no such event came in time.

        Example:
            >>> answer = await ctx.wait_for_event(Approval, waiter_event=AskApproval(sum=12), timeout=86_400)
        """
        scope = self._in_step("wait_for_event")
        check_wait(scope.step, event_type, waiter_event, timeout)
        question = None if waiter_event is None else scope.wrap(waiter_event)
        required = {name: plain(f"requirements.{name}", value) for name, value in (requirements or {}).items()}
        wait = Wait(event_type.__name__, required, timeout, waiter_id, question)
        answer = scope.record.wait_for(wait)
        if answer is None:
            until = "" if timeout is None else f" within {timeout:g} s"
            raise TimeoutError(f"no {event_type.__name__} came{until} for step {scope.step!r}")
        return cast("E", scope.unwrap(answer, event_type))

    async def run(
        self,
        flow: Workflow | type[Workflow],
        /,
        start_event: StartEvent | None = None,
        *,
        ctx: Any | None = None,
        run_id: str | None = None,
        timeout: float | None = None,
        task_queue: str | None = None,
        **fields: Any,
    ) -> Any:
        """Run another flow as a child of this run, and give its result, as `Workflow.run` would.

        The step holds no slot meanwhile; as with `wait_for_event`, what it did so far takes effect now, and it runs
        again from its top when the child has ended. Children that are begun side by side, as in ``asyncio.gather``, run
        side by side; the step goes on when all of them have ended. The child ends with this run, at the latest.

        Args:
            flow: the flow's class, or an instance of it. On Temporal a worker has to serve it.
            start_event: what it begins with; or give its fields as keyword arguments.
            ctx: a state that it begins with: a dict or a model.
            run_id: its id; by default one made of this run's and this step's.
            timeout: bounds the child, in seconds; by default the flow's own.
            task_queue: where the child runs on Temporal; by default where this run does.

        Raises:
            ChildFailedError: the child failed, timed out or was cancelled, or its id is taken.
            WorkflowRuntimeError: the arguments do not fit, or this step is local.

        Example:
            >>> summary = await ctx.run(Summarise, text=ev.text)
            >>> pages = await asyncio.gather(*(ctx.run(ReadPage, url=url) for url in ev.urls))
        """
        scope = self._in_step("run")
        child = child_flow(scope.step, flow)
        call = child_call(
            scope.step, child, start_event, fields, ctx=ctx, run_id=run_id, timeout=timeout, task_queue=task_queue
        )
        end = scope.record.run_child(call, child)
        # Others that run beside this one begin their children in the same pass. A pass that has the answer yields too,
        # so that the order is the same in each.
        await asyncio.sleep(0)
        if end is None:
            scope.record.suspend()
        return child_result(child, end)

    def collect_events(
        self, ev: Event, expected: Sequence[type[Event]], buffer_id: str | None = None
    ) -> list[Event] | None:
        """Keep an event until there is one of each that is expected; then give them all, in the order of `expected`.

        Events that are more than a batch needs stay for the next one. A step that is told None may run again, with the
        batch: then what it did the first time does not count.

        Args:
            ev: the event; one whose class is not expected is not kept.
            expected: the classes that make a batch, each as often as it is wanted.
            buffer_id: a name, for steps that collect several batches side by side.

        Example:
            >>> both = ctx.collect_events(ev, [Found, Priced])
            >>> if both is None:
            ...     return None
        """
        scope = self._in_step("collect_events")
        if not expected:
            return []
        if type(ev) not in expected:
            return None
        runs = [(kind.__name__, len(list(group))) for kind, group in groupby(expected)]
        name = ",".join(kind if count == 1 else f"{kind}*{count}" for kind, count in runs)
        event = None if ev is scope.given else scope.wrap(ev)
        batch = scope.record.collect(Gather(buffer_id or name, tuple(runs), event))
        return None if batch is None else [scope.unwrap(item, None) for item in batch]

    def stream_events(self) -> AsyncIterator[Event]:
        """What the run publishes; see `WorkflowHandler.stream_events`.

        Raises:
            ContextStateError: there is no run yet, or this is a step's context.
        """
        return self._from_outside("stream_events").require_run("stream_events").stream_events()

    async def running_steps(self) -> list[str]:
        """The names of the steps that are running.

        Raises:
            ContextStateError: there is no run yet, or this is a step's context.
        """
        progress = await self._from_outside("running_steps").require_run("running_steps").progress()
        return [step["step"] for step in progress["steps"] if step["running"]]

    def get_result(self) -> Any:
        """The run's result, once it has one. Deprecated: await the run's handler.

        Raises:
            ContextStateError: there is none yet, or this is a step's context.
        """
        return self._from_outside("get_result").get_result()

    def __reduce__(self) -> Any:
        raise ContextStateError(
            "a Context belongs to a run and cannot be pickled: pass what you need of it, or what to_dict() gives"
        )
