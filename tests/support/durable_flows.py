"""Flows for tests that kill: each leaves files behind that tell what ran how often.

Their folder is in DURABLE_FOLDER.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path

from activities.ledger import Ledger
from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent


class Bill(Event):
    """One thing to pay."""

    number: int


class Paid(Event):
    """It was paid."""

    number: int
    payment: str


class Approve(InputRequiredEvent):
    """Asks whether all is well."""

    count: int


class Approved(HumanResponseEvent):
    """The answer."""

    approved: bool


def folder() -> Path:
    """Where the flows leave their marks."""
    return Path(os.environ["DURABLE_FOLDER"])


def mark(name: str) -> int:
    """Leave a mark that this ran; gives how often it ran before."""
    place = folder() / name
    place.mkdir(parents=True, exist_ok=True)
    before = len(list(place.iterdir()))
    (place / uuid.uuid4().hex).touch()
    return before


def marks(name: str) -> int:
    """How often something ran."""
    place = folder() / name
    return len(list(place.iterdir())) if place.is_dir() else 0


class PayFlow(Workflow):
    """Pays bills, each once; the step of bill 1 hangs when it runs for the first time, after it has paid."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> list[Bill]:
        await ctx.store.set("begun", await ctx.store.get("begun", default=0) + 1)
        return [Bill(number=number) for number in range(ev.bills)]

    @step
    async def pay(self, ctx: Context, ev: Bill) -> Paid:
        ledger = Ledger(folder() / "ledger.db")
        payment = await asyncio.to_thread(ledger.pay, ctx.idempotency_key, f"order-{ev.number}", 100, "test")
        await ctx.store.set(f"paid.{ev.number}", await ctx.store.get(f"paid.{ev.number}", default=0) + 1)
        ctx.write_event_to_stream(Event(paid=ev.number))
        first = mark(f"pay-{ev.number}") == 0
        if ev.number == 1 and first:
            await asyncio.sleep(300)
        return Paid(number=ev.number, payment=payment.idempotency_key)

    @step
    async def ask(self, ctx: Context, ev: list[Paid]) -> Approve:
        await ctx.store.set("payments", len({paid.payment for paid in ev}))
        return Approve(count=len(ev))

    @step
    async def finish(self, ctx: Context, ev: Approved) -> StopEvent:
        return StopEvent(result={"approved": ev.approved, "retries": ctx.retry_info().retry_number})


class BookFlow(Workflow):
    """Has the bills paid by a child, and does something of its own before and behind that."""

    @step
    async def order(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("ordered", await ctx.store.get("ordered", default=0) + 1)
        mark("order")
        paid = await ctx.run(PayFlow, bills=ev.bills)
        await ctx.store.set("booked", await ctx.store.get("booked", default=0) + 1)
        return StopEvent(result=paid)


class SlowFlow(Workflow):
    """One step that takes `seconds`, in a way that SIGTERM can cut."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        before = mark("work")
        await asyncio.sleep(ev.seconds if before == 0 else 0)
        return StopEvent(result={"runs": before + 1, "retries": ctx.retry_info().retry_number})


class DeadlyFlow(Workflow):
    """A step that ends the process which runs it."""

    @step
    async def explode(self, ev: StartEvent) -> StopEvent:
        mark("explode")
        os._exit(7)
