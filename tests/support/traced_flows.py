"""A flow for workers that are killed while they trace; it leaves marks in DURABLE_FOLDER."""

from __future__ import annotations

import asyncio

from opentelemetry import trace

from everstep import Workflow, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from tests.support.durable_flows import mark


class Looked(Event):
    """What was looked up."""


class Approve(InputRequiredEvent):
    """Asks whether all is well."""


class Approved(HumanResponseEvent):
    """The answer."""

    approved: bool


class FragileFlow(Workflow):
    """Its first step hangs when it runs for the first time, after a span of its own has ended."""

    @step
    async def look(self, ev: StartEvent) -> Looked:
        with trace.get_tracer("mine").start_as_current_span("a query"):
            pass
        if mark("look") == 0:
            await asyncio.sleep(1)  # for the span to go out
            mark("hangs")
            await asyncio.sleep(300)
        return Looked()

    @step
    async def ask(self, ev: Looked) -> Approve:
        return Approve(assignee="ann")

    @step
    async def finish(self, ev: Approved) -> StopEvent:
        return StopEvent(result=ev.approved)
