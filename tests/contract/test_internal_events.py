"""What is told of a run's inner life to those who ask: states of steps, idleness, what is dropped."""

from typing import Any

from everstep import Context, Workflow, step
from everstep.events import (
    Event,
    InternalDispatchEvent,
    OutcomeDiscardedEvent,
    StartEvent,
    StepState,
    StepStateChanged,
    StopEvent,
    UnhandledEvent,
    WorkflowIdleEvent,
)
from everstep.handler import WorkflowHandler
from tests.support.drivers import Driver


class Item(Event):
    number: int


class Done(Event):
    number: int


class Word(Event):
    pass


async def told(handler: WorkflowHandler) -> list[InternalDispatchEvent]:
    """The internal events of a run that has ended."""
    return [event async for event in handler.stream_events(True) if isinstance(event, InternalDispatchEvent)]


def states(events: list[InternalDispatchEvent], name: str) -> list[Any]:
    """What is told of one step's states."""
    changes = [event for event in events if isinstance(event, StepStateChanged) and event.name == name]
    return [(one.step_state.value, one.input_event_name, one.output_event_name) for one in changes]


class Narrow(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Item]:
        return [Item(number=n) for n in range(2)]

    @step(num_workers=1)
    async def work(self, ev: Item) -> Done:
        return Done(number=ev.number)

    @step
    async def both(self, one: Done, other: Done) -> Word:
        return Word()

    @step
    async def join(self, evs: list[Word | Item]) -> StopEvent:
        return StopEvent(result=len(evs))


async def test_the_states_of_steps_are_told(driver: Driver) -> None:
    """Queued where there is no room, begun, ended, each with what it was given and has returned."""
    handler = await driver.run(Narrow)
    assert (await driver.seen(handler)).result == 3
    events = await told(handler)
    assert states(events, "split") == [
        ("running", "StartEvent", None),
        ("not_running", "StartEvent", "list[Item]"),
    ]
    assert states(events, "work") == [
        ("running", "Item", None),
        ("preparing", "Item", None),
        ("not_running", "Item", "Done"),
        ("running", "Item", None),
        ("not_running", "Item", "Done"),
    ]
    assert states(events, "both") == [
        ("running", "tuple[Done, Done]", None),
        ("not_running", "tuple[Done, Done]", "Word"),
    ]
    assert states(events, "join")[-1] == ("not_running", "list[Word | Item]", "StopEvent")


async def test_an_invocation_has_one_id_in_all_its_states(driver: Driver) -> None:
    """So that who follows several at one time can tell them apart."""
    handler = await driver.run(Narrow)
    await driver.seen(handler)
    changes = [event for event in await told(handler) if isinstance(event, StepStateChanged)]
    begun = [event.worker_id for event in changes if event.step_state is StepState.RUNNING]
    ended = [event.worker_id for event in changes if event.step_state is StepState.NOT_RUNNING]
    assert sorted(begun) == sorted(ended)
    assert len(set(begun)) == len(begun) == 5


async def test_they_come_only_to_those_who_ask(driver: Driver) -> None:
    """Others see what the run publishes, and how it ended."""
    assert (await driver.see(Narrow)).types() == ["StopEvent"]


class Waiting(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(Word)
        return StopEvent(result="woken")


async def test_a_run_that_waits_is_told_as_idle(driver: Driver) -> None:
    """The step ends, and begins again as another invocation when its event has come."""
    handler = await driver.run(Waiting)
    await driver.in_status(handler, "idle")
    await handler.send_event(Word())
    await driver.seen(handler)
    events = await told(handler)
    assert [type(event) for event in events if not isinstance(event, StepStateChanged)] == [WorkflowIdleEvent]
    assert states(events, "begin") == [
        ("running", "StartEvent", None),
        ("not_running", "StartEvent", None),
        ("running", "StartEvent", None),
        ("not_running", "StartEvent", "StopEvent"),
    ]


class Losing(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Item | None:
        ctx.send_event(Word())
        return Item(number=1)

    @step
    async def end(self, ev: Item) -> StopEvent:
        return StopEvent()


async def test_an_event_that_nobody_takes_is_told(driver: Driver) -> None:
    """With its type, before what came after it."""
    handler = await driver.run(Losing)
    await driver.seen(handler)
    events = await told(handler)
    lost = [event for event in events if isinstance(event, UnhandledEvent)]
    assert [(event.event_type, event.step_name) for event in lost] == [("Word", None)]


class Gathering(Workflow):
    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Item | None:
        for number in range(2):
            ctx.send_event(Item(number=number))
        return None

    @step
    async def gather(self, ctx: Context, ev: Item) -> StopEvent | None:
        both = ctx.collect_events(ev, [Item, Item])
        return None if both is None else StopEvent(result=len(both))


async def test_an_outcome_that_does_not_count_is_told(driver: Driver) -> None:
    """The pass that completes a batch runs again: what it did the first time is dropped."""
    handler = await driver.run(Gathering)
    assert (await driver.seen(handler)).result == 2
    events = await told(handler)
    (dropped,) = [event for event in events if isinstance(event, OutcomeDiscardedEvent)]
    assert (dropped.name, "make a batch" in dropped.reason) == ("gather", True)
    assert len(states(events, "gather")) == 6


async def test_a_reader_goes_on_from_any_internal_event(driver: Driver) -> None:
    """Their offsets are as good as others, and the same for every reader."""
    handler = await driver.run(Narrow)
    live = [item async for item in handler.stream_items(expose_internal=True)]
    items = [item async for item in handler.stream_items(expose_internal=True)]
    assert [item.offset for item in live] == [item.offset for item in items]
    assert len({item.offset for item in items}) == len(items)
    for place, item in enumerate(items):
        rest = [later.event async for later in handler.stream_items(after=item.offset, expose_internal=True)]
        assert rest == [later.event for later in items[place + 1 :]]
