"""`Context`: what a step may do beyond returning events.

Everything but published events is buffered until the step succeeds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Generic, cast

from pydantic import BaseModel
from typing_extensions import TypeVar

from everstep.child_run import child_call, child_flow, child_result
from everstep.engine.messages import Envelope, Gather, Sent, Wait
from everstep.errors import ContextStateError, WorkflowRuntimeError
from everstep.events import Event, StartEvent, StopEvent
from everstep.injected import InjectedContext
from everstep.passes import Pass
from everstep.retry_policy import RetryInfo
from everstep.state_lock import StateLock
from everstep.state_store import StateSource, StateStore
from everstep.state_types import plain
from everstep.workflow import Workflow

E = TypeVar("E", bound=Event)
StateT = TypeVar("StateT", default=Any)


@dataclass(slots=True)
class StepScope:
    """What one attempt of one invocation brings to its context; made by `invoke`."""

    run_id: str
    step: str
    invocation: int
    retry_info: RetryInfo
    state: StateSource
    wrap: Callable[[Event], Envelope]
    publish: Callable[[Envelope], None]
    steps: frozenset[str]
    origin: int
    record: Pass
    given: Event | None
    unwrap: Callable[[Envelope, type[Event] | None], Event]
    state_type: type[BaseModel] | None = None
    lock: StateLock | None = None
    cancelled: bool = False


class Context(InjectedContext, Generic[StateT]):
    """A step's door to its run. Declare a parameter of this type and the step is given one.

    Example:
        >>> @step
        ... async def count(self, ctx: Context, ev: Counted) -> StopEvent:
        ...     total = await ctx.store.get("total", default=0)
        ...     await ctx.store.set("total", total + ev.amount)
        ...     return StopEvent(result=total + ev.amount)
    """

    def __init__(self, scope: StepScope) -> None:
        self._scope = scope
        self._sent: list[Sent] = []
        self.store: StateStore[StateT] = StateStore(scope.state, scope.state_type, scope.lock, scope.record.repeats)

    @property
    def run_id(self) -> str:
        """The id of this run: on Temporal, the workflow id."""
        return self._scope.run_id

    @property
    def step_name(self) -> str:
        """The name of the step that this context was given to."""
        return self._scope.step

    @property
    def idempotency_key(self) -> str:
        """The same text for every attempt of this invocation, and for no other: hand it to systems outside.

        Example:
            >>> ledger.pay(key=ctx.idempotency_key, amount=ev.amount)
        """
        return f"{self._scope.run_id}/{self._scope.step}/{self._scope.origin}"

    @property
    def cancelled(self) -> bool:
        """Whether this attempt was given up (timeout, cancellation, shutdown). Long sync steps look here and return."""
        return self._scope.cancelled

    @property
    def sent(self) -> list[Sent]:
        """The events sent so far; they leave when the step succeeds."""
        return self._sent

    def retry_info(self) -> RetryInfo:
        """How often this invocation was tried before, and how the last try failed."""
        return self._scope.retry_info

    def send_event(self, message: Event, step: str | None = None) -> None:
        """Send an event to every step that accepts it, or to the one named, once this step succeeds.

        Raises:
            WorkflowRuntimeError: the flow has no such step, or `message` is no event.
        """
        if step is not None and step not in self._scope.steps:
            raise WorkflowRuntimeError(
                f"step {self._scope.step!r} sends to step {step!r}, which does not exist; the steps are: "
                f"{', '.join(sorted(self._scope.steps))}"
            )
        envelope = self._scope.wrap(message)
        target = "" if step is None else f" to {step}"
        if not self._scope.record.repeats(f"send {envelope.type}{target}"):
            self._sent.append(Sent(envelope, step))

    def write_event_to_stream(self, ev: Event | None) -> None:
        """Show an event to whoever follows the run, at once; None is ignored."""
        if ev is None:
            return
        envelope = self._scope.wrap(ev)
        if not self._scope.record.repeats(f"publish {envelope.type}"):
            self._scope.publish(envelope)

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
        _check_wait(self._scope.step, event_type, waiter_event, timeout)
        question = None if waiter_event is None else self._scope.wrap(waiter_event)
        required = {name: plain(f"requirements.{name}", value) for name, value in (requirements or {}).items()}
        wait = Wait(event_type.__name__, required, timeout, waiter_id, question)
        answer = self._scope.record.wait_for(wait)
        if answer is None:
            until = "" if timeout is None else f" within {timeout:g} s"
            raise TimeoutError(f"no {event_type.__name__} came{until} for step {self._scope.step!r}")
        return cast("E", self._scope.unwrap(answer, event_type))

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
        step, this = self._scope.step, self._scope.record
        child = child_flow(step, flow)
        call = child_call(
            step, child, start_event, fields, ctx=ctx, run_id=run_id, timeout=timeout, task_queue=task_queue
        )
        end = this.run_child(call, child)
        # Others that run beside this one begin their children in the same pass. A pass that has the answer yields too,
        # so that the order is the same in each.
        await asyncio.sleep(0)
        if end is None:
            this.suspend()
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
        if not expected:
            return []
        if type(ev) not in expected:
            return None
        runs = [(kind.__name__, len(list(group))) for kind, group in groupby(expected)]
        name = ",".join(kind if count == 1 else f"{kind}*{count}" for kind, count in runs)
        event = None if ev is self._scope.given else self._scope.wrap(ev)
        batch = self._scope.record.collect(Gather(buffer_id or name, tuple(runs), event))
        return None if batch is None else [self._scope.unwrap(item, None) for item in batch]

    def __reduce__(self) -> Any:
        raise ContextStateError(
            "a step's Context belongs to one attempt and cannot be pickled; pass what you need instead"
        )


def _check_wait(step: str, event_type: Any, waiter_event: Any, timeout: Any) -> None:
    """Refuse what nobody can wait for."""
    fault = None
    if not (isinstance(event_type, type) and issubclass(event_type, Event)):
        fault = f"{event_type!r}, which is no event class; give a subclass of Event"
    elif issubclass(event_type, StopEvent):
        fault = f"{event_type.__name__}, which ends the run; wait for another event"
    elif waiter_event is not None and not isinstance(waiter_event, Event):
        fault = f"{event_type.__name__} with a waiter_event that is a {type(waiter_event).__name__}; give an Event"
    elif timeout is not None and (not isinstance(timeout, int | float) or timeout != timeout or timeout < 0):
        fault = f"{event_type.__name__} with a timeout of {timeout!r}; give seconds, or None"
    if fault is not None:
        raise WorkflowRuntimeError(f"step {step!r} waits for {fault}")
