"""The flows that the command line is tested with."""

import asyncio
import time
from pathlib import Path

from everstep import Context, Workflow, step
from everstep.agent import Agent, AgentWorkflow, tool
from everstep.agent.testing import ScriptedModel, calls
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.retry_policy import ConstantDelayRetryPolicy


class Order(StartEvent):
    item: str
    amount: float = 1.0


class Priced(Event):
    total: float


class Approve(InputRequiredEvent):
    total: float


class Approval(HumanResponseEvent):
    approved: bool


class Note(Event):
    text: str


class Shop(Workflow):
    """Prices an order, asks for approval above 100, and takes notes."""

    @step
    async def price(self, ctx: Context, ev: Order) -> Priced:
        ctx.write_event_to_stream(Note(text=f"pricing {ev.item}"))
        await ctx.store.set("item", ev.item)
        return Priced(total=ev.amount * 2)

    @step
    async def check(self, ev: Priced) -> Approve | StopEvent:
        if ev.total > 100:
            return Approve(total=ev.total, assignee="finance", due=3600)
        return StopEvent(result={"paid": ev.total})

    @step(skip_graph_checks=["reachability"])
    async def note(self, ctx: Context, ev: Note) -> None:
        await ctx.store.set("note", ev.text)

    @step
    async def decide(self, ctx: Context, ev: Approval) -> StopEvent:
        return StopEvent(result={"approved": ev.approved, "item": await ctx.store.get("item")})


class Wholesale(Workflow):
    """Has an order handled by the shop, as a child."""

    @step
    async def order(self, ctx: Context, ev: Order) -> StopEvent:
        return StopEvent(result=await ctx.run(Shop, item=ev.item, amount=ev.amount))


class Broken(Workflow):
    """Fails in its only step."""

    @step
    async def explode(self, ev: StartEvent) -> StopEvent:
        raise ValueError("no fuel")


class Slow(Workflow):
    """Takes its time, and tells whether it was cancelled."""

    @step
    async def sleep(self, ev: StartEvent) -> StopEvent:
        await asyncio.sleep(ev.seconds)
        return StopEvent(result="slept")


class Quote(Workflow):
    """Needs a price, and a note that comes from outside."""

    @step
    async def price(self, ev: Order) -> Priced:
        return Priced(total=ev.amount)

    @step(skip_graph_checks=["reachability"])
    async def quote(self, price: Priced, note: Note) -> StopEvent:
        return StopEvent(result=f"{note.text}: {price.total:g}")


class Flaky(Workflow):
    """Fails twice before it works."""

    @step(retry_policy=ConstantDelayRetryPolicy(maximum_attempts=3, delay=0.1))
    def try_it(self, ev: StartEvent) -> StopEvent:
        time.sleep(0.01)
        return StopEvent(result="worked")


class Book(Workflow):
    """Writes its idempotency key into a book; fails while there is a file `stop` beside it."""

    @step
    def write(self, ctx: Context, ev: StartEvent) -> StopEvent:
        book = Path(ev.book)
        with book.open("a") as file:
            file.write(f"{ctx.idempotency_key}\n")
        time.sleep(ev.get("seconds", 0))
        if book.with_name("stop").exists() and ev.number % 2:
            raise ValueError(f"number {ev.number} is odd")
        return StopEvent(result=ev.number)


@tool(approval=True, assignee="finance")
async def refund(cents: int) -> str:
    """Pay back."""
    return f"{cents} paid"


class Desk(AgentWorkflow):
    def __init__(self) -> None:
        model = ScriptedModel(calls(("refund", {"cents": 700})), "It is paid.", "You asked for 700.")
        super().__init__([Agent(tools=[refund], model=model)])
