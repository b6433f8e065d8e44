"""Two versions of one flow, as a redeploy would bring them: steps removed, renamed, added, reordered."""

from __future__ import annotations

from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent


class Checked(Event):
    """An order that was checked."""

    order: str


class Priced(Event):
    """An order with its price."""

    order: str
    price: int


class Approve(InputRequiredEvent):
    """Asks whether the order may go out."""

    order: str
    price: int


class Approved(HumanResponseEvent):
    """The person's answer."""

    approved: bool


def version_1() -> type[Workflow]:
    """The flow as first deployed."""

    class OrderFlow(Workflow):
        @step(local=True)
        async def check(self, ev: StartEvent) -> Checked:
            return Checked(order=ev.order)

        @step
        async def price(self, ctx: Context, ev: Checked) -> Priced:
            await ctx.store.set("priced_by", 1)
            return Priced(order=ev.order, price=10)

        @step
        async def ask(self, ev: Priced) -> Approve:
            return Approve(order=ev.order, price=ev.price)

        @step
        async def finish(self, ctx: Context, ev: Approved) -> StopEvent:
            return StopEvent(
                result={"version": 1, "approved": ev.approved, "priced_by": await ctx.store.get("priced_by")}
            )

    return OrderFlow


def version_2() -> type[Workflow]:
    """The flow as deployed later: `check` (a local step) is gone, `price` has another name, the order differs."""

    class OrderFlow(Workflow):
        @step(num_workers=2)
        async def finish(self, ctx: Context, ev: Approved) -> StopEvent:
            return StopEvent(
                result={"version": 2, "approved": ev.approved, "priced_by": await ctx.store.get("priced_by")}
            )

        @step(num_workers=1)
        async def ask(self, ev: Priced) -> Approve:
            return Approve(order=ev.order, price=ev.price)

        @step(local=True)
        async def greet(self, ev: StartEvent) -> Checked:
            return Checked(order=ev.order)

        @step
        async def price_it(self, ctx: Context, ev: Checked) -> Priced:
            await ctx.store.set("priced_by", 2)
            return Priced(order=ev.order, price=20)

    return OrderFlow


def version_renamed() -> type[Workflow]:
    """The first version with two steps under other names; the last says how it was called."""

    class OrderFlow(Workflow):
        @step
        async def check(self, ev: StartEvent) -> Checked:
            return Checked(order=ev.order)

        @step(formerly=["price"])
        async def value(self, ev: Checked) -> Priced:
            return Priced(order=ev.order, price=30)

        @step
        async def ask(self, ev: Priced) -> Approve:
            return Approve(order=ev.order, price=ev.price)

        @step(formerly=["finish"])
        async def close(self, ctx: Context, ev: Approved) -> StopEvent:
            return StopEvent(result={"version": "renamed", "key": ctx.idempotency_key})

    return OrderFlow


def version_3() -> type[Workflow]:
    """The flow without the step that a waiting run needs next."""

    class OrderFlow(Workflow):
        @step
        async def check(self, ev: StartEvent) -> Approve:
            return Approve(order=ev.order, price=0)

        @step
        async def end(self, ev: Approved) -> StopEvent:
            return StopEvent(result={"version": 3})

    return OrderFlow
