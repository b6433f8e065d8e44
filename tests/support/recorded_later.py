"""More flows whose histories are recorded, since protocol 2: what waits, streams, has children, and agents; notes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

from everstep import Context, Workflow, step
from everstep.agent import Agent, AgentWorkflow, tool
from everstep.agent.testing import ScriptedModel, calls
from everstep.collect import Collect, Take
from everstep.errors import EverstepError
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import Limits
from everstep.temporal.handler import TemporalHandler
from tests.support.recorded_flows import SMALL, USUAL
from tests.support.waiting import until

Serve = Callable[..., AbstractAsyncContextManager[Any]]
"""A worker for the length of a block: on the run's task queue, or the one that is given."""


class Word(Event):
    """Something told from outside."""

    text: str


class Piece(Event):
    """A member of a stream."""

    number: int


class Left(Event):
    """One half of a pair."""

    number: int


class Right(Event):
    """The other half."""

    number: int


class Ask(InputRequiredEvent):
    """Asks for leave."""

    about: str


class Leave(HumanResponseEvent):
    """Gives it, or not."""

    given: bool


class WaitFlow(Workflow):
    """Waits inside a step: for two words, for one that never comes, for a person; and edits the state between."""

    @step
    async def talk(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("begun", True)
        first = await ctx.wait_for_event(Word)
        async with ctx.store.edit_state() as state:
            state["words"] = [first.text]
        second = await ctx.wait_for_event(Word, requirements={"text": "two"})
        with suppress(TimeoutError):
            await ctx.wait_for_event(Word, requirements={"text": "never"}, timeout=0.2)
        leave = await ctx.wait_for_event(Leave, waiter_event=Ask(about="go"))
        return StopEvent(result=[first.text, second.text, leave.given])


class OutageFlow(Workflow):
    """Its question comes from a task queue of its own, so that it can come while the run's worker is down."""

    @step(task_queue="outage-questions")
    async def ask(self, ev: StartEvent) -> Ask:
        return Ask(about="outage")

    @step
    async def end(self, ev: Leave) -> StopEvent:
        return StopEvent(result=ev.given)


class StreamFlow(Workflow):
    """Publishes while it runs; collects in a step; pairs two events; takes the first of a stream."""

    @step
    async def open(self, ctx: Context, ev: StartEvent) -> list[Piece]:
        for number in range(3):
            ctx.write_event_to_stream(Word(text=f"at {number}"))
            await asyncio.sleep(0.6)
        return [Piece(number=number) for number in range(8)]

    @step(num_workers=2)
    async def halve(self, ctx: Context, ev: Piece) -> Left | Right:
        return Left(number=ev.number) if ev.number % 2 else Right(number=ev.number)

    @step
    async def pair(self, ctx: Context, left: Left, right: Right) -> Word:
        return Word(text=f"{left.number + right.number}")

    @step
    async def take(self, evs: Annotated[list[Word], Collect(Take(3))]) -> StopEvent:
        return StopEvent(result=len(evs))


class CollectFlow(Workflow):
    """Collects three events of its own sending, twice."""

    @step
    async def send(self, ctx: Context, ev: StartEvent) -> Piece | None:
        for number in range(6):
            ctx.send_event(Piece(number=number))
        return None

    @step(num_workers=1)
    async def gather(self, ctx: Context, ev: Piece) -> Word | None:
        batch = ctx.collect_events(ev, [Piece] * 3)
        return None if batch is None else Word(text=str(len(batch)))

    @step(num_workers=1)
    async def end(self, ctx: Context, ev: Word) -> StopEvent | None:
        both = ctx.collect_events(ev, [Word] * 2)
        return None if both is None else StopEvent(result=len(both))


class NotesFlow(Workflow):
    """Takes notes by signal and by update, one at a time, until it is given leave to end."""

    @step
    async def begin(self, ev: StartEvent) -> Ask | None:
        return Ask(about="enough?")

    @step(num_workers=1, skip_graph_checks=["reachability"])
    async def note(self, ctx: Context, ev: Piece) -> None:
        await ctx.store.set("notes", [*(await ctx.store.get("notes", default=[])), ev.number])

    @step
    async def end(self, ctx: Context, ev: Leave) -> StopEvent:
        return StopEvent(result=await ctx.store.get("notes"))


class MovedFlow(Workflow):
    """A step that takes far too long, beside a chain: past the hard limit it is moved behind the boundary."""

    @step
    async def begin(self, ev: StartEvent) -> list[Left | Right]:
        return [Left(number=ev.seconds), Right(number=0)]

    @step
    async def long(self, ev: Left) -> Ask | None:
        await asyncio.sleep(ev.number)
        return None

    @step
    async def short(self, ev: Right) -> Right | Ask:
        return Right(number=ev.number + 1) if ev.number < 45 else Ask(about="enough?")

    @step
    async def end(self, ev: Leave) -> StopEvent:
        return StopEvent(result=ev.given)


class ChildFlow(Workflow):
    """Asks a person, where it is told to; fails on request."""

    @step
    async def begin(self, ev: StartEvent) -> Ask | StopEvent:
        if ev.get("fail"):
            raise ValueError("on request")
        return Ask(about=f"child {ev.number}") if ev.get("ask") else StopEvent(result=ev.number)

    @step
    async def end(self, ev: Leave) -> StopEvent:
        return StopEvent(result=ev.given)


class ParentFlow(Workflow):
    """Runs children side by side, one that asks, one that fails, and many from a stream."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> list[Piece]:
        await asyncio.gather(*(ctx.run(ChildFlow, number=number) for number in range(2)))
        await ctx.run(ChildFlow, number=9, ask=True, ctx={"begun": "with a state"})
        with suppress(EverstepError):
            await ctx.run(ChildFlow, number=0, fail=True)
        return [Piece(number=number) for number in range(ev.width)]

    @step(num_workers=3)
    async def child(self, ctx: Context, ev: Piece) -> Word:
        return Word(text=str(await ctx.run(ChildFlow, number=ev.number)))

    @step
    async def join(self, evs: list[Word]) -> StopEvent:
        return StopEvent(result=sorted(each.text for each in evs))


@tool
async def look(place: str) -> str:
    """Look somewhere."""
    return f"nothing in {place}"


@tool(approval=True)
async def pay(cents: int) -> str:
    """Pay."""
    return f"paid {cents}"


class DeskAgent(AgentWorkflow):
    """Looks around, hands over, pays once a person agrees."""

    def __init__(self) -> None:
        model = ScriptedModel(
            calls(("look", {"place": "here"}), ("look", {"place": "there"})),
            calls(("handoff", {"to_agent": "cashier", "reason": "money"})),
            calls(("pay", {"cents": 500})),
            "Paid.",
        )
        super().__init__(
            [
                Agent("desk", "Greets.", tools=[look], model=model),
                Agent("cashier", "Pays.", tools=[pay], can_handoff_to=[], model=model),
            ]
        )


async def _words(handler: TemporalHandler, serve: Serve) -> None:
    async with serve():
        for text in ("one", "two"):
            await handler.send_json("Word", {"text": text})
        await _give_leave(handler)
        await _end(handler)


async def _outage(handler: TemporalHandler, serve: Serve) -> None:
    """The answer comes while no worker is there, before the run has heard of its question."""

    async def went(what: str) -> bool:
        return what in str((await handler.workflow.fetch_history()).events)

    async with serve():
        await until(lambda: went("activity_task_scheduled_event_attributes"))
    async with serve("outage-questions"):
        await until(lambda: went("activity_task_completed_event_attributes"))
    await handler.workflow.signal("respond", {"given": True})
    async with serve():
        await _end(handler)


async def _noted(handler: TemporalHandler, serve: Serve) -> None:
    """Notes come in both ways; one in three is none."""

    async def taken() -> bool:
        return len((await handler.state()).get("notes", [])) == 6

    async with serve():
        for number in range(0, 6, 2):
            await handler.workflow.signal("send_event", {"type": "Piece", "data": {"number": number}})
            await handler.workflow.signal("send_event", {"type": "Piece", "data": {"number": "none"}})
            await handler.send_json("Piece", {"number": number + 1})
        await until(taken)
        await _give_leave(handler)
        await _end(handler)


async def _watched(handler: TemporalHandler, serve: Serve) -> None:
    async with serve():
        await _end(handler)


async def _answered(handler: TemporalHandler, serve: Serve) -> None:
    async with serve():
        await _give_leave(handler)
        await _end(handler)


async def _approved(handler: TemporalHandler, serve: Serve) -> None:
    async with serve():
        await until(handler.requests)
        await handler.respond({"approved": True, "arguments": {"cents": 400}}, by="ann")
        await _end(handler)


async def _give_leave(handler: TemporalHandler) -> None:
    await until(handler.requests)
    await handler.respond({"given": True}, by="ann")


async def _end(handler: TemporalHandler) -> None:
    with suppress(EverstepError):
        await handler.stop_event_result()


@dataclass(frozen=True)
class Recording:
    """One run that is recorded, with some of its children: its flow, its beginning, what drives it to its end."""

    flow: type[Workflow]
    drive: Callable[[TemporalHandler, Serve], Awaitable[None]]
    limits: Limits = USUAL
    start: dict[str, Any] = field(default_factory=dict[str, Any])
    state: dict[str, Any] | None = None
    children: tuple[str, ...] = ()


LATER_FLOWS: list[type[Workflow]] = [
    WaitFlow,
    OutageFlow,
    StreamFlow,
    CollectFlow,
    NotesFlow,
    MovedFlow,
    ChildFlow,
    ParentFlow,
    DeskAgent,
]

LATER: dict[str, Recording] = {
    "wait": Recording(WaitFlow, _words),
    "wait-continued": Recording(WaitFlow, _words, Limits(continue_at_events=15, search_attributes=True)),
    "outage": Recording(OutageFlow, _outage),
    "stream": Recording(StreamFlow, _watched),
    "collect": Recording(CollectFlow, _watched, state={"begun": "with a state"}),
    "notes": Recording(NotesFlow, _noted),
    "notes-continued": Recording(NotesFlow, _noted, Limits(continue_at_events=20)),
    "moved": Recording(
        MovedFlow, _answered, Limits(continue_at_events=25, drain_seconds=0.3, heartbeat_seconds=2), {"seconds": 300}
    ),
    "children": Recording(ParentFlow, _answered, start={"width": 4}, children=("begin-3", "begin-4")),
    "children-continued": Recording(ParentFlow, _answered, SMALL, {"width": 9}),
    "agent": Recording(DeskAgent, _approved, start={"user_msg": "Pay."}),
    "agent-continued": Recording(DeskAgent, _approved, SMALL, {"user_msg": "Pay."}),
}
