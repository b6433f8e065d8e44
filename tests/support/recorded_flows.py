"""The flows whose histories are recorded, and how each is driven. One run each, named after what it shows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from everstep import Context, Workflow, catch_error, step
from everstep.errors import EverstepError
from everstep.events import (
    Event,
    HumanResponseEvent,
    InputExpiredEvent,
    InputRequiredEvent,
    StartEvent,
    StepFailedEvent,
    StopEvent,
)
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from everstep.temporal import Limits, TemporalRuntime
from everstep.temporal.handler import TemporalHandler
from tests.support.waiting import until


class Item(Event):
    """A member of a stream."""

    number: int


class Result(Event):
    """What became of a member."""

    number: int


class Note(Event):
    """Something told from outside."""

    text: str


class Question(InputRequiredEvent):
    """Asks for a number."""

    about: str


class Answer(HumanResponseEvent):
    """The number."""

    number: int


class ChainFlow(Workflow):
    """Steps in a row: one local, one sync, a loop, state."""

    @step(local=True)
    async def begin(self, ctx: Context, ev: StartEvent) -> Item:
        await ctx.store.set("log", ["begin"])
        return Item(number=0)

    @step
    def add(self, ctx: Context, ev: Item) -> Item | Result:
        ctx.write_event_to_stream(Note(text=f"at {ev.number}"))
        return Item(number=ev.number + 1) if ev.number < 5 else Result(number=ev.number)

    @step(local=True)
    async def end(self, ctx: Context, ev: Result) -> StopEvent:
        await ctx.store.set("sum.total", ev.number)
        return StopEvent(result=ev.number)


class FanFlow(Workflow):
    """A stream within a stream, joined twice, under a small cap."""

    max_in_flight = 7

    @step
    async def open(self, ev: StartEvent) -> list[Item]:
        return [Item(number=number) for number in range(ev.width)]

    @step(num_workers=20)
    async def work(self, ev: Item) -> Result | None:
        return Result(number=ev.number) if ev.number % 3 else None

    @step
    async def join(self, ev: list[Result]) -> StopEvent:
        return StopEvent(result=sorted(result.number for result in ev))


class AskFlow(Workflow):
    """Asks two people at a time, and takes notes meanwhile."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> list[Question]:
        return [Question(about="a", assignee="ann"), Question(about="b", due=timedelta(days=30))]

    @step(skip_graph_checks=["reachability"])
    async def note(self, ctx: Context, ev: Note) -> None:
        await ctx.store.set("note", ev.text)

    @step
    async def take(self, ev: Answer) -> Result:
        return Result(number=ev.number)

    @step
    async def join(self, ev: list[Result]) -> StopEvent:
        return StopEvent(result=sum(result.number for result in ev))


class ExpireFlow(Workflow):
    """Asks, and goes on without an answer."""

    @step
    async def ask(self, ev: StartEvent) -> Question:
        return Question(about="soon", due=0.3)

    @step
    async def take(self, ev: Answer) -> StopEvent:
        return StopEvent(result="answered")

    @step
    async def give_up(self, ev: InputExpiredEvent) -> StopEvent:
        return StopEvent(result=f"nobody answered {ev.request_id}")


class FailFlow(Workflow):
    """Fails, is caught, and fails for good."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(2)))
    async def first(self, ev: StartEvent) -> Item:
        raise ValueError("first")

    @catch_error(for_steps=["first"])
    async def rescue(self, ev: StepFailedEvent) -> Item:
        return Item(number=ev.attempts)

    @step
    async def second(self, ev: Item) -> StopEvent:
        raise KeyError("second")


class SlowFlow(Workflow):
    """Runs until it is cancelled, or its time is up."""

    @step
    async def wait(self, ev: StartEvent) -> StopEvent:
        await asyncio.sleep(60)
        return StopEvent()


FLOWS: list[type[Workflow]] = [ChainFlow, FanFlow, AskFlow, ExpireFlow, FailFlow, SlowFlow]

Drive = Callable[[TemporalHandler], Awaitable[None]]


async def _finish(handler: TemporalHandler) -> None:
    with suppress(EverstepError):
        await handler.stop_event_result()


async def _answer(handler: TemporalHandler) -> None:
    """Every way to be refused, a note, and two right answers."""
    await until(handler.requests)
    await handler.workflow.signal("respond", "nonsense")
    await handler.workflow.signal("shout", {"loud": True})
    for body, request in (({"number": 1}, None), ({"number": "x"}, "ask-1"), ({"number": 1}, "ask-9")):
        with suppress(EverstepError):
            await handler.respond(body, request=request)
    await handler.send_json("Note", {"text": "hello"})
    with suppress(EverstepError):
        await handler.send_json("Nonsense", {})
    await handler.respond({"number": 40}, request="ask-1", by="ann")
    with suppress(EverstepError):
        await handler.respond({"number": 41}, request="ask-1")
    await handler.respond({"number": 2}, request="ask-2")
    await _finish(handler)


async def _cancel(handler: TemporalHandler) -> None:
    await until(lambda: _running(handler))
    await handler.cancel_run("enough")
    await _finish(handler)


async def _running(handler: TemporalHandler) -> bool:
    return any(step["running"] for step in (await handler.progress())["steps"])


SMALL = Limits(continue_at_events=40, search_attributes=True)
USUAL = Limits(search_attributes=True)

RECORDINGS: dict[str, tuple[type[Workflow], dict[str, object], float | None, Limits, Drive]] = {
    "chain": (ChainFlow, {}, None, USUAL, _finish),
    "chain-continued": (ChainFlow, {}, None, SMALL, _finish),
    "fan": (FanFlow, {"width": 30}, None, USUAL, _finish),
    "fan-continued": (FanFlow, {"width": 60}, None, SMALL, _finish),
    "fan-empty": (FanFlow, {"width": 0}, None, USUAL, _finish),
    "ask": (AskFlow, {}, None, USUAL, _answer),
    "ask-continued": (AskFlow, {}, None, Limits(continue_at_events=15, search_attributes=True), _answer),
    "expire": (ExpireFlow, {}, None, USUAL, _finish),
    "fail": (FailFlow, {}, None, USUAL, _finish),
    "cancel": (SlowFlow, {}, None, USUAL, _cancel),
    "timeout": (SlowFlow, {}, 0.5, USUAL, _finish),
}
"""Name → flow, start event, run timeout, limits, and what drives it to its end."""


async def start(runtime: TemporalRuntime, name: str) -> TemporalHandler:
    """Start the run of a recording; its id is its name."""
    flow, fields, timeout, _, _ = RECORDINGS[name]
    return await runtime.start_flow(flow.__name__, fields, run_id=name, timeout=timeout)
