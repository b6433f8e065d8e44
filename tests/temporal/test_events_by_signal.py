"""Events sent by signal: their step judges them, so each costs one activity; what does not fit is refused, as ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from temporalio.client import Client

from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, StartEvent, StopEvent
from everstep.temporal import Limits, TemporalRuntime, serving
from everstep.temporal.handler import TemporalHandler
from tests.support.waiting import until


class Note(HumanResponseEvent):
    number: int


class Enough(HumanResponseEvent):
    pass


class Sorted(Event):
    from_outside = False

    notes: list[int]


class Notebook(Workflow):
    """Takes notes, one at a time, until it has enough."""

    @step
    async def begin(self, ev: StartEvent) -> Enough | None:
        return None

    @step(num_workers=1)
    async def note(self, ctx: Context, ev: Note) -> None:
        await ctx.store.set("notes", [*(await ctx.store.get("notes", default=[])), ev.number])

    @step
    async def enough(self, ctx: Context, ev: Enough) -> Sorted:
        return Sorted(notes=await ctx.store.get("notes"))

    @step
    async def end(self, ev: Sorted) -> StopEvent:
        return StopEvent(result=ev.notes)


async def _send(handler: TemporalHandler, kind: str, **data: Any) -> None:
    await handler.workflow.signal("send_event", {"type": kind, "data": data, "by": "ann"})


async def _activities(handler: TemporalHandler) -> Counter[str]:
    history = await handler.workflow.fetch_history()
    return Counter(
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    )


async def _refused(handler: TemporalHandler) -> list[dict[str, Any]]:
    return (await handler.progress())["refused_messages"]


async def _notes(handler: TemporalHandler) -> list[int]:
    return (await handler.state()).get("notes", [])


async def test_an_event_by_signal_costs_one_activity(client: Client, task_queue: str) -> None:
    """That of its step; what comes in any number, a program's own events above all, takes no second way."""
    async with serving(client, [Notebook], task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Notebook")
        for number in range(5):
            await _send(handler, "Note", number=number)

        async def all_taken() -> bool:
            return await _notes(handler) == [0, 1, 2, 3, 4]

        await until(all_taken)
        await _send(handler, "Enough")
        assert await asyncio.wait_for(handler, 20) == [0, 1, 2, 3, 4]
    assert await _activities(handler) == {
        "Notebook.begin": 1,
        "Notebook.note": 5,
        "Notebook.enough": 1,
        "Notebook.end": 1,
    }


async def test_what_is_no_such_event_is_refused_and_the_run_goes_on(client: Client, task_queue: str) -> None:
    """The refusal stands in the run's record with its sender; it is neither work nor a failure of the step."""
    async with serving(client, [Notebook], task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Notebook")
        await _send(handler, "Note", number="many")
        await _send(handler, "Sorted", notes=[7])
        await _send(handler, "Note", number=7, expired=True)
        await _send(handler, "Note", number=1)

        async def taken() -> bool:
            return await _notes(handler) == [1] and len(await _refused(handler)) == 3

        await until(taken)
        refused = {item["reason"][:24]: item for item in await _refused(handler)}
        assert [item["by"] for item in refused.values()] == ["ann", "ann", "ann"]
        assert any("number" in item["reason"] for item in refused.values())
        assert any("from_outside=False" in item["reason"] for item in refused.values())
        assert any("only the run itself says `expired`" in item["reason"] for item in refused.values())
        counts = {row["step"]: row for row in (await handler.progress())["steps"]}
        assert (counts["note"]["done"], counts["note"]["failed"], counts["end"]["done"]) == (1, 0, 0)
        steps = (await handler.path()).steps
        assert (steps["note"].invocations, steps["note"].done) == (1, 1)
        await _send(handler, "Enough")
        assert await asyncio.wait_for(handler, 20) == [1]


async def test_they_keep_their_order_and_cross_into_the_next_execution(client: Client, task_queue: str) -> None:
    """Also beside events whose senders wait; one that does not fit is refused behind the boundary too."""
    async with serving(client, [Notebook], task_queue=task_queue, limits=Limits(continue_at_events=20)):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Notebook")
        for number in range(0, 12, 3):
            await _send(handler, "Note", number=number)
            await _send(handler, "Note", number="none")
            await handler.send_event(Note(number=number + 1))
            await _send(handler, "Note", number=number + 2)

        async def taken() -> bool:
            return len(await _notes(handler)) == 12 and len(await _refused(handler)) == 4

        await until(taken, within=40)
        await _send(handler, "Enough")
        assert await asyncio.wait_for(handler, 20) == list(range(12))
    runs = [run async for run in client.list_workflows(f"WorkflowId = '{handler.run_id}'")]
    assert len(runs) > 1
