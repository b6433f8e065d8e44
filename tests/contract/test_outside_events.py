"""Events that come from outside while a run goes on: taken by the steps that want them, or refused with the reason."""

import pytest

from everstep import Context, Workflow, step
from everstep.errors import ResponseRefusedError
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal.handler import TemporalHandler
from tests.support.drivers import Driver, TemporalDriver


class Note(Event):
    text: str
    stars: int = 0


class Unwanted(Event):
    pass


class Close(Event):
    pass


class Counted(Event):
    from_outside = False

    number: int


class Recounted(Counted):
    pass


class Notebook(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> None:
        return None

    @step(num_workers=1, skip_graph_checks=["reachability"])
    async def take(self, ctx: Context, ev: Note) -> None:
        await ctx.store.set("notes", [*await ctx.store.get("notes", default=[]), f"{ev.text}{'*' * ev.stars}"])

    @step(skip_graph_checks=["reachability"])
    async def count(self, ev: Counted | Recounted) -> None:
        return None

    @step(skip_graph_checks=["reachability"])
    async def shut(self, ctx: Context, ev: Close) -> StopEvent:
        return StopEvent(result=await ctx.store.get("notes", default=[]))


async def test_events_are_taken_in_their_order(driver: Driver) -> None:
    """Events sent one after the other reach the steps that take them in that order, built by their types."""
    handler = await driver.run(Notebook)
    for number in range(5):
        await handler.send_event(Note(text=str(number), stars=number % 2))
    await driver.in_status(handler, "idle")
    await handler.send_event(Close(), step="shut")
    assert await handler == ["0", "1*", "2", "3*", "4"]


async def test_what_no_step_takes_is_refused(driver: Driver) -> None:
    """An event that no step takes, or not the step named, is refused with what would be taken; the run goes on."""
    handler = await driver.run(Notebook)
    await driver.in_status(handler, "idle")
    with pytest.raises(ResponseRefusedError, match="Unwanted"):
        await handler.send_event(Unwanted())
    with pytest.raises(ResponseRefusedError, match="step 'shut' does not accept Note; it accepts Close"):
        await handler.send_event(Note(text="x"), step="shut")
    with pytest.raises(ResponseRefusedError, match="no step 'nowhere'; the steps are begin, take, count, shut"):
        await handler.send_event(Note(text="x"), step="nowhere")
    assert len((await handler.progress())["refused_messages"]) == 3
    await handler.send_event(Close())
    assert await handler == []


async def test_an_event_for_steps_only_is_refused(driver: Driver) -> None:
    """Where its class, or a base of it, says that it does not come from outside; also for a step by its name."""
    handler = await driver.run(Notebook)
    for event, step_name in ((Counted(number=1), None), (Recounted(number=2), "count")):
        with pytest.raises(ResponseRefusedError, match="ounted comes from the flow's own steps only"):
            await handler.send_event(event, step=step_name)
    await handler.send_event(Close())
    assert await handler == []


class Asking(Notebook):
    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent(prefix="Shall we?")

    @step
    async def decide(self, ev: HumanResponseEvent) -> None:
        return None


async def test_only_an_answer_closes_a_request(driver: Driver) -> None:
    """An event that names one, or none that there is, is one like others; an answer for one step closes its request."""
    handler = await driver.run(Asking)
    await driver.open_requests(handler)
    for named in ("ask-1", "nowhere"):
        await handler.send_event(Note.model_validate({"text": named, "request_id": named}))
    await driver.in_status(handler, "waiting")
    assert (await handler.state())["notes"] == ["ask-1", "nowhere"]
    await handler.send_event(HumanResponseEvent(), step="decide")
    assert await handler.requests() == []
    await handler.send_event(Close())
    await handler


async def test_events_come_as_plain_data(temporal_driver: TemporalDriver) -> None:
    """Without the classes an event is its type's name and data; what does not fit is refused, and told why."""
    handler = await temporal_driver.run(Notebook)
    assert isinstance(handler, TemporalHandler)
    await handler.send_json("Note", {"text": "plain", "stars": "2"})
    with pytest.raises(ResponseRefusedError, match="text"):
        await handler.send_json("Note", {"stars": 1})
    with pytest.raises(ResponseRefusedError, match="Nothing"):
        await handler.send_json("Nothing", {})
    await temporal_driver.in_status(handler, "idle")
    await handler.send_json("Close", {})
    assert await handler == ["plain**"]
