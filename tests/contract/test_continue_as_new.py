"""Runs that continue as new many times: result, state and stream are those of runs that never do."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, InputExpiredEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.handler import WorkflowHandler
from everstep.temporal import Limits
from tests.support.drivers import Seen, TemporalDriver

CROSSES = Limits(continue_at_events=30, drain_seconds=2)


class Job(Event):
    number: int


class Done(Event):
    number: int


class Wide(Workflow):
    max_in_flight = 8

    @step
    async def split(self, ev: StartEvent) -> list[Job]:
        return [Job(number=n) for n in range(ev.count)]

    @step(num_workers=8)
    async def work(self, ctx: Context, ev: Job) -> Done:
        ctx.write_event_to_stream(Event(worked=ev.number))
        return Done(number=ev.number)

    @step
    async def join(self, evs: list[Done]) -> StopEvent:
        return StopEvent(result=sorted(ev.number for ev in evs))


class Counting(Workflow):
    @step
    async def count(self, ctx: Context, ev: StartEvent | Job) -> Job | StopEvent:
        n = await ctx.store.get("n", default=0)
        seen = await ctx.store.get("seen", default=[])
        await ctx.store.set("n", n + 1)
        await ctx.store.set("seen", [*seen, n])
        ctx.write_event_to_stream(Event(counted=n))
        return Job(number=n) if n < 59 else StopEvent(result=n)


class CountingLocally(Workflow):
    @step(local=True)
    async def count(self, ctx: Context, ev: StartEvent | Job) -> Job | StopEvent:
        n = await ctx.store.get("n", default=0)
        await ctx.store.set("n", n + 1)
        ctx.write_event_to_stream(Event(counted=n))
        return Job(number=n) if n < 149 else StopEvent(result=n)


async def executions(driver: TemporalDriver, run_id: str) -> int:
    """How many executions a run has had."""
    count = 0
    execution: str | None = (
        await driver.client.get_workflow_handle(run_id).describe()
    ).raw_description.workflow_execution_info.first_run_id
    while execution:
        count += 1
        history = await driver.client.get_workflow_handle(run_id, run_id=execution).fetch_history()
        # Not only the last event: the test server records what comes from children behind it.
        ends = [event.workflow_execution_continued_as_new_event_attributes for event in history.events]
        execution = next((end.new_execution_run_id for end in ends if end.new_execution_run_id), None)
    return count


async def crossing(driver: TemporalDriver, flow: type[Workflow], **start: Any) -> tuple[Seen, WorkflowHandler]:
    """A run of a flow that crosses often."""
    driver.limits = CROSSES
    handler = await driver.run(flow, **start)
    return await driver.seen(handler), handler


async def test_a_wide_run_crosses(temporal_driver: TemporalDriver) -> None:
    """A fan-out goes over many boundaries: every member is worked once, shown once, joined once."""
    seen, handler = await crossing(temporal_driver, Wide, count=60)
    assert seen.result == list(range(60))
    assert sorted(event.worked for event in seen.events[:-1]) == list(range(60))
    assert await executions(temporal_driver, handler.run_id) > 4


@pytest.mark.parametrize(("flow", "steps"), [(Counting, 60), (CountingLocally, 150)])
async def test_a_loop_with_state_crosses(temporal_driver: TemporalDriver, flow: type[Workflow], steps: int) -> None:
    """A loop keeps its state over the boundaries, and its stream is in order, without gaps and from any offset."""
    seen, handler = await crossing(temporal_driver, flow)
    assert (seen.result, seen.state["n"]) == (steps - 1, steps)
    assert [event.counted for event in seen.events[:-1]] == list(range(steps))
    assert [item.invocation for item in seen.items[:-1]] == list(range(1, steps + 1))
    middle = seen.items[steps // 2]
    rest = [item.event async for item in handler.stream_items(after=middle.offset)]
    assert rest == seen.events[steps // 2 + 1 :]
    assert await executions(temporal_driver, handler.run_id) > 2


class Approval(HumanResponseEvent):
    approved: bool


class Note(Event):
    number: int


class Meanwhile(Workflow):
    """Asks, and works on notes from outside until it is answered."""

    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent(due=ev.due, prefix="Well?")

    @step(num_workers=1, skip_graph_checks=["reachability"])
    async def note(self, ctx: Context, ev: Note) -> None:
        await ctx.store.set("notes", [*await ctx.store.get("notes", default=[]), ev.number])

    @step
    async def end(self, ctx: Context, ev: Approval) -> StopEvent:
        return StopEvent(result=[ev.approved, await ctx.store.get("notes")])

    @step
    async def late(self, ctx: Context, ev: InputExpiredEvent) -> StopEvent:
        return StopEvent(result=["expired", await ctx.store.get("notes")])


async def test_an_open_request_crosses(temporal_driver: TemporalDriver) -> None:
    """A request asked before many boundaries is answered behind them; its record and refused tries are kept."""
    temporal_driver.limits = CROSSES
    handler = await temporal_driver.run(Meanwhile, due=None)
    (before,) = await temporal_driver.open_requests(handler)
    with pytest.raises(Exception, match="approved"):
        await handler.respond({}, by="bob")
    for number in range(15):
        await handler.send_event(Note(number=number))
    (after,) = await temporal_driver.open_requests(handler)
    assert {**after, "refused": []} == before
    assert [tried["by"] for tried in after["refused"]] == ["bob"]
    await temporal_driver.in_status(handler, "waiting")
    await handler.respond({"approved": True}, by="ann")
    assert await handler == [True, list(range(15))]
    assert await executions(temporal_driver, handler.run_id) > 2


class Collecting(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> None:
        return None

    @step(num_workers=1, skip_graph_checks=["reachability"])
    async def note(self, ctx: Context, ev: Note) -> StopEvent | None:
        notes = [*await ctx.store.get("notes", default=[]), ev.number]
        await ctx.store.set("notes", notes)
        return StopEvent(result=sorted(notes)) if len(notes) == 40 else None


async def test_messages_sent_while_a_run_crosses_are_taken_once(temporal_driver: TemporalDriver) -> None:
    """Many senders at once, each waiting for its verdict, over many boundaries: every event is handled once."""
    temporal_driver.limits = CROSSES
    handler = await temporal_driver.run(Collecting)

    async def send(numbers: Iterator[int]) -> None:
        for number in numbers:
            await handler.send_event(Note(number=number))

    numbers = iter(range(40))
    await asyncio.gather(*(send(numbers) for _ in range(5)))
    assert await handler == list(range(40))
    assert await executions(temporal_driver, handler.run_id) > 2


async def test_a_timer_crosses(temporal_driver: TemporalDriver) -> None:
    """A due time set before the boundaries holds behind them, to the second."""
    temporal_driver.limits = CROSSES
    due = temporal_driver.span(3.0, 86_400.0)
    handler = await temporal_driver.run(Meanwhile, due=due)
    await temporal_driver.open_requests(handler)
    asked = handler.run_id
    for number in range(8):
        await handler.send_event(Note(number=number))
    assert await handler == ["expired", list(range(8))]
    assert await executions(temporal_driver, asked) > 1


async def test_a_run_timeout_crosses(temporal_driver: TemporalDriver) -> None:
    """The run's timeout bounds all of its executions together."""
    temporal_driver.limits = CROSSES
    timeout = temporal_driver.span(3.0, 3_600.0)
    handler = await temporal_driver.run(Meanwhile(timeout=timeout), due=None)
    await temporal_driver.open_requests(handler)
    for number in range(8):
        await handler.send_event(Note(number=number))
    with pytest.raises(Exception, match="timed out after"):
        await handler
    assert await executions(temporal_driver, handler.run_id) > 1
