"""The event types that everstep itself knows: starts, stops, questions and answers, failures, internal notices."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from pydantic import (
    AwareDatetime,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from everstep.due import Due, due_in_seconds
from everstep.event_base import (
    RESOLVE,
    Event,
    event_ancestors,
    event_from_data,
    event_name,
    event_to_data,
)
from everstep.exception_data import (
    UnreconstructedException,
    exception_from_data,
    exception_to_data,
    exception_type_name,
)

__all__ = [
    "Event",
    "HumanResponseEvent",
    "InputExpiredEvent",
    "InputRequiredEvent",
    "InternalDispatchEvent",
    "OutcomeDiscardedEvent",
    "StartEvent",
    "StepFailedEvent",
    "StepState",
    "StepStateChanged",
    "StopEvent",
    "UnhandledEvent",
    "UnreconstructedException",
    "UnresolvedEvent",
    "WorkflowCancelledEvent",
    "WorkflowFailedEvent",
    "WorkflowIdleEvent",
    "WorkflowTimedOutEvent",
    "due_in_seconds",
    "event_ancestors",
    "event_from_data",
    "event_name",
    "event_to_data",
]


class StartEvent(Event):
    """Begins a run. The keyword arguments of `Workflow.run` become its fields; subclass it to declare them.

    Example:
        >>> class Ask(StartEvent):
        ...     question: str
        >>> Ask(question="Why?").question
        'Why?'
        >>> StartEvent(topic="tides").topic
        'tides'
    """

    if TYPE_CHECKING:

        def __init__(self, **data: Any) -> None: ...


_NOT_GIVEN: Any = object()


class StopEvent(Event):
    """Ends a run.

    Returned as it is, the run's result is its `result`; a subclass that declares fields is the result itself.

    Example:
        >>> StopEvent(result={"answer": 42}).result
        {'answer': 42}
        >>> StopEvent("done").result
        'done'
    """

    # A typed stop event is its own result, and has none beside its fields.
    result: Any = Field(default=None, exclude_if=lambda value: value is None)

    def __init__(self, result: Any = _NOT_GIVEN, **data: Any) -> None:
        if result is not _NOT_GIVEN:
            data["result"] = result
        super().__init__(**data)

    def __str__(self) -> str:
        if type(self) is StopEvent or self.result is not None:
            return str(self.result)
        # What is printed of a flow's own stop event is what it says, not the `result` that it does not use.
        said = (f"{name}={value!r}" for name, value in self.__repr_args__() if name != "result")
        return f"{type(self).__name__}({', '.join(said)})"


class InputRequiredEvent(Event):
    """Asks a person for something; the answer is a `HumanResponseEvent`, or the type in `response_event`.

    Return it from a step, or give it as the `waiter_event` of a wait; it opens a request. What is asked goes
    into fields of a subclass, or into free keys such as `prefix`.

    Attributes:
        due: until when it may be answered: seconds or a timedelta from when it is asked, or an aware datetime.
        assignee: who is asked, as your organisation names people or roles.
        response_event: the event type that answers it. Without one, the only type of answer that the flow accepts.

    Example:
        >>> class Approve(InputRequiredEvent):
        ...     amount: float
        >>> Approve(amount=12.5, due=timedelta(days=2), assignee="finance").assignee
        'finance'
    """

    response_event: ClassVar[type[HumanResponseEvent] | None] = None

    due: Due | None = None
    assignee: str | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            due: timedelta | datetime | float | None = None,
            assignee: str | None = None,
            **data: Any,
        ) -> None: ...


class HumanResponseEvent(Event):
    """Answers an `InputRequiredEvent`. Subclass it to declare what an answer says; else use keys such as `response`.

    Attributes:
        request_id: the request that it answers; needed only while the run has several open.
        expired: set by everstep when nobody answered in time and the flow has no step for `InputExpiredEvent`; whoever
            answers cannot say it.
    """

    request_id: str | None = None
    expired: bool = False

    if TYPE_CHECKING:

        def __init__(self, *, request_id: str | None = None, expired: bool = False, **data: Any) -> None: ...


class InputExpiredEvent(Event):
    """Delivered instead of an answer when a request's `due` has passed, to flows that have a step for it.

    Attributes:
        request_id: the request.
        step_name: the step that asked.
        due: when it was due.
        question: the fields and keys of the `InputRequiredEvent`.
    """

    from_outside = False

    request_id: str
    step_name: str
    due: datetime
    question: dict[str, Any] = Field(default_factory=dict[str, Any])


class UnresolvedEvent(Event):
    """Stands for an event whose class was not to be had where it was read: its data are its free keys.

    `original_type` is the name of that class. It is written back as what it was.
    """

    _original_type: str = "Event"

    @property
    def original_type(self) -> str:
        """The name of the class that the data was written from."""
        return self._original_type

    def named(self, original_type: str) -> UnresolvedEvent:
        """This event, as one of class `original_type`."""
        self._original_type = original_type
        return self


def _event_to_envelope(event: Event) -> dict[str, Any]:
    name = event.original_type if isinstance(event, UnresolvedEvent) else event_name(type(event))
    return {"type": name, "data": event_to_data(event)}


def _event_from_envelope(value: Any, info: ValidationInfo) -> Event:
    if isinstance(value, Event):
        return value
    if not isinstance(value, dict) or not isinstance(cast("dict[str, Any]", value).get("type"), str):
        raise ValueError("an event, or its envelope {type, data}, is needed")
    envelope = cast("dict[str, Any]", value)
    name, data = envelope["type"], envelope.get("data", {})
    context: dict[str, Any] = info.context or {}
    resolve: Callable[[str], type[Event] | None] | None = context.get(RESOLVE)
    cls = resolve(name) if resolve is not None else None
    if cls is not None:
        return event_from_data(cls, data, resolve)
    return event_from_data(UnresolvedEvent, data).named(name)


SerializableEvent = Annotated[
    Event,
    PlainValidator(_event_from_envelope),
    PlainSerializer(_event_to_envelope, return_type=dict[str, Any]),
    WithJsonSchema({"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}}),
]
"""A field that holds an event of any type; in JSON an envelope `{type, data}`."""


def _checked_exception(value: Any) -> Exception:
    if isinstance(value, Exception):
        return value
    if isinstance(value, dict) and {"type", "message"} <= cast("dict[str, Any]", value).keys():
        return exception_from_data(cast("dict[str, Any]", value))
    raise ValueError("an exception, or its form {type, message}, is needed")


SerializableException = Annotated[
    Exception,
    PlainValidator(_checked_exception),
    PlainSerializer(exception_to_data, return_type=dict[str, Any]),
    WithJsonSchema({"type": "object", "required": ["type", "message"]}),
]
"""A field that holds an exception; in JSON `{type, message, causes}`. Read back without importing its class."""


def _equal_by_data(self: Event, other: object) -> bool:
    # Exceptions compare by identity; two events about one failure are equal when they say the same.
    return type(other) is type(self) and event_to_data(self) == event_to_data(other)


class StepFailedEvent(Event):
    """Delivered to a `@catch_error` handler when a step has failed for good.

    Attributes:
        step_name: the step that failed.
        input_event: the event it was given; an `UnresolvedEvent` where its class is not to be had.
        exception: what it raised, and what that was raised from: the same class if that is Python's or everstep's own,
            else an `UnreconstructedException`, which names the class.
        attempts: how often it was tried.
        elapsed_seconds: from the start of the first attempt to the last failure.
        failed_at: when it failed last, with time zone.
        traceback: the traceback of the last attempt, as text.
    """

    from_outside = False

    step_name: str
    input_event: SerializableEvent
    exception: SerializableException
    attempts: int
    elapsed_seconds: float
    failed_at: AwareDatetime
    traceback: str = ""

    __eq__ = _equal_by_data

    @property
    def exception_type(self) -> str:
        """The name of the class of what was raised; with its module, if it is not a builtin."""
        return exception_type_name(self.exception)


class WorkflowFailedEvent(StopEvent):
    """Published when a step has failed for good and nothing took its failure: the run has failed.

    Attributes:
        step_name: the step that failed.
        exception: what it raised, as in `StepFailedEvent`.
        attempts: how often it was tried; None where no step's attempts were at fault.
        elapsed_seconds: from the start of the first attempt to the last failure.
        traceback: the traceback of the last attempt, as text.
    """

    from_outside = False

    step_name: str
    exception: SerializableException
    attempts: int | None = None
    elapsed_seconds: float | None = None
    traceback: str = ""

    __eq__ = _equal_by_data


class WorkflowTimedOutEvent(StopEvent):
    """Published when a run took longer than its timeout.

    Attributes:
        timeout: in seconds.
        active_steps: the steps that were running or queued then.
    """

    from_outside = False

    timeout: float
    active_steps: list[str]


class WorkflowCancelledEvent(StopEvent):
    """Published when a run was cancelled from outside."""

    from_outside = False


class InternalDispatchEvent(Event):
    """The root of the notices about a run's inner life; streamed to those who ask for internal events."""

    from_outside = False


class WorkflowIdleEvent(InternalDispatchEvent):
    """Nothing is queued or running: the run waits for an answer, or for an event from outside."""


class UnhandledEvent(InternalDispatchEvent):
    """An event came that no step takes and no wait expects.

    Attributes:
        event_type: its class name.
        qualified_name: its class name on the wire, the same as `event_type`.
        step_name: the step it was addressed to, if any.
        idle: whether the run waits for something from outside.
    """

    event_type: str
    qualified_name: str
    step_name: str | None = None
    idle: bool


class OutcomeDiscardedEvent(InternalDispatchEvent):
    """A step succeeded, and what came of it does not count: it runs again. What it published stays on the stream.

    Attributes:
        name: the step.
        worker_id: the invocation, as in `StepStateChanged`.
        reason: why.
    """

    name: str
    worker_id: str
    reason: str


class StepState(Enum):
    """Where an invocation of a step stands."""

    PREPARING = "preparing"
    """Queued: all workers of the step are busy, or as many steps run as may. Left out where it begins at once."""
    RUNNING = "running"
    NOT_RUNNING = "not_running"


class StepStateChanged(InternalDispatchEvent):
    """An invocation of a step was queued, has begun, or has ended.

    A step that begins to wait ends here, too; when it is answered it is an invocation with a number of its own.

    Attributes:
        name: the step.
        step_state: where it stands now.
        worker_id: the invocation, by its number: the same in all its states, and as `StreamItem.invocation`.
        input_event_name: the type of the event it was given; ``list[A | B]`` for a join, ``tuple[A, B]`` for a step
            that takes several.
        output_event_name: the type of the event it returned, once it has; ``list[A | B]`` for a list.
    """

    name: str
    step_state: StepState
    worker_id: str
    input_event_name: str
    output_event_name: str | None = None
