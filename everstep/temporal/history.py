"""The history is the stream: what a run published, read from its Temporal history by the server's own long poll.

Any number of readers, from any offset, during the run and after it, over continue-as-new and resets, without a worker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode

from everstep.engine.messages import Envelope, Outcome
from everstep.engine.routing import Router
from everstep.engine.stream import shown
from everstep.errors import RunNotFoundError
from everstep.flow.definition import FlowDefinition
from everstep.temporal import names
from everstep.temporal.endings import failure_details, stop_envelope
from everstep.temporal.executions import Executions
from everstep.temporal.internal import InternalEvents
from everstep.temporal.start_input import carried_over


@dataclass(frozen=True, slots=True)
class Published:
    """One event of the stream as data, with its place: ``execution:history event:index``."""

    event: Envelope
    offset: str
    invocation: int | None = None
    attempt: int | None = None


class HistoryReader:
    """Reads the stream of one run.

    Args:
        client: its data converter decodes the history, so codecs and external storage apply.
        run_id: the run's id, which is the workflow id.
    """

    def __init__(self, client: Client, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._router: Router | None = None
        self._activities: dict[int, tuple[str, str]] = {}
        self._lines: dict[str, int] = {}

    async def read(
        self, *, after: str | None = None, follow: bool = True, internal: bool = False
    ) -> AsyncIterator[Published]:
        """The published events, from the beginning or from behind an offset.

        Args:
            after: the offset of the last event that is not wanted again.
            follow: wait for what comes, until the run ends.
            internal: also give the engine's own events and the states of steps, derived from the history.

        Raises:
            RunNotFoundError: there is no such run, or retention has removed its beginning.
        """
        line = Executions(self._client, self._run_id, None if after is None else after.partition(":")[0])
        execution: str | None = await line.first()
        skip = _Skip(after)
        while execution is not None:
            following: str | None = None
            repeated = 0
            self._activities.clear()
            self._lines.clear()
            engine = InternalEvents(self._client, self._run_id) if internal else None
            async for event, more in self._events(execution, follow):
                if line.repeats(event):
                    repeated = event.event_id
                following = await line.next(execution, event)
                # The end of one that was reset is not that of the run.
                items = [] if following else [(event.event_id, item) async for item in self._decode(event)]
                if engine is not None:
                    told = [(one.at, Published(one.event, "")) for one in await engine.after(event, more=more)]
                    items = sorted([*items, *told], key=lambda each: each[0])
                for at, group in groupby(items, key=lambda each: each[0]):
                    if at <= repeated:
                        continue
                    for index, (_, item) in enumerate(group):
                        offset = f"{execution}:{at}:{index}"
                        if skip.passed(offset):
                            yield Published(item.event, offset, item.invocation, item.attempt)
            execution = following

    async def _events(self, execution: str, follow: bool) -> AsyncIterator[tuple[HistoryEvent, bool]]:
        """The events of an execution, each with whether the one behind it is at hand."""
        handle = self._client.get_workflow_handle(self._run_id, run_id=execution)
        try:
            events = handle.fetch_history_events(wait_new_event=follow)
            async for event in events:
                yield event, events.current_page_index < len(events.current_page or ())
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise RunNotFoundError(
                    self._run_id, "with its whole history: retention has removed the beginning"
                ) from None
            raise

    async def _decode(self, event: HistoryEvent) -> AsyncIterator[Published]:
        """What one history event shows; offsets are filled in by the reader."""
        kind = event.event_type
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled = event.activity_task_scheduled_event_attributes
            self._activities[event.event_id] = (scheduled.activity_type.name, scheduled.activity_id)
        elif kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            await self._started(event)
        else:
            for item in await self._shown(event):
                yield item

    async def _shown(self, event: HistoryEvent) -> Sequence[Published]:
        kind = event.event_type
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            return await self._completed(event)
        if kind == EventType.EVENT_TYPE_MARKER_RECORDED:
            return await self._marker(event)
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            return await self._signaled(event)
        end = await self._end(event)
        return [] if end is None else [Published(end, "")]

    async def _completed(self, event: HistoryEvent) -> Sequence[Published]:
        done = event.activity_task_completed_event_attributes
        activity, activity_id = self._activities.pop(done.scheduled_event_id, ("", ""))
        return self._outcome(await self._json(done.result), activity_id) if self._is_step(activity) else []

    async def _signaled(self, event: HistoryEvent) -> Sequence[Published]:
        signal = event.workflow_execution_signaled_event_attributes
        if signal.signal_name == names.CHILD:
            return [Published(found, "") for found in _asked_below(await self._json(signal.input))]
        if signal.signal_name != names.PUBLISH:
            return []
        batch = await self._json(signal.input)
        line, number = batch.get("line"), batch.get("number", 0)
        if line is not None:
            if number <= self._lines.get(line, 0):
                return []  # sent again, because the worker could not know that it had arrived
            self._lines[line] = number
        return [
            Published(Envelope.from_json(data), "", part["invocation"], part["attempt"])
            for part in batch.get("batches", [batch])
            for data in part["events"]
        ]

    async def _started(self, event: HistoryEvent) -> None:
        values = await self._values(event.workflow_execution_started_event_attributes.input)
        carried = carried_over(values)
        if carried is not None:
            self._set_definition(carried["definition"])

    async def _marker(self, event: HistoryEvent) -> Sequence[Published]:
        """What a local activity left: the definition of the run, or the outcome of a local step."""
        marker = event.marker_recorded_event_attributes
        if marker.marker_name != "core_local_activity" or "result" not in marker.details:
            return []
        about = await self._json(marker.details["data"])
        result = await self._json(marker.details["result"])
        activity = about.get("activity_type", "")
        if activity == names.BEGIN and "definition" in result:
            self._set_definition(result["definition"])
        return self._outcome(result, about.get("activity_id", "")) if self._is_step(activity) else []

    def _set_definition(self, definition: Mapping[str, Any]) -> None:
        self._router = Router(FlowDefinition.from_json(definition))

    def _is_step(self, activity: str) -> bool:
        return self._router is not None and activity.startswith(f"{self._router.flow}.")

    def _outcome(self, data: Mapping[str, Any], activity_id: str) -> Sequence[Published]:
        assert self._router is not None
        outcome = Outcome.from_json(data)
        invocation = int(activity_id) if activity_id.isdigit() else None
        return [Published(event, "", invocation, outcome.attempts) for event in shown(self._router, outcome)]

    async def _end(self, event: HistoryEvent) -> Envelope | None:
        kind = event.event_type
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
            result = event.workflow_execution_completed_event_attributes.result
            value: RawValue = (await self._client.data_converter.decode(result.payloads, [RawValue]))[0]
            return stop_envelope(value.payload, self._router.stop if self._router else "StopEvent")
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
            return await self._failed(event.workflow_execution_failed_event_attributes.failure)
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
            return Envelope("WorkflowCancelledEvent", {})
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT:
            return Envelope("WorkflowTimedOutEvent", {"timeout": 0.0, "active_steps": []})
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
            reason = event.workflow_execution_terminated_event_attributes.reason
            return _failed_event(
                {"type": "Terminated", "message": f"the run was terminated: {reason or 'no reason given'}"}
            )
        return None

    async def _failed(self, failure: FailureProto) -> Envelope:
        error = await self._client.data_converter.decode_failure(failure)
        return failure_envelope(error)

    async def _json(self, payloads: Payloads) -> Any:
        values = await self._values(payloads)
        return values[0] if values else {}

    async def _values(self, payloads: Payloads) -> list[Any]:
        return await self._client.data_converter.decode(payloads.payloads)


class _Skip:
    """Leaves out what stands up to an offset."""

    def __init__(self, after: str | None) -> None:
        self._after = after

    def passed(self, offset: str) -> bool:
        if self._after is None:
            return True
        if offset == self._after:
            self._after = None
        return False


def failure_envelope(error: BaseException) -> Envelope:
    """The terminal event of a run that failed."""
    details = failure_details(error)
    if details.get("kind") == "timeout":
        return Envelope(
            "WorkflowTimedOutEvent", {"timeout": details.get("timeout") or 0.0, "active_steps": details["active_steps"]}
        )
    return _failed_event({"message": str(error), **details})


def _raised(kind: Any) -> str:
    """The error, of everstep's own, that a run raises which failed for no error of a step."""
    return "RequestExpiredError" if kind == "expired" else "WorkflowRuntimeError"


def _failed_event(details: Mapping[str, Any]) -> Envelope:
    return Envelope(
        "WorkflowFailedEvent",
        {
            "step_name": details.get("step") or "",
            "exception": {
                "type": details.get("type") or f"everstep.errors.{_raised(details.get('kind'))}",
                "message": details.get("message") or "",
                **({"causes": details["causes"]} if details.get("causes") else {}),
            },
            "traceback": details.get("traceback") or "",
            "attempts": details.get("attempts"),
            "elapsed_seconds": details.get("elapsed"),
        },
    )


def _asked_below(body: Any) -> Iterator[Envelope]:
    """The questions to people that a child tells of for the first time."""
    items: Any = cast("dict[str, Any]", body).get("requests") if isinstance(body, dict) else None
    for item in items or ():
        match item:
            case {"opened": True, "view": {"type": str(kind), "question": question}} if isinstance(question, dict):
                yield Envelope(kind, cast("dict[str, Any]", question))
            case _:
                continue
