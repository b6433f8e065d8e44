"""`WorkflowHandler`: the handle of a run, the same for every driver."""

from __future__ import annotations

import asyncio
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from everstep.context import BaseSerializer, Context
from everstep.context.snapshot import Snapshot
from everstep.errors import ContextStateError, WorkflowCancelledByUser
from everstep.events import Event, StopEvent
from everstep.run_path import RunPath

_log = logging.getLogger("everstep")


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One published event, with where it stands in the stream and which attempt published it.

    A reader that sees a later attempt of an invocation can drop what an earlier one had published.

    Attributes:
        event: what was published.
        offset: goes into `stream_items(after=…)` to read on from here.
        invocation: the number of the invocation that published it; None where the engine did.
        attempt: which of its attempts, counted from 1.
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
        self._ctx: Context[Any] | None = None
        self.serializer: BaseSerializer | None = None

    @property
    def run_id(self) -> str:
        """The run's id: on Temporal, the workflow id."""
        return self._run_id

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._result().__await__()

    async def _result(self) -> Any:
        return self.result_of(await self.stop_event_result())

    @staticmethod
    def result_of(event: StopEvent) -> Any:
        """What awaiting a run gives that ended with this event."""
        return event.result if type(event) is StopEvent else event

    def __str__(self) -> str:
        return f"{type(self).__name__}(run_id={self._run_id!r}, ended={self.ended})"

    @abstractmethod
    async def stop_event_result(self) -> StopEvent:
        """The stop event that ended the run, whatever its type.

        Raises:
            WorkflowTimeoutError: the run timed out.
            WorkflowCancelledByUser: it was cancelled.
            WorkflowRuntimeError: it failed; in process, a step's own exception is raised instead.
        """

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether this handle has seen the run end."""

    def is_done(self) -> bool:
        """Whether the run has ended, as far as is known here: of a run on a server, that is known a moment later."""
        self._look_for_the_end()
        return self.ended

    def get_stop_event(self) -> StopEvent | None:
        """The stop event, once the run is known to have completed."""
        self._look_for_the_end()
        return self._stopped_by()

    def exception(self) -> Exception | None:
        """What the run failed with, once that is known; None before, and for a run that has completed."""
        self._look_for_the_end()
        return self._failed_by()

    @abstractmethod
    def _stopped_by(self) -> StopEvent | None: ...

    @abstractmethod
    def _failed_by(self) -> Exception | None: ...

    @abstractmethod
    def _look_for_the_end(self) -> None:
        """Find out whether the run has ended; where that takes a while, in the background."""

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
    async def send_event(self, event: Event, step: str | None = None) -> None:
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

    async def cancel_run(self, reason: str = "", *, timeout: float = 5.0) -> None:
        """End the run as cancelled; steps that are running are cancelled.

        Args:
            reason: why, for whoever looks at the run.
            timeout: for how many seconds to wait for its end; it goes on ending if that takes longer.
        """
        await self._request_cancel(reason)
        if timeout > 0:
            with suppress(Exception):
                async with asyncio.timeout(timeout):
                    await self.stop_event_result()

    @abstractmethod
    async def path(self) -> RunPath:
        """Which way the run took, so far: which steps ran, how often, how long, and what they gave to which.

        On Temporal it is read from the run's history, so that no worker is needed.
        """

    @abstractmethod
    async def _request_cancel(self, reason: str) -> None: ...

    @property
    def state_type(self) -> type[BaseModel] | None:
        """The type of the flow's state, where it declares one and its class is known here."""
        return None

    @property
    def ctx(self) -> Context[Any]:
        """The run's context: the one that `run(ctx=…)` was given, else one of its own."""
        if self._ctx is None:
            self._ctx = Context.of_run(self)
        return self._ctx

    def belongs_to(self, context: Context[Any]) -> None:
        """Make this the run of a context."""
        self._ctx = context
        context.outside.follow(self)

    def snapshot(self) -> Snapshot:
        """The run, taken down; see `Context.to_dict`.

        Raises:
            ContextStateError: the run is not in this process.
        """
        raise ContextStateError(
            f"run {self._run_id} is not in this process, and cannot be taken down here: where it runs it is kept. Take "
            "it up again by its id, or carry its state into another run by run(ctx=await handler.state())"
        )

    def done(self) -> bool:
        """Deprecated: use `is_done`."""
        _deprecated("done()", "is_done()")
        return self.is_done()

    def cancelled(self) -> bool:
        """Deprecated: look at the type of `exception()`. Whether the run is known to have been cancelled."""
        _deprecated("cancelled()", "isinstance(handler.exception(), WorkflowCancelledByUser)")
        return isinstance(self.exception(), WorkflowCancelledByUser)

    def cancel(self) -> None:
        """Deprecated: use `await handler.cancel_run()`. Asks for the run to be cancelled, and waits for nothing."""
        _deprecated("cancel()", "await handler.cancel_run()")
        self.in_background(self.cancel_run(timeout=0))

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry out something that a caller cannot await; what goes wrong is logged."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background_done)

    def _background_done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("what was sent to run %s was not taken: %s", self._run_id, error)


def _deprecated(name: str, instead: str) -> None:
    warnings.warn(f"WorkflowHandler.{name} is deprecated: use {instead}.", DeprecationWarning, stacklevel=3)
