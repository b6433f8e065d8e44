"""What one attempt of a step brings to its context, and what a step may wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from everstep.engine.messages import Envelope
from everstep.errors import WorkflowRuntimeError
from everstep.events import Event, StopEvent
from everstep.passes import Pass
from everstep.retry_policy import RetryInfo
from everstep.state_lock import StateLock
from everstep.state_store import StateSource
from everstep.threads import AttemptThreads


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
    threads: AttemptThreads | None = None


def check_wait(step: str, event_type: Any, waiter_event: Any, timeout: Any) -> None:
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
