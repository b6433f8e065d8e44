"""`WorkflowHandler`: the handle of a run, the same for every driver."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from everstep.events import Event, StopEvent
from everstep.run_path import RunPath
from everstep.state_store import RunState

_log = logging.getLogger("everstep")


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One published event, with where it stands in the stream and which attempt published it.

    `offset` goes into `stream_items(after=…)` to read on from there. A reader that sees a later attempt of an
    invocation can drop what an earlier one had published.
    """

    event: Event
    offset: str
    invocation: int | None = None
    attempt: int | None = None


class WorkflowHandler(ABC):
    """A run under way: await it for the result, follow its events, send it events and answers, cancel it.

    Example:
        >>> handler = MyFlow().run(topic="x")
        >>> async for event in handler.stream_events():
        ...     print(event)
        >>> result = await handler
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._background: set[asyncio.Task[Any]] = set()

    @property
    def run_id(self) -> str:
        """The run's id: on Temporal, the workflow id."""
        return self._run_id

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._result().__await__()

    async def _result(self) -> Any:
        event = await self.stop_event_result()
        return event.result if type(event) is StopEvent else event

    @abstractmethod
    async def stop_event_result(self) -> StopEvent:
        """The stop event that ended the run, whatever its type.

        Raises:
            WorkflowTimeoutError: the run timed out.
            WorkflowCancelledByUser: it was cancelled.
            WorkflowRuntimeError: it failed; in process, a step's own exception is raised instead.
        """

    @abstractmethod
    def is_done(self) -> bool:
        """Whether this handle has seen the run end."""

    @abstractmethod
    def get_stop_event(self) -> StopEvent | None:
        """The stop event, once this handle has seen the run complete."""

    @abstractmethod
    def stream_items(self, *, after: str | None = None, expose_internal: bool = False) -> AsyncIterator[StreamItem]:
        """The run's stream with offsets, from the beginning or from behind `after`; ends with the run."""

    async def stream_events(self, expose_internal: bool = False) -> AsyncIterator[Event]:
        """What the run publishes, from its beginning: written events, requests to humans, and last how it ended.

        Args:
            expose_internal: also give the engine's own events, such as `UnhandledEvent`.
        """
        async for item in self.stream_items(expose_internal=expose_internal):
            yield item.event

    @abstractmethod
    async def send_event(self, message: Event, step: str | None = None) -> None:
        """Send an event to the run, to all steps that accept it or to one.

        Raises:
            ResponseRefusedError: the run refused it, with the reason.
        """

    @abstractmethod
    async def respond(
        self, answer: Event | Mapping[str, Any], *, request: str | None = None, by: str | None = None
    ) -> None:
        """Answer a request to a human.

        Args:
            answer: the answer, as an event or as its plain data.
            request: which request; needed only while several are open.
            by: who answers; kept on the record.

        Raises:
            ResponseRefusedError: the answer was refused; the request stays open.
        """

    @abstractmethod
    async def requests(self, *, only_open: bool = True) -> list[dict[str, Any]]:
        """The run's requests to humans: question, schema of the answer, due time, tries, answer."""

    @abstractmethod
    async def state(self) -> dict[str, Any]:
        """The run's state, as plain data; the final one after the end."""

    @abstractmethod
    async def progress(self) -> dict[str, Any]:
        """Counts per step, and what the run waits for."""

    @abstractmethod
    async def path(self) -> RunPath:
        """Which way the run took, so far: which steps ran, how often, how long, and what they gave to which.

        On Temporal it is read from the run's history, so that no worker is needed.
        """

    @abstractmethod
    async def cancel_run(self, reason: str = "") -> None:
        """End the run as cancelled; steps that are running are cancelled."""

    @property
    def state_type(self) -> type[BaseModel] | None:
        """The type of the flow's state, where it declares one and its class is known here."""
        return None

    @property
    def ctx(self) -> HandlerContext:
        """The run as a context: what LlamaIndex code calls `handler.ctx`."""
        return HandlerContext(self)

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry out something that a caller cannot await; what goes wrong is logged."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background_done)

    def _background_done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("what was sent to run %s was not taken: %s", self._run_id, error)


class HandlerContext:
    """A run's context as seen from outside: send events, read the stream and the state.

    Given to `run(ctx=...)` of another run, it carries the state over.

    Example:
        >>> handler = MyFlow().run(topic="x")
        >>> await handler
        >>> state = await handler.ctx.store.get_state()
        >>> await MyFlow().run(ctx=handler.ctx, topic="y")
    """

    def __init__(self, handler: WorkflowHandler) -> None:
        self._handler = handler
        self.store: RunState[Any] = RunState(handler.state, handler.state_type)

    @property
    def handler(self) -> WorkflowHandler:
        """The run's handle."""
        return self._handler

    def send_event(self, message: Event, step: str | None = None) -> None:
        """Send an event without waiting for the verdict; prefer `await handler.send_event(…)`, which tells it."""
        self._handler.in_background(self._handler.send_event(message, step))

    def stream_events(self) -> AsyncIterator[Event]:
        """See `WorkflowHandler.stream_events`."""
        return self._handler.stream_events()
