"""The engine of a run, followed from outside: its history, event by event, becomes the inputs that the engine had.

It gives what nobody records: the engine's own events and the states of steps. Each event is read once, however long the
history grows. What stands in a history that this cannot read is told by `UnreadableError`, never guessed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from everstep.engine import inputs as happened
from everstep.engine.core import Engine
from everstep.engine.messages import Envelope, Failure
from everstep.flow.definition import FlowDefinition
from everstep.temporal import names
from everstep.temporal.endings import step_failure
from everstep.temporal.lock_keeper import lock_release, lock_request
from everstep.temporal.payloads import unpack
from everstep.temporal.replica import Replica, UnreadableError
from everstep.temporal.start_input import carried_over
from everstep.wire import MalformedMessageError, parse_answer, parse_event, received


@dataclass(frozen=True, slots=True)
class Told:
    """A notice, and the id of the history event that it belongs to, whenever it was told."""

    at: int
    event: Envelope


class EngineFollower:
    """Follows one execution of a run from its first event.

    Args:
        client: its data converter decodes the history.
        run_id: the run's id.
    """

    def __init__(self, client: Client, run_id: str) -> None:
        self._converter = client.data_converter
        self._run_id = run_id
        self._replica = Replica(run_id, self._tell)
        self._flow = ""
        self._told: list[Told] = []
        self._reading = 0
        self._task = 0
        self._arrived: list[HistoryEvent] = []
        self._updates: list[HistoryEvent] = []
        self._activities: dict[int, tuple[str, str]] = {}
        self._timers: dict[str, str] = {}

    async def after(self, event: HistoryEvent, *, more: bool) -> list[Told]:
        """What an event has brought about: the engine's own events and the states of steps, in order.

        Args:
            event: the next one of the history.
            more: the one behind it is at hand. Updates stand behind the workflow task that took them, so what a task
                brought about is told with the next event then.

        Raises:
            UnreadableError: it is not known here what such an event means for a run.
        """
        try:
            await self._read(event, more=more)
        except LookupError as error:  # what happened has no place in the engine: something before was not read
            raise UnreadableError(f"event {event.event_id} does not fit what came before it") from error
        told, self._told = self._told, []
        return told

    def _tell(self, notice: Envelope) -> None:
        self._told.append(Told(self._reading, notice))

    async def _read(self, event: HistoryEvent, *, more: bool) -> None:
        kind = event.event_type
        if self._task and kind == _UPDATED:
            self._updates.append(event)
        elif self._task:
            await self._run_task()
        self._reading = event.event_id
        if kind in _ARRIVING:
            self._arrived.append(event)  # workflow code sees it with its next task
        elif kind == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            self._task = event.event_id
        elif kind in _READ:
            if not self._task:
                await _READ[kind](self, event)
        elif kind not in _NO_MATTER:
            raise UnreadableError(f"event {event.event_id} is of type {EventType.Name(kind)}")
        if self._task and not more:
            await self._run_task()

    async def _run_task(self) -> None:
        """What workflow code did in a task: signals and updates go first, everything else in order of arrival."""
        self._reading, self._task = self._task, 0
        arrived, self._arrived = self._arrived, []
        updates, self._updates = self._updates, []
        for event in arrived:
            if event.event_type == _SIGNALED:
                await self._signaled(event)
        for event in updates:
            await self._updated(event)
        for event in arrived:
            if event.event_type != _SIGNALED:
                await _ARRIVING[event.event_type](self, event)

    # The frame: the beginning, workflow tasks, and what was ordered by them

    async def _started(self, event: HistoryEvent) -> None:
        started = event.workflow_execution_started_event_attributes
        self._flow = started.workflow_type.name
        values = await self._values(started.input)
        carried = carried_over(values)
        if carried is not None:
            self._replica.now = _seconds(event)
            engine = Engine.restore(
                FlowDefinition.from_json(carried["definition"]), unpack(carried["engine"]), self._run_id
            )
            self._replica.begin(engine, carried["limits"], happened.Restored(self._replica.now, moved=True))

    async def _task_started(self, event: HistoryEvent) -> None:
        started = event.workflow_task_started_event_attributes
        suggested, size = started.suggest_continue_as_new, started.history_size_bytes
        self._replica.task(_seconds(event), event.event_id, size, suggested=suggested)

    async def _scheduled(self, event: HistoryEvent) -> None:
        scheduled = event.activity_task_scheduled_event_attributes
        activity = scheduled.activity_type.name
        self._activities[event.event_id] = activity, scheduled.activity_id
        if self._is_step(activity):
            self._replica.started(int(scheduled.activity_id))

    async def _timer_started(self, event: HistoryEvent) -> None:
        summary = event.user_metadata.summary
        if not summary.data:
            raise UnreadableError(f"event {event.event_id} is a timer without a name")
        (name,) = await self._values(Payloads(payloads=[summary]))
        self._timers[event.timer_started_event_attributes.timer_id] = str(name)

    async def _marker(self, event: HistoryEvent) -> None:
        """A local activity has ended: the one that begins the run, or a local step."""
        marker = event.marker_recorded_event_attributes
        if marker.marker_name != "core_local_activity":
            raise UnreadableError(f"event {event.event_id} is a marker {marker.marker_name!r}")
        about = await self._json(marker.details["data"])
        activity, result = about.get("activity_type", ""), marker.details.get("result")
        if activity == names.BEGIN:
            if result is not None:
                self._begun(await self._json(result))
        elif self._is_step(activity):
            await self._step_ended(int(about["activity_id"]), result, marker.failure)

    def _begun(self, begun: Mapping[str, Any]) -> None:
        if "refused" in begun:
            return
        engine = Engine(FlowDefinition.from_json(begun["definition"]), self._run_id)
        start = happened.StartRun(self._replica.now, Envelope.from_json(begun["start"]), begun.get("state"))
        self._replica.begin(engine, begun["limits"], start)

    # What workflow code is told with a task

    async def _completed(self, event: HistoryEvent) -> None:
        done = event.activity_task_completed_event_attributes
        activity, number = self._activities.pop(done.scheduled_event_id)
        if activity == names.JUDGE:
            self._replica.judged((await self._json(done.result))["verdicts"])
        elif self._is_step(activity):
            await self._step_ended(int(number), done.result, None)

    async def _failed(self, event: HistoryEvent) -> None:
        failed = (
            event.activity_task_failed_event_attributes
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
            else event.activity_task_timed_out_event_attributes
        )
        activity, number = self._activities.pop(failed.scheduled_event_id)
        if self._is_step(activity):
            await self._step_ended(int(number), None, failed.failure)

    async def _cancelled(self, event: HistoryEvent) -> None:
        scheduled = event.activity_task_canceled_event_attributes.scheduled_event_id
        activity, number = self._activities.pop(scheduled)
        if self._is_step(activity):
            failure = Failure("CancelledError", "the step was cancelled from outside of its run")
            self._replica.take(happened.StepFailed(self._replica.now, int(number), failure))

    async def _step_ended(self, invocation: int, result: Payloads | None, failure: FailureProto | None) -> None:
        if result is not None:
            self._replica.take(
                happened.StepSucceeded.from_json(self._replica.now, invocation, await self._json(result))
            )
        else:
            assert failure is not None
            error = await self._converter.decode_failure(failure)
            self._replica.take(happened.StepFailed(self._replica.now, invocation, step_failure(error)))

    async def _fired(self, event: HistoryEvent) -> None:
        self._replica.fired(self._timers.pop(event.timer_fired_event_attributes.timer_id))

    async def _signaled(self, event: HistoryEvent) -> None:
        signal = event.workflow_execution_signaled_event_attributes
        arguments = await self._values(signal.input)
        if signal.signal_name == names.UNLOCK:
            released = lock_release(self._replica.now, arguments)
            if released is not None:
                self._replica.take(released)
        elif signal.signal_name in _MESSAGES:
            self._message(signal.signal_name, arguments, None)
        elif signal.signal_name == names.PUBLISH:
            self._replica.shown()
        elif signal.signal_name in (names.PARENT, names.CHILD):
            pass
        elif signal.signal_name.startswith(names.OWN):
            raise UnreadableError(f"event {event.event_id} is a signal {signal.signal_name!r}")
        else:
            self._replica.take(happened.MessageMalformed(self._replica.now, {"signal": signal.signal_name}, ""))

    async def _updated(self, event: HistoryEvent) -> None:
        request = event.workflow_execution_update_accepted_event_attributes.accepted_request
        name = request.input.name
        arguments = await self._values(request.input.args)
        if name == names.LOCK:
            asked = lock_request(self._replica.now, arguments)
            if asked is not None:
                self._replica.take(asked)
        elif name in _MESSAGES:
            self._message(name, arguments, request.meta.update_id)
        else:
            raise UnreadableError(f"event {event.event_id} is an update {name!r}")

    def _message(self, name: str, arguments: Sequence[Any], key: str | None) -> None:
        parse = parse_answer if name == names.RESPOND else parse_event
        try:
            message = parse(arguments)
        except MalformedMessageError as error:
            self._replica.take(happened.MessageMalformed(self._replica.now, list(arguments), str(error)))
            return
        answer = name == names.RESPOND
        self._replica.take(received(message, self._replica.now, answer=answer, key=key, unattended=key is None))

    async def _cancel_requested(self, event: HistoryEvent) -> None:
        reason = event.workflow_execution_cancel_requested_event_attributes.cause
        self._replica.cancelled(reason)

    def _is_step(self, activity: str) -> bool:
        return activity.startswith(f"{self._flow}.")

    async def _json(self, payloads: Payloads) -> dict[str, Any]:
        values = await self._values(payloads)
        return cast("dict[str, Any]", values[0]) if values and isinstance(values[0], dict) else {}

    async def _values(self, payloads: Payloads) -> list[Any]:
        return await self._converter.decode(payloads.payloads)


def _seconds(event: HistoryEvent) -> float:
    return event.event_time.ToNanoseconds() / 1e9


_Reader = Callable[[EngineFollower, HistoryEvent], Awaitable[None]]
_MESSAGES = (names.RESPOND, names.SEND_EVENT)
_SIGNALED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
_UPDATED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED

_ARRIVING: dict[int, _Reader] = {
    _SIGNALED: EngineFollower._signaled,  # pyright: ignore[reportPrivateUsage]
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: EngineFollower._completed,  # pyright: ignore[reportPrivateUsage]
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: EngineFollower._failed,  # pyright: ignore[reportPrivateUsage]
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: EngineFollower._failed,  # pyright: ignore[reportPrivateUsage]
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: EngineFollower._cancelled,  # pyright: ignore[reportPrivateUsage]
    EventType.EVENT_TYPE_TIMER_FIRED: EngineFollower._fired,  # pyright: ignore[reportPrivateUsage]
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED: EngineFollower._cancel_requested,  # pyright: ignore[reportPrivateUsage]
}
"""What arrives from outside of workflow code, for its next task."""

_READ: dict[int, _Reader] = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: EngineFollower._started,  # pyright: ignore[reportPrivateUsage]
    EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED: EngineFollower._task_started,  # pyright: ignore[reportPrivateUsage]
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: EngineFollower._scheduled,  # pyright: ignore[reportPrivateUsage]
    EventType.EVENT_TYPE_TIMER_STARTED: EngineFollower._timer_started,  # pyright: ignore[reportPrivateUsage]
    EventType.EVENT_TYPE_MARKER_RECORDED: EngineFollower._marker,  # pyright: ignore[reportPrivateUsage]
    _UPDATED: EngineFollower._updated,  # pyright: ignore[reportPrivateUsage]
}
"""What a workflow task leaves in the history, and what frames it."""

_NO_MATTER = frozenset(
    (
        EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
        EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED,
        EventType.EVENT_TYPE_TIMER_CANCELED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED,
        EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
        EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
    )
)
