"""The drivers that the contract suite runs on: the environments that users have, with what our own tests look at.

A flow is served by a worker of its own, started when a test first runs it and stopped at the test's end.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from temporalio.client import Client

from everstep import LocalRuntime
from everstep.events import Event
from everstep.handler import StreamItem, WorkflowHandler
from everstep.runtime import Runtime
from everstep.testing import FlowEnvironment, TemporalEnvironment, TimeSkippingEnvironment
from everstep.testing.environment import PATIENCE, Flow
from everstep.testing.time_skipping import SkipWhileWaiting


@dataclass
class Seen:
    """All that is seen of a run from outside: its stream, its state, and how it ended."""

    events: list[Event]
    state: dict[str, Any]
    result: Any = None
    error: Exception | None = None
    items: list[StreamItem] = field(default_factory=list[StreamItem])

    def types(self) -> list[str]:
        """The types of the events, in order."""
        return [type(event).__name__ for event in self.events]


class Driver(FlowEnvironment):
    """Runs flows for one test, and looks at their runs."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.begun: dict[str, float] = {}

    def at_real_pace(self) -> None:
        """Let time pass as it does, where it is skipped otherwise: for people who answer what a stream shows."""
        self.skips_time = False

    def span(self, short: float, long: float) -> float:
        """A time to wait for, in seconds: `short` where it is waited out, `long` where it is skipped."""
        return long if self.skips_time else short

    async def run(self, flow: Flow, *, run_id: str | None = None, ctx: Any = None, **start: Any) -> WorkflowHandler:
        """Begin a run; the start event's fields as keywords."""
        begun = time.monotonic()
        handler = await super().run(flow, run_id=run_id, ctx=ctx, **start)
        self.begun[handler.run_id] = begun
        return handler

    @abstractmethod
    async def took(self, handler: WorkflowHandler) -> float:
        """How many seconds a run took that has just ended, by the clock that its timers go by."""

    async def see(self, flow: Flow, *, ctx: Any = None, **start: Any) -> Seen:
        """Run a flow to its end and look at it from all sides."""
        return await self.seen(await self.run(flow, ctx=ctx, **start))

    async def seen(self, handler: WorkflowHandler) -> Seen:
        """Wait for the end of a run and look at it from all sides."""
        async with asyncio.timeout(PATIENCE):
            items = [item async for item in handler.stream_items()]
            result, error = None, None
            try:
                result = await handler
            except Exception as raised:
                error = raised
            return Seen([item.event for item in items], await handler.state(), result, error, items)

    async def in_status(self, handler: WorkflowHandler, status: str) -> dict[str, Any]:
        """The progress of a run, once it has this status. Does not let time skip."""

        async def found() -> dict[str, Any] | None:
            progress = await self.asked(handler, handler.progress)
            return progress if progress["status"] == status else None

        return await eventually(found)


async def eventually(find: Callable[[], Awaitable[Any]]) -> Any:
    """What `find` gives once it gives something; asked again for a while."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = await find()
        if found:
            return found
        assert time.monotonic() < deadline, "what this test waits for did not come"
        await asyncio.sleep(0.02)


class LocalDriver(Driver):
    """In this process, by the time of day."""

    name = "local"

    async def runtime(self, flow: Flow) -> Runtime:
        return LocalRuntime()

    async def serve(self, flow: Flow, task_queue: str) -> None:
        """There are no task queues."""

    async def took(self, handler: WorkflowHandler) -> float:
        return time.monotonic() - self.begun[handler.run_id]

    async def let_pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class TemporalDriver(Driver, TemporalEnvironment):
    """On a Temporal server; one worker for each flow."""

    async def took(self, handler: WorkflowHandler) -> float:
        found = await self.client.get_workflow_handle(handler.run_id).describe()
        assert found.close_time is not None
        return (found.close_time - found.start_time).total_seconds()


class TimeSkippingDriver(TemporalDriver, TimeSkippingEnvironment):
    """On the test server, whose time skips while somebody waits for a run."""

    skips: SkipWhileWaiting

    @classmethod
    async def connect(cls, address: str) -> Self:
        skips = SkipWhileWaiting()
        driver = cls(await Client.connect(address, interceptors=[skips]))
        driver.skips = skips
        return driver

    def at_real_pace(self) -> None:
        super().at_real_pace()
        self.skips.real_pace = True
