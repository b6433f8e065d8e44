"""The engine's own events, read from a history event by event: the same as a replay of the whole gives."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory

from everstep import Context, Workflow, step
from everstep.engine.messages import Envelope
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from everstep.temporal import Limits, TemporalRuntime, serving
from everstep.temporal.follower import EngineFollower
from everstep.temporal.handler import TemporalHandler
from everstep.temporal.internal import InternalEvents, replayed_events
from everstep.temporal.replica import UnreadableError
from tests.support.waiting import until
from tests.temporal.test_replay import HISTORIES


async def followed(client: Client, history: list[HistoryEvent]) -> list[Envelope]:
    """What a follower tells of a history."""
    follower = EngineFollower(client, "run")
    last = history[-1]
    return [told.event for event in history for told in await follower.after(event, more=event is not last)]


async def told(client: Client, history: list[HistoryEvent]) -> list[Envelope]:
    """What readers are told, by whichever way it is read."""
    events = InternalEvents(client, "run")
    return [one.event for event in history for one in await events.after(event, more=event is not history[-1])]


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_a_recorded_history_tells_the_same_as_its_replay(client: Client, path: Path) -> None:
    """Each event is read once, and nothing is lost by that; a run with children is replayed instead."""
    history = list(WorkflowHistory.from_json("run", path.read_text()).events)
    replayed = await replayed_events(client, "run", history)
    tell = told if path.name.startswith("children") else followed
    assert await tell(client, history) == replayed


class Item(Event):
    """A member of a stream."""

    number: int


class Half(Event):
    """Of what is matched."""

    number: int


class Word(Event):
    """What is waited for."""


class Done(Event):
    """A member that is done."""


class Everything(Workflow):
    """Local steps, retries, waits that are answered and others that time out, edits, questions, several events."""

    @step(local=True)
    async def split(self, ev: StartEvent) -> list[Item]:
        return [Item(number=number) for number in range(12)]

    @step(num_workers=3, retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(2)))
    async def work(self, ctx: Context, ev: Item) -> Half | Done:
        if ev.number % 5 == 0 and not ctx.retry_info().retry_number:
            raise ValueError("once more")
        if ev.number % 4 == 1:
            async with ctx.store.edit_state() as state:
                state["edits"] = state.get("edits", 0) + 1
        if ev.number in (2, 3):
            try:
                await ctx.wait_for_event(Word, timeout=0.3 if ev.number == 2 else 60)
            except TimeoutError:
                return Done()
        return Half(number=ev.number)

    @step
    async def both(self, one: Half, other: Half) -> Done:
        return Done()

    @step
    async def join(self, evs: list[Done]) -> InputRequiredEvent:
        return InputRequiredEvent(prefix="Well?")

    @step
    async def answered(self, ctx: Context, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent(result=await ctx.store.get("edits"))


async def histories(handler: TemporalHandler, client: Client) -> list[list[HistoryEvent]]:
    """The histories of a run's executions."""
    out: list[list[HistoryEvent]] = []
    found = await client.get_workflow_handle(handler.run_id).describe()
    execution: str | None = found.raw_description.workflow_execution_info.first_run_id
    while execution:
        history = await client.get_workflow_handle(handler.run_id, run_id=execution).fetch_history()
        out.append(list(history.events))
        execution = out[-1][-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id or None
    return out


@pytest.mark.parametrize("events", [2_000, 60])
async def test_a_run_tells_the_same_as_its_replay(client: Client, task_queue: str, events: int) -> None:
    """Whatever steps do and whoever writes to the run meanwhile, also over boundaries; nothing has to be replayed."""
    limits = Limits(continue_at_events=events, drain_seconds=1)
    async with serving(client, [Everything], task_queue=task_queue, limits=limits):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Everything", {})
        live = asyncio.create_task(_internal(handler))
        await asyncio.gather(*(handler.send_event(Word()) for _ in range(3)))
        await until(handler.requests)
        await handler.respond({"ok": True})
        assert await handler == 3
        seen_live = await live
    executions = await histories(handler, client)
    assert (len(executions) > 1) == (events < 2_000)
    replayed: list[Envelope] = []
    for history in executions:
        seen = await replayed_events(client, handler.run_id, history)
        assert await followed(client, history) == seen
        replayed += seen
    assert seen_live == replayed


async def _internal(handler: TemporalHandler) -> list[Envelope]:
    """The internal events of a run, followed live."""
    published = handler.stream_published(internal=True)
    return [item.event async for item in published if item.event.type.startswith(("Step", "Un", "WorkflowI", "Outc"))]


async def test_what_cannot_be_read_is_replayed(client: Client) -> None:
    """As timers of a server that keeps no names: from there on all of it is replayed, and nothing is told twice."""
    path = next(path for path in HISTORIES if path.name == "expire.1.json")
    history = list(WorkflowHistory.from_json("run", path.read_text()).events)
    for event in history:
        if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED:
            event.ClearField("user_metadata")
    with pytest.raises(UnreadableError, match="timer without a name"):
        await followed(client, history)
    assert await told(client, history) == await replayed_events(client, "run", history)
