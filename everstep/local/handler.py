"""The handle of a run in process. What it gives away is a copy: whoever changes that does not change the run."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

from pydantic import BaseModel

from everstep.context import Context
from everstep.context.snapshot import Snapshot
from everstep.engine import views
from everstep.errors import StateValueError
from everstep.events import Event, StopEvent
from everstep.handler import StreamItem, WorkflowHandler
from everstep.local.run import LocalRun
from everstep.run_path import RunPath


class LocalHandler(WorkflowHandler):
    """See `WorkflowHandler`; a step's own exception is raised by whoever awaits the run."""

    def __init__(self, run: LocalRun) -> None:
        super().__init__(run.run_id)
        self._run = run

    @property
    def state_type(self) -> type[BaseModel] | None:
        return self._run.invoker.types.state

    @property
    def state_now(self) -> Mapping[str, Any]:
        """The run's state, at once."""
        return self._run.engine.run.state

    async def stop_event_result(self) -> StopEvent:
        with self._run.clock.awaited():
            ended = await asyncio.shield(self._run.ended)
        return cast("StopEvent", self._run.invoker.decode(ended))

    @property
    def ended(self) -> bool:
        return self._run.ended.done()

    def _stopped_by(self) -> StopEvent | None:
        if not self.ended or self._failed_by() is not None:
            return None
        return cast("StopEvent", self._run.invoker.decode(self._run.ended.result()))

    def _failed_by(self) -> Exception | None:
        return cast("Exception | None", self._run.ended.exception()) if self.ended else None

    def _look_for_the_end(self) -> None:
        """It is known at once."""

    async def stream_items(
        self, *, after: str | None = None, expose_internal: bool = False
    ) -> AsyncIterator[StreamItem]:
        start = 0 if after is None else int(after) + 1
        async for entry in self._run.stream.read(start):
            if expose_internal or not entry.internal:
                event = self._run.invoker.types.shown(entry.event.type, entry.event.data)
                yield StreamItem(event, str(entry.index), entry.invocation, entry.attempt)

    async def send_event(self, event: Event, step: str | None = None) -> None:
        envelope = self._run.invoker.encode(event)
        await self._run.send(envelope.data, type_name=envelope.type, answer=False, step=step)

    async def respond(
        self, answer: Event | Mapping[str, Any], *, request: str | None = None, by: str | None = None
    ) -> None:
        type_name: str | None = None
        data = answer
        if isinstance(answer, Event):
            envelope = self._run.invoker.encode(answer)
            type_name, data = envelope.type, envelope.data
        await self._run.send(cast("Mapping[str, Any]", data), type_name=type_name, answer=True, request=request, by=by)

    async def requests(self, *, only_open: bool = True) -> list[dict[str, Any]]:
        return copy.deepcopy(views.requests(self._run.engine.run, only_open=only_open))

    async def state(self) -> dict[str, Any]:
        return copy.deepcopy(self._run.engine.run.state)

    async def progress(self) -> dict[str, Any]:
        return copy.deepcopy(views.progress(self._run.engine.run))

    async def path(self) -> RunPath:
        return self.path_now

    @property
    def path_now(self) -> RunPath:
        """The way that the run took so far, at once."""
        return self._run.path.path() or RunPath(self.run_id, self._run.engine.definition)

    async def _request_cancel(self, reason: str) -> None:
        self._run.cancel(reason)

    def snapshot(self) -> Snapshot:
        return self._run.snapshot()


def state_of(ctx: Any) -> Any:
    """What `run(ctx=...)` was given, with the state of the run in place of another run's context.

    Raises:
        StateValueError: that run is not in this process, so that its state cannot be had at once.
    """
    if not isinstance(ctx, Context):
        return ctx
    outside = cast("Context[Any]", ctx).outside
    if outside.store.own is not None or outside.run is None:
        return outside.store.own or None
    if not isinstance(outside.run, LocalHandler):
        raise StateValueError(
            f"the state of run {outside.run.run_id} is not in this process: give run(ctx=await handler.state())"
        )
    return outside.run.state_now
