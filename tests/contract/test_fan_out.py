"""Many events from one step, and what brings them together: lists and joins, sending, nesting, Take."""

import asyncio
from typing import Annotated

import pytest

from everstep import Context, Workflow, step
from everstep.collect import Collect, Take
from everstep.events import Event, StartEvent, StopEvent
from tests.support.drivers import Driver


class Page(Event):
    number: int
    seconds: float = 0.0


class Read(Event):
    number: int


class Gather(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Page]:
        return [Page(number=n, seconds=s) for n, s in enumerate(ev.seconds)]

    @step
    async def read(self, ev: Page) -> Read:
        await asyncio.sleep(ev.seconds)
        return Read(number=ev.number)

    @step
    async def join(self, evs: list[Read]) -> StopEvent:
        return StopEvent(result=[ev.number for ev in evs])


@pytest.mark.parametrize("count", [0, 1, 60])
async def test_a_join_gets_all_members_of_a_stream(driver: Driver, count: int) -> None:
    """A step that returns a list opens a stream; the join fires once, with as many as there were, also none."""
    seen = await driver.see(Gather, seconds=[0] * count)
    assert sorted(seen.result) == list(range(count))
    assert seen.types() == ["StopEvent"]


async def test_members_come_in_the_order_of_completion(driver: Driver) -> None:
    """A join lists its members as they were done, not as they were begun."""
    seen = await driver.see(Gather, seconds=[0.4, 0.2, 0.0])
    assert seen.result == [2, 1, 0]


class FewOfThem(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Page]:
        return [Page(number=n) for n in range(6)]

    @step
    async def read(self, ev: Page) -> Read | None:
        return Read(number=ev.number) if ev.number % 3 == 0 else None

    @step
    async def join(self, evs: list[Read]) -> StopEvent:
        return StopEvent(result=sorted(ev.number for ev in evs))


async def test_members_that_end_in_nothing_are_not_waited_for(driver: Driver) -> None:
    """A member whose step returns None leaves the stream, and the join fires with the others."""
    assert (await driver.see(FewOfThem)).result == [0, 3]


class FirstOfThem(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Page]:
        return [Page(number=n, seconds=s) for n, s in enumerate(ev.seconds)]

    @step
    async def read(self, ev: Page) -> Read:
        await asyncio.sleep(ev.seconds)
        return Read(number=ev.number)

    @step
    async def first(self, evs: Annotated[list[Read], Collect(Take(2))]) -> StopEvent:
        return StopEvent(result=[ev.number for ev in evs])


async def test_take_fires_with_the_first_to_arrive(driver: Driver) -> None:
    """A join that takes two fires with the first two; the slow ones are not waited for."""
    assert (await driver.see(FirstOfThem, seconds=[9, 0.2, 0, 9])).result == [2, 1]


async def test_take_is_content_with_fewer(driver: Driver) -> None:
    """A join that takes two fires with one where the stream has no more."""
    assert (await driver.see(FirstOfThem, seconds=[0])).result == [0]


class Mixed(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Page] | Read | None:
        if ev.what == "list":
            return [Page(number=n) for n in range(3)]
        return Read(number=7) if ev.what == "one" else None

    @step
    async def read(self, ev: Page) -> Read:
        return Read(number=ev.number)

    @step
    async def single(self, ev: Read) -> StopEvent | None:
        return StopEvent(result="one") if ev.number == 7 else None

    @step
    async def join(self, evs: list[Read]) -> StopEvent:
        return StopEvent(result=len(evs))


@pytest.mark.parametrize(("what", "result"), [("list", 3), ("one", "one"), ("none", None)])
async def test_a_step_may_return_a_list_or_one_event_or_none(driver: Driver, what: str, result: object) -> None:
    """The list opens a stream and is joined; one event goes on as ever; None opens no stream, and here leaves the run
    with nothing to do."""
    seen = await driver.see(Mixed, what=what)
    assert seen.result == result
    assert (seen.error is not None) == (what == "none")


class Skipped(Event):
    number: int


class Either(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Page]:
        return [Page(number=n) for n in range(5)]

    @step
    async def read(self, ev: Page) -> Read | Skipped:
        return Read(number=ev.number) if ev.number % 2 else Skipped(number=ev.number)

    @step
    async def join(self, evs: list[Read | Skipped]) -> StopEvent:
        return StopEvent(result=sorted([ev.number, type(ev).__name__] for ev in evs))


async def test_a_join_may_take_several_types(driver: Driver) -> None:
    """All members of the stream that are of one of them come in one list, each as what it is."""
    assert (await driver.see(Either)).result == [
        [0, "Skipped"],
        [1, "Read"],
        [2, "Skipped"],
        [3, "Read"],
        [4, "Skipped"],
    ]


class Counted(Event):
    what: str
    count: int


class Several(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Page]:
        return [Page(number=n) for n in range(5)]

    @step
    async def read(self, ev: Page) -> Read | Skipped:
        return Read(number=ev.number) if ev.number % 2 else Skipped(number=ev.number)

    @step
    async def done(self, evs: list[Read]) -> Counted:
        return Counted(what="read", count=len(evs))

    @step
    async def left(self, evs: list[Skipped]) -> Counted:
        return Counted(what="skipped", count=len(evs))

    @step
    async def first(self, evs: Annotated[list[Read | Skipped], Collect(Take(1))]) -> Counted:
        return Counted(what="first", count=len(evs))

    @step(num_workers=1)
    async def end(self, ctx: Context, ev: Counted) -> StopEvent | None:
        found = {**await ctx.store.get("found", default={}), ev.what: ev.count}
        await ctx.store.set("found", found)
        return StopEvent(result=found) if len(found) == 3 else None


async def test_a_stream_may_have_several_joins(driver: Driver) -> None:
    """Each gets the members that are its own, once."""
    assert (await driver.see(Several)).result == {"read": 2, "skipped": 3, "first": 1}


class Chapter(Event):
    number: int


class ChapterRead(Event):
    number: int
    pages: list[int]


class Nested(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Chapter]:
        return [Chapter(number=n) for n in range(ev.chapters)]

    @step
    async def pages(self, ev: Chapter) -> list[Page]:
        return [Page(number=10 * ev.number + n) for n in range(ev.number)]

    @step
    async def read(self, ev: Page) -> Read:
        return Read(number=ev.number)

    @step
    async def chapter(self, evs: list[Read]) -> ChapterRead:
        return ChapterRead(number=len(evs), pages=sorted(ev.number for ev in evs))

    @step
    async def book(self, evs: list[ChapterRead]) -> StopEvent:
        return StopEvent(result=sorted((ev.number, ev.pages) for ev in evs))


async def test_streams_nest(driver: Driver) -> None:
    """Each inner stream is joined by itself, empty ones too, and the outer join gets one member from each."""
    seen = await driver.see(Nested, chapters=4)
    assert [tuple(item) for item in seen.result] == [(0, []), (1, [10]), (2, [20, 21]), (3, [30, 31, 32])]


class Sending(Workflow):
    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Page | None:
        for n in range(ev.count):
            ctx.send_event(Page(number=n))
        await ctx.store.set("count", ev.count)
        return None

    @step
    async def read(self, ev: Page) -> Read:
        return Read(number=ev.number)

    @step(num_workers=1)
    async def join(self, ctx: Context, ev: Read) -> StopEvent | None:
        numbers = [*await ctx.store.get("numbers", default=[]), ev.number]
        await ctx.store.set("numbers", numbers)
        return StopEvent(result=sorted(numbers)) if len(numbers) == await ctx.store.get("count") else None


async def test_events_are_sent_without_being_returned(driver: Driver) -> None:
    """A step may send any number of events; each is delivered like a returned one."""
    seen = await driver.see(Sending, count=12)
    assert seen.result == list(range(12))


class Targeted(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Page | None:
        ctx.send_event(Page(number=1), step=ev.to)
        return None

    @step
    async def left(self, ev: Page) -> StopEvent:
        return StopEvent(result=["left", ev.number])

    @step
    async def right(self, ev: Page) -> StopEvent:
        return StopEvent(result=["right", ev.number])


@pytest.mark.parametrize("to", ["left", "right"])
async def test_an_event_is_sent_to_one_step(driver: Driver, to: str) -> None:
    """Of two steps that take an event, only the one named gets it."""
    assert (await driver.see(Targeted, to=to)).result == [to, 1]


async def test_sending_to_a_step_that_is_not_there_is_refused(driver: Driver) -> None:
    """Naming a step that the flow does not have fails the step that does so, with the names there are."""
    seen = await driver.see(Targeted, to="up")
    assert "step 'up', which does not exist; the steps are: begin, left, right" in str(seen.error)
