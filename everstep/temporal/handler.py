"""The handle of a run on Temporal. Made at once; whatever it does waits until the server has the run."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import suppress
from typing import Any, cast

from pydantic import BaseModel
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError
from temporalio.service import RPCError, RPCStatusCode

from everstep.context.snapshot import Snapshot
from everstep.engine.messages import Envelope
from everstep.errors import (
    ContextStateError,
    EverstepError,
    RequestExpiredError,
    ResponseRefusedError,
    RunNotFoundError,
    StepFailedError,
    UnreadablePayloadError,
    WorkflowCancelledByUser,
    WorkflowRuntimeError,
    WorkflowTimeoutError,
)
from everstep.events import Event, StopEvent, event_from_data, event_name, event_to_data
from everstep.exception_data import exception_from_data
from everstep.flow.compile import FlowTypes
from everstep.handler import StreamItem, WorkflowHandler
from everstep.run_path import RunPath
from everstep.temporal import names
from everstep.temporal.endings import failure_details, stop_envelope
from everstep.temporal.history import HistoryReader, Published
from everstep.temporal.live import put_query
from everstep.temporal.path import run_path
from everstep.temporal.payloads import raw

SEND_AGAIN_SECONDS = 30.0
"""How long a message is sent again when the run was crossing to its next execution."""


class TemporalHandler(WorkflowHandler):
    """See `WorkflowHandler`.

    Args:
        client: connected to the server.
        run_id: the run's id, which is the workflow id.
        types: the flow's event types; without them events come as plain `Event`s with a ``type_name``, results as JSON.
        stop: the type of stop event that the flow declares.
        started: what has to be done before the server has the run.
    """

    def __init__(
        self,
        client: Client,
        run_id: str,
        types: FlowTypes | None = None,
        *,
        stop: str = "StopEvent",
        started: Awaitable[None] | None = None,
    ) -> None:
        super().__init__(run_id)
        self._client = client
        self._types = types
        self._stop = stop
        self._starting = None if started is None else asyncio.ensure_future(started)
        self._stop_event: StopEvent | None = None
        self._error: Exception | None = None
        self._ended = False
        self._looking: asyncio.Task[None] | None = None

    @property
    def state_type(self) -> type[BaseModel] | None:
        return None if self._types is None else self._types.state

    @property
    def workflow(self) -> WorkflowHandle[Any, Any]:
        """Temporal's own handle of the run."""
        return self._client.get_workflow_handle(self.run_id, result_type=RawValue)

    async def started(self) -> None:
        """Return once the server has the run.

        Raises:
            RunAlreadyStartedError: a run with this id is there already.
        """
        if self._starting is None:
            return
        try:
            await asyncio.shield(self._starting)
        except EverstepError as error:  # there is no run that could go on
            self._error, self._ended = error, True
            raise

    async def stop_event_result(self) -> StopEvent:
        await self.started()
        try:
            result: RawValue = await self.workflow.result()
        except WorkflowFailureError as error:
            self._ended = True
            self._error = run_error(self.run_id, error.cause)
            raise self._error from cause_of(error.cause)
        except RPCError as error:
            raise self._explained(error) from error
        self._stop_event = cast("StopEvent", self._event(stop_envelope(result.payload, self._stop)))
        self._ended = True
        return self._stop_event

    @property
    def ended(self) -> bool:
        return self._ended

    def _stopped_by(self) -> StopEvent | None:
        return self._stop_event

    def _failed_by(self) -> Exception | None:
        return self._error

    def _look_for_the_end(self) -> None:
        if self._ended or self._looking is not None:
            return
        with suppress(RuntimeError):  # without an event loop nothing can be looked for
            self._looking = asyncio.get_running_loop().create_task(self._wait_for_the_end())

    async def _wait_for_the_end(self) -> None:
        try:
            await self.stop_event_result()
        except Exception:
            self._looking = None  # where this was no failure of the run, but of the connection, look again

    async def stream_items(
        self, *, after: str | None = None, expose_internal: bool = False
    ) -> AsyncIterator[StreamItem]:
        async for item in self.stream_published(after=after, internal=expose_internal):
            yield StreamItem(self._event(item.event), item.offset, item.invocation, item.attempt)

    async def stream_published(
        self, *, after: str | None = None, follow: bool = True, internal: bool = False
    ) -> AsyncIterator[Published]:
        """The stream as data, without the flow's classes; see `HistoryReader.read`."""
        await self.started()
        async for item in HistoryReader(self._client, self.run_id).read(after=after, follow=follow, internal=internal):
            yield item

    async def send_event(self, event: Event, step: str | None = None) -> None:
        await self.send_json(event_name(type(event)), event_to_data(event), step=step)

    async def send_json(
        self, type_name: str, data: Mapping[str, Any], *, step: str | None = None, by: str | None = None
    ) -> None:
        """Send an event given as plain data; see `send_event`."""
        body = {"type": type_name, "data": data, "step": step, "by": by}
        await self._update(names.SEND_EVENT, {key: value for key, value in body.items() if value is not None})

    async def respond(
        self, answer: Event | Mapping[str, Any], *, request: str | None = None, by: str | None = None
    ) -> None:
        body: dict[str, Any] = {"request": request, "by": by, "answer": answer}
        if isinstance(answer, Event):
            body |= {"type": event_name(type(answer)), "answer": event_to_data(answer)}
        await self._update(names.RESPOND, {key: value for key, value in body.items() if value is not None})

    async def requests(self, *, only_open: bool = True) -> list[dict[str, Any]]:
        return await self._query(names.REQUESTS, only_open)

    async def state(self) -> dict[str, Any]:
        return await self._query(names.STATE)

    async def progress(self) -> dict[str, Any]:
        return await self._query(names.PROGRESS)

    async def path(self) -> RunPath:
        await self.started()
        return await run_path(self._client, self.run_id)

    def snapshot(self) -> Snapshot:
        raise ContextStateError(
            f"run {self.run_id} is on a Temporal server, which keeps it through crashes and restarts: there is nothing "
            f"to take down. Come back to it by its id, as in TemporalRuntime(client).handle({self.run_id!r}); to carry "
            "its state into another run: run(ctx=handler.ctx), or run(ctx=await handler.state())"
        )

    async def _request_cancel(self, reason: str) -> None:
        await self.started()
        try:
            await self.workflow.cancel(reason=reason)
        except RPCError as error:
            raise self._explained(error) from error

    async def _query(self, name: str, *arguments: Any) -> Any:
        await self.started()
        try:
            return await put_query(self._client, self.run_id, name, *arguments)
        except RPCError as error:
            raise self._explained(error) from error

    async def _update(self, name: str, body: Mapping[str, Any]) -> None:
        """Send a message and wait for the verdict; one that met the run while it crossed a boundary is sent again."""
        await self.started()
        key = str(uuid.uuid4())
        deadline = asyncio.get_running_loop().time() + SEND_AGAIN_SECONDS
        while True:
            try:
                await self._put(name, body, key)
                return
            except WorkflowUpdateFailedError as error:
                reason = error.cause
                crossed = not isinstance(reason, ApplicationError) or reason.type == "AcceptedUpdateCompletedWorkflow"
                if crossed and asyncio.get_running_loop().time() < deadline and await self._goes_on():
                    await asyncio.sleep(0.2)
                    continue
                await self._refused(reason, name, body)
                return
            except RPCError as error:
                ended = error.status == RPCStatusCode.NOT_FOUND and not await self._goes_on()
                if ended:
                    raise ResponseRefusedError(
                        f"run {self.run_id} has ended, and takes no messages any more"
                    ) from error
                if error.status not in _SEND_AGAIN or asyncio.get_running_loop().time() >= deadline:
                    raise self._explained(error) from error
            except WorkflowUpdateRPCTimeoutOrCancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():  # the SDK reports it like a server that was slow
                    raise asyncio.CancelledError from error
                if asyncio.get_running_loop().time() >= deadline:
                    raise
            await asyncio.sleep(0.2)

    async def _put(self, name: str, body: Mapping[str, Any], key: str) -> None:
        try:
            await self.workflow.execute_update(name, raw(body), id=key)  # pyright: ignore[reportUnknownMemberType]
        except UnreadablePayloadError as error:  # what cannot be read is the verdict: the message was heard
            raise UnreadablePayloadError(
                f"The message has reached run {self.run_id}; whether it was taken cannot be read here. {error}"
            ) from error

    async def _refused(self, reason: BaseException, name: str, body: Mapping[str, Any]) -> None:
        """Raise why a message was refused; or give an answer to the run below this one that has asked for it."""
        if not isinstance(reason, ApplicationError) or reason.type != names.ELSEWHERE:
            text = reason.message if isinstance(reason, ApplicationError) else str(reason)
            raise ResponseRefusedError(text) from None
        place: Mapping[str, str] = reason.details[0]
        answer = dict(body) if name == names.RESPOND else {"type": body["type"], "answer": body["data"]}
        if isinstance(answer.get("answer"), dict):
            fields = cast("dict[str, Any]", answer["answer"])
            answer["answer"] = {key: value for key, value in fields.items() if key != "request_id"}
        below = TemporalHandler(self._client, place["run"])
        await below._update(names.RESPOND, {**answer, "request": place["request"]})

    async def _goes_on(self) -> bool:
        """Whether the run is open, by this execution or a following one."""
        try:
            found = await self._client.get_workflow_handle(self.run_id).describe()
        except RPCError as error:
            raise self._explained(error) from error
        return found.close_time is None

    def _explained(self, error: RPCError) -> Exception:
        if error.status == RPCStatusCode.NOT_FOUND:
            return RunNotFoundError(self.run_id)
        return WorkflowRuntimeError(f"the Temporal server refused a call for run {self.run_id}: {error}")

    def _event(self, envelope: Envelope) -> Event:
        if self._types is not None:
            return self._types.shown(envelope.type, envelope.data)
        cls = LIBRARY.get(envelope.type)
        if cls is None:
            return Event(**{**envelope.data, "type_name": envelope.type})
        return event_from_data(cls, envelope.data)


LIBRARY: dict[str, type[Event]] = {"StopEvent": StopEvent}
_SEND_AGAIN = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.NOT_FOUND,  # of a run that goes on: it was crossing to its next execution
)


def cause_of(cause: BaseException) -> BaseException:
    """What a failed run's error is raised from: what the step raised, as far as that can be built again."""
    details = failure_details(cause)
    if details.get("kind") != "step":
        return cause
    raised = exception_from_data(details)
    if details["traceback"]:
        raised.add_note(f"where the step ran:\n{details['traceback']}")
    return raised


def run_error(run_id: str, cause: BaseException) -> Exception:
    """The error that a failed run raises, from what Temporal says of it."""
    if isinstance(cause, CancelledError):
        return WorkflowCancelledByUser(f"run {run_id} was cancelled")
    if isinstance(cause, TerminatedError):
        return WorkflowCancelledByUser(f"run {run_id} was terminated: {cause}")
    details = failure_details(cause)
    kind = details.get("kind")
    if kind == "timeout":
        return WorkflowTimeoutError(str(cause))
    if kind == "expired":
        return RequestExpiredError(str(cause))
    if kind == "step":
        return StepFailedError(
            details["step"],
            details.get("event") or "events",
            details["type"],
            details["message"],
            details["attempts"],
            details["traceback"],
        )
    return WorkflowRuntimeError(cause.message if isinstance(cause, ApplicationError) else str(cause))
