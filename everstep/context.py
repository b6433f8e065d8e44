"""`Context`: what a step may do beyond returning events.

Everything but published events is buffered until the step succeeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

from pydantic import BaseModel
from typing_extensions import TypeVar

from everstep.engine.messages import Envelope, Sent
from everstep.errors import ContextStateError, WorkflowRuntimeError
from everstep.events import Event
from everstep.injected import InjectedContext
from everstep.retry_policy import RetryInfo
from everstep.state_lock import StateLock
from everstep.state_store import StateSource, StateStore

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
        self.store: StateStore[StateT] = StateStore(scope.state, scope.state_type, scope.lock)

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
        return f"{self._scope.run_id}/{self._scope.step}/{self._scope.invocation}"

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
        self._sent.append(Sent(self._scope.wrap(message), step))

    def write_event_to_stream(self, ev: Event | None) -> None:
        """Show an event to whoever follows the run, at once; None is ignored."""
        if ev is not None:
            self._scope.publish(self._scope.wrap(ev))

    def __reduce__(self) -> Any:
        raise ContextStateError(
            "a step's Context belongs to one attempt and cannot be pickled; pass what you need instead"
        )
