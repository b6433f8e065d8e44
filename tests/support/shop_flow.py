"""A flow with something of everything that a picture shows."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from everstep import Context, Workflow, catch_error, step
from everstep.events import (
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StepFailedEvent,
    StopEvent,
)
from everstep.resource import Resource
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed


class Order(StartEvent):
    """An order."""

    pieces: int = Field(description="How many <b>things</b> are wanted")
    bad: int = 0


class Item(Event):
    number: int
    tries: int = 0


class Packed(Event):
    number: int


class Approval(HumanResponseEvent):
    approved: bool


class AskApproval(InputRequiredEvent):
    response_event = Approval
    count: int


class Broken(Event):
    pass


class Catalogue(BaseModel):
    name: str = "spring"


def open_catalogue() -> Catalogue:
    """The goods that there are."""
    return Catalogue()


class Shop(Workflow):
    """Packs orders, and asks before sending </script><script>alert(1)</script> them."""

    @step
    async def split(self, ev: Order) -> list[Item]:
        """Take the order apart."""
        return [Item(number=n, tries=0 if n >= ev.bad else 1) for n in range(ev.pieces)]

    @step(num_workers=2, retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(2)))
    async def pack(
        self, ctx: Context, ev: Item, catalogue: Annotated[Catalogue, Resource(open_catalogue)]
    ) -> Packed | None:
        if ev.tries and ctx.retry_info().retry_number < ev.tries:
            raise ConnectionError("the <shelf> is stuck")
        return Packed(number=ev.number)

    @step
    async def join(self, evs: list[Packed]) -> AskApproval | Broken:
        return AskApproval(count=len(evs)) if evs else Broken()

    @step
    async def send(self, ev: Approval) -> StopEvent:
        return StopEvent(result="sent" if ev.approved else "kept")

    @step(local=True)
    async def nothing(self, ev: Broken) -> StopEvent:
        return StopEvent(result="nothing to send")

    @catch_error(for_steps=["pack"])
    async def mend(self, ev: StepFailedEvent) -> Packed:
        return Packed(number=-1)
