"""Steps with several event parameters: they start when one event for each has come, and keep them together."""

import asyncio
from typing import Annotated

from everstep import Context, Workflow, catch_error, step
from everstep.events import Event, StartEvent, StepFailedEvent, StopEvent
from everstep.resource import Resource
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from tests.support.drivers import Driver


class Item(Event):
    number: int


class Price(Event):
    number: int
    amount: float = 1.0


class Photo(Event):
    number: int
    name: str = "photo"


class Sketch(Event):
    number: int
    name: str = "sketch"


class Offer(Event):
    text: str


class Both(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> Item:
        return Item(number=3)

    @step
    async def price(self, ev: Item) -> Price:
        await asyncio.sleep(0.05)
        return Price(number=ev.number, amount=2.5)

    @step
    async def photo(self, ev: Item) -> Photo:
        return Photo(number=ev.number)

    @step
    def offer(self, price: Price, photo: Photo, ctx: Context) -> StopEvent:
        return StopEvent(result=[price.amount, photo.name, ctx.step_name])


async def test_a_step_starts_when_one_event_of_each_has_come(driver: Driver) -> None:
    """Each parameter gets its own, beside the context, whatever came first."""
    seen = await driver.see(Both)
    assert seen.result == [2.5, "photo", "offer"]
    assert seen.types() == ["StopEvent"]


def separator() -> str:
    """What stands between two parts."""
    return "+"


class Surplus(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Price | Photo | Sketch | None:
        for event in (Price(number=1), Photo(number=2), Price(number=3), Sketch(number=4), Price(number=5)):
            ctx.send_event(event)
        return None

    @step(num_workers=1)
    async def offer(
        self, price: Price, picture: Photo | Sketch, ctx: Context, plus: Annotated[str, Resource(separator)]
    ) -> StopEvent | None:
        texts = [*await ctx.store.get("texts", default=[]), f"{price.number}{plus}{picture.name}"]
        await ctx.store.set("texts", texts)
        return StopEvent(result=texts) if len(texts) == 2 else None


async def test_surplus_waits_for_its_partner_in_order(driver: Driver) -> None:
    """Each type first in, first out; a parameter may take several types; resources come beside them."""
    assert (await driver.see(Surplus)).result == ["1+photo", "3+sketch"]


class Twice(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Price | None:
        for number in range(4):
            ctx.send_event(Price(number=number))
        return None

    @step(num_workers=1)
    async def compare(self, one: Price, other: Price, ctx: Context) -> StopEvent | None:
        pairs = [*await ctx.store.get("pairs", default=[]), [one.number, other.number]]
        await ctx.store.set("pairs", pairs)
        return StopEvent(result=pairs) if len(pairs) == 2 else None


async def test_the_same_type_may_stand_twice(driver: Driver) -> None:
    """Then two events of it are needed, the older first."""
    assert (await driver.see(Twice)).result == [[0, 1], [2, 3]]


class Catalogue(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Item]:
        return [Item(number=n) for n in range(ev.count)]

    @step
    async def parts(self, ev: Item) -> list[Price | Photo]:
        return [Price(number=ev.number), Photo(number=ev.number)]

    @step
    async def offer(self, photo: Photo, price: Price) -> Offer:
        return Offer(text=f"{photo.number}={price.number}")

    @step
    async def one(self, evs: list[Offer]) -> Sketch:
        return Sketch(number=len(evs), name=",".join(ev.text for ev in evs))

    @step
    async def all(self, evs: list[Sketch]) -> StopEvent:
        return StopEvent(result=sorted(ev.name for ev in evs))


async def test_events_are_matched_within_their_stream(driver: Driver) -> None:
    """Branches that run side by side are never mixed; what the step returns goes on in the stream."""
    seen = await driver.see(Catalogue, count=12)
    assert seen.result == sorted(f"{n}={n}" for n in range(12))


class Odd(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Item]:
        return [Item(number=n) for n in range(3)]

    @step
    async def price(self, ev: Item) -> Price:
        return Price(number=ev.number)

    @step
    async def photo(self, ev: Item) -> Photo | None:
        return Photo(number=ev.number) if ev.number == 1 else None

    @step
    async def offer(self, price: Price, photo: Photo) -> Offer:
        return Offer(text=photo.name)

    @step
    async def all(self, evs: list[Offer]) -> StopEvent:
        return StopEvent(result=len(evs))


async def test_what_stays_without_a_partner_is_told_when_its_stream_ends(driver: Driver) -> None:
    """It holds nothing up, and is shown as unhandled to who asks for internal events."""
    handler = await driver.run(Odd)
    assert (await driver.seen(handler)).result == 1
    told = [event async for event in handler.stream_events(expose_internal=True)]
    lost = [event for event in told if type(event).__name__ == "UnhandledEvent"]
    assert [(event.event_type, event.step_name) for event in lost] == [("Price", "offer")] * 2


class Lonely(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> Price | Photo:
        return Price(number=1)

    @step
    async def offer(self, price: Price, photo: Photo) -> StopEvent:
        return StopEvent()


async def test_a_run_that_lacks_a_partner_is_stuck(driver: Driver) -> None:
    """Where none can come from outside, the run fails, and says what the step has and what it lacks."""
    seen = await driver.see(Lonely)
    assert "Step 'offer' has Price, and nothing came for photo: Photo" in str(seen.error)


class FromOutside(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> Price:
        return Price(number=1)

    @step(skip_graph_checks=["reachability"])
    async def offer(self, price: Price, photo: Photo) -> StopEvent:
        return StopEvent(result=photo.name)


async def test_a_partner_may_come_from_outside(driver: Driver) -> None:
    """Until it does the run is idle, and tells what it lacks."""
    handler = await driver.run(FromOutside)
    progress = await driver.in_status(handler, "idle")
    assert progress["unmatched"] == [{"step": "offer", "has": {"Price": 1}, "lacks": ["photo: Photo"]}]
    await handler.send_event(Photo(number=1, name="sent"))
    assert (await driver.seen(handler)).result == "sent"


class Word(Event):
    text: str


class Trying(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> list[Price | Photo]:
        return [Price(number=1), Photo(number=2)]

    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(2)))
    async def offer(self, price: Price, photo: Photo, ctx: Context) -> Offer:
        word = await ctx.wait_for_event(Word)
        ctx.write_event_to_stream(Event(try_of=[price.number, photo.number, ctx.retry_info().retry_number]))
        raise ValueError(word.text)

    @catch_error
    async def rescue(self, ev: StepFailedEvent) -> Offer:
        given = [event["data"]["number"] for event in ev.input_event["events"]]
        return Offer(text=f"{ev.exception} {given} {ev.attempts}")

    @step
    async def all(self, evs: list[Offer]) -> StopEvent:
        return StopEvent(result=[ev.text for ev in evs])


async def test_waits_retries_and_handlers_keep_the_events_together(driver: Driver) -> None:
    """Each pass and each attempt has them all; the handler is given all of them, and its result goes on."""
    handler = await driver.run(Trying)
    await handler.send_event(Word(text="no"))
    seen = await driver.seen(handler)
    assert seen.result == ["no [1, 2] 2"]
    assert [event["try_of"] for event in seen.events[:-1]] == [[1, 2, 0], [1, 2, 1]]
