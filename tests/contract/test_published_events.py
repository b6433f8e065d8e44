"""What steps show to those who follow a run: in order, at once, from any offset, also after the end."""

import asyncio
import time

from everstep import Context, Workflow, step
from everstep.events import Event, StartEvent, StopEvent
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from tests.support.drivers import Driver


class Progress(Event):
    text: str
    percent: int | None = None


class Next(Event):
    pass


class Telling(Workflow):
    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Next:
        for n in range(3):
            ctx.write_event_to_stream(Progress(text=f"a{n}"))
        ctx.write_event_to_stream(None)
        return Next()

    @step
    def second(self, ctx: Context, ev: Next) -> StopEvent:
        for n in range(3):
            ctx.write_event_to_stream(Progress(text=f"b{n}", percent=n * 50))
        return StopEvent(result="done")


def texts(events: list[Event]) -> list[str]:
    """The texts of the progress events."""
    return [event.text for event in events if isinstance(event, Progress)]


async def test_the_stream_has_what_was_shown_in_order(driver: Driver) -> None:
    """Events shown by async and sync steps come in order, and last how the run ended."""
    seen = await driver.see(Telling)
    assert texts(seen.events) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert seen.events[-2] == Progress(text="b2", percent=100)
    assert seen.events[-1] == StopEvent(result="done")
    assert [item.invocation for item in seen.items] == [1, 1, 1, 2, 2, 2, None]
    assert {item.attempt for item in seen.items[:-1]} == {1}


async def test_a_reader_goes_on_from_any_offset(driver: Driver) -> None:
    """Reading on from behind an offset gives the rest, and nothing behind the last; also after the end of the run."""
    handler = await driver.run(Telling)
    seen = await driver.seen(handler)
    for place, item in enumerate(seen.items):
        rest = [later.event async for later in handler.stream_items(after=item.offset)]
        assert rest == seen.events[place + 1 :]


async def test_each_reader_sees_everything(driver: Driver) -> None:
    """Readers that come during the run and after it all see the same, from the beginning."""
    handler = await driver.run(Telling)

    async def read() -> list[Event]:
        return [event async for event in handler.stream_events()]

    during = await asyncio.gather(read(), read(), read())
    after = await read()
    assert texts(after) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert during == [after] * 3


class Retried(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(3)))
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        attempt = ctx.retry_info().retry_number
        ctx.write_event_to_stream(Progress(text=f"attempt {attempt}"))
        if attempt < 2:
            raise ValueError("not yet")
        return StopEvent()


async def test_what_failed_attempts_showed_stays_and_says_so(driver: Driver) -> None:
    """Events of failed attempts are on the stream; invocation and attempt tell which to take back."""
    seen = await driver.see(Retried)
    assert texts(seen.events) == ["attempt 0", "attempt 1", "attempt 2"]
    assert [(item.invocation, item.attempt) for item in seen.items[:-1]] == [(1, 1), (1, 2), (1, 3)]


class FailsAfterTelling(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        ctx.write_event_to_stream(Progress(text="before"))
        raise ValueError("no")


async def test_what_a_step_showed_before_it_failed_is_there(driver: Driver) -> None:
    """A step that fails for good has shown what it had shown, before the failure."""
    seen = await driver.see(FailsAfterTelling)
    assert texts(seen.events) == ["before"]
    assert seen.types() == ["Progress", "WorkflowFailedEvent"]


class Slow(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        ctx.write_event_to_stream(Progress(text="begun"))
        await asyncio.sleep(1.5)
        ctx.write_event_to_stream(Progress(text="ended"))
        return StopEvent(result="done")


async def test_a_long_step_shows_events_before_it_ends(driver: Driver) -> None:
    """A reader sees what a step that still runs has shown, within about half a second."""
    handler = await driver.run(Slow)
    seen: dict[str, float] = {}
    async for event in handler.stream_events():
        seen[event.get("text", "stop")] = time.monotonic()
    assert list(seen) == ["begun", "ended", "stop"]
    assert seen["ended"] - seen["begun"] > 0.5
