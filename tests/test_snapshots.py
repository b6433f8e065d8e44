"""Runs in process that are taken down by `Context.to_dict` and go on from there, by `Context.from_dict`."""

import asyncio
import json
import random
import time
from typing import Any

import pytest
from pydantic import BaseModel

from everstep import Context, LocalRuntime, Workflow, step, use_runtime
from everstep.context import PickleSerializer
from everstep.errors import ContextSerdeError, ContextStateError, WorkflowRuntimeError, WorkflowTimeoutError
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent, WorkflowFailedEvent
from everstep.handler import WorkflowHandler
from everstep.local.clock import Clock
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from tests.support.versioned_flows import version_1, version_renamed
from tests.support.waiting import until


class Next(Event):
    number: int


class Done(Event):
    number: int


async def taken(handler: WorkflowHandler, flow: Workflow) -> Context[Any]:
    """A run taken down, written as JSON, ended, and restored as another process would."""
    text = json.dumps(handler.ctx.to_dict())
    await handler.cancel_run()
    return Context.from_dict(flow, json.loads(text))


class Gate:
    """Holds steps up until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.reached = asyncio.Event()
        self.keys: list[str] = []


class InFlight(Workflow):
    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> list[Next]:
        async with ctx.store.edit_state() as state:
            state.splits = state.get("splits", 0) + 1
        return [Next(number=number) for number in range(4)]

    @step
    async def work(self, ctx: Context, ev: Next) -> Done:
        if ev.number == 3:
            self.gate.keys.append(ctx.idempotency_key)
            self.gate.reached.set()
            await self.gate.open.wait()
        return Done(number=ev.number)

    @step
    async def join(self, ctx: Context, evs: list[Done]) -> StopEvent:
        return StopEvent(result=[sorted(ev.number for ev in evs), await ctx.store.get("splits"), ctx.run_id])


async def test_a_run_taken_down_amid_a_step_goes_on_from_there() -> None:
    """What was done is not done again; what was in flight runs again, under the same key; streams stay open."""
    gate = Gate()
    handler = InFlight(gate).run(run_id="order-7")
    await gate.reached.wait()
    later = Gate()
    later.open.set()
    flow = InFlight(later)
    resumed = flow.run(ctx=await taken(handler, flow))
    assert await resumed == [[0, 1, 2, 3], 1, "order-7"]
    assert resumed.run_id == "order-7"
    assert later.keys == gate.keys


async def test_a_run_taken_down_goes_on_with_renamed_steps() -> None:
    """A step that says how it was called runs under that name, and its keys."""
    handler = version_1()().run(order="A-7", run_id="order-8")
    await until(handler.requests, every=0)
    flow = version_renamed()()
    resumed = flow.run(ctx=await taken(handler, flow))
    await resumed.respond({"approved": True})
    assert (await resumed)["key"].startswith("order-8/finish/")


class Asks(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> InputRequiredEvent:
        await ctx.store.set("asked", True)
        return InputRequiredEvent(prefix="well?")

    @step
    async def end(self, ctx: Context, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent(result=[ev.response, await ctx.store.get("asked")])


async def test_requests_stay_open() -> None:
    """A question that was open when the run was taken down is answered after it was taken up."""
    flow = Asks()
    handler = flow.run()
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            break
    before = await handler.requests()
    resumed = flow.run(ctx=await taken(handler, flow))
    assert await resumed.requests() == before
    resumed.ctx.send_event(HumanResponseEvent(response="yes"))
    assert await resumed == ["yes", True]


class Waits(Workflow):
    @step
    async def wait(self, ctx: Context, ev: StartEvent) -> StopEvent:
        passes = await ctx.store.get("passes", default=0)
        first = await ctx.wait_for_event(Next)
        try:
            second = await ctx.wait_for_event(Next, timeout=ev.seconds)
        except TimeoutError:
            return StopEvent(result=[passes, first.number, None])
        return StopEvent(result=[passes, first.number, second.number])


async def test_waits_stay_open_and_their_answers_known() -> None:
    """A step that waited for its second event waits for it still, and has the first."""
    flow = Waits()
    handler = flow.run(seconds=60)
    await handler.send_event(Next(number=1))
    await asyncio.sleep(0.01)
    resumed = flow.run(ctx=await taken(handler, flow))
    await resumed.send_event(Next(number=2))
    assert await resumed == [0, 1, 2]


@pytest.mark.parametrize(("away", "left"), [(0.0, 0.2), (3600.0, 0.0)])
async def test_timers_go_on(away: float, left: float) -> None:
    """A timeout is up when it would have been; one that was up meanwhile, at once."""
    passed = 0.0
    with use_runtime(LocalRuntime(clock=Clock(lambda: time.time() + passed))):
        flow = Waits()
        handler = flow.run(seconds=0.2)
        await handler.send_event(Next(number=1))
        await asyncio.sleep(0.01)
        context = await taken(handler, flow)
        passed = away
        begun = time.monotonic()
        assert await flow.run(ctx=context) == [0, 1, None]
        assert left - 0.1 <= time.monotonic() - begun < left + 2


async def test_a_run_timeout_counts_from_the_first_beginning() -> None:
    """A run that was away for longer than its timeout has timed out."""
    passed = 0.0
    with use_runtime(LocalRuntime(clock=Clock(lambda: time.time() + passed))):
        flow = Asks(timeout=60)
        handler = flow.run()
        await asyncio.sleep(0.01)
        context = await taken(handler, flow)
        passed = 61.0
        with pytest.raises(WorkflowTimeoutError):
            await flow.run(ctx=context)


class Flaky(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(0.2), stop=stop_after_attempt(3)))
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        info = ctx.retry_info()
        ctx.write_event_to_stream(Event(retry=info.retry_number, last=repr(info.last_exception)))
        raise ConnectionError("cut")


async def test_attempts_are_not_forgotten() -> None:
    """A step that had failed once when the run was taken down has two tries left of three."""
    flow = Flaky()
    handler = flow.run()
    await asyncio.sleep(0.05)
    resumed = flow.run(ctx=await taken(handler, flow))
    items = [item async for item in resumed.stream_items()]
    assert [(item.event.retry, item.attempt) for item in items[:-1]] == [(1, 2), (2, 3)]
    assert items[0].event.last == "ConnectionError('cut')"
    failed = items[-1].event
    assert isinstance(failed, WorkflowFailedEvent)
    assert failed.attempts == 3


class State(BaseModel):
    count: int = 0
    label: str = "new"


class Typed(Workflow):
    @step
    async def work(self, ctx: Context[State], ev: StartEvent) -> StopEvent:
        async with ctx.store.edit_state() as state:
            state.count += 1
        return StopEvent(result=(await ctx.store.get_state()).count)


async def test_of_a_run_that_has_ended_the_state_is_left() -> None:
    """A context that is restored from it begins a new run, with a start event."""
    flow = Typed()
    handler = flow.run()
    assert await handler == 1
    data = handler.ctx.to_dict()
    assert (data["is_running"], data["state"]) == (False, {"count": 1, "label": "new"})
    ctx: Context[State] = Context.from_dict(flow, data)
    assert (await ctx.store.get_state()).count == 1
    await ctx.store.set("count", 10)
    assert ctx.to_dict()["state"]["count"] == 10
    assert await flow.run(ctx=ctx) == 11
    empty = handler.ctx.to_dict(include_state=False)
    assert await flow.run(ctx=Context(flow, empty)) == 1


async def test_the_state_can_be_changed_before_the_run_goes_on() -> None:
    """What is set in a restored context is what its run goes on with."""
    flow = Asks()
    handler = flow.run()
    await asyncio.sleep(0.01)
    ctx = await taken(handler, flow)
    assert ctx.is_running
    await ctx.store.set("asked", "twice")
    resumed = flow.run(ctx=Context.from_dict(flow, ctx.to_dict()))
    await resumed.respond({"response": "no"})
    assert await resumed == ["no", "twice"]


async def test_a_serializer_writes_texts() -> None:
    """With one, state and run are texts of it; the flow's own is used where none is given."""
    flow = Asks(serializer=PickleSerializer())
    handler = flow.run()
    await asyncio.sleep(0.01)
    data = handler.ctx.to_dict()
    await handler.cancel_run()
    assert isinstance(data["state"], str)
    assert isinstance(data["run"], str)
    resumed = flow.run(ctx=Context.from_dict(flow, data))
    await resumed.respond({"response": "yes"})
    assert await resumed == ["yes", True]


async def test_what_cannot_be_restored_is_refused() -> None:
    """Other flows, steps that are gone, damaged and foreign data: each with what to do."""
    flow = Asks()
    handler = flow.run()
    await asyncio.sleep(0.01)
    data = handler.ctx.to_dict()
    await handler.cancel_run()
    with pytest.raises(ContextSerdeError, match="the context is one of Asks, not of Typed"):
        Context.from_dict(Typed(), data)
    for bad in ([], {}, {**data, "version": 99}, {**data, "run": {"definition": {}}}, {**data, "state": "no JSON"}):
        with pytest.raises(ContextSerdeError):
            Context.from_dict(flow, bad)  # pyright: ignore[reportArgumentType]
    damaged = json.loads(json.dumps(data))
    del damaged["run"]["engine"]["scheduler"]
    with pytest.raises(ContextSerdeError, match="cannot be restored"):
        Context.from_dict(flow, damaged)
    damaged["run"]["definition"]["steps"][0]["name"] = "gone"
    with pytest.raises(ContextSerdeError):
        Context.from_dict(flow, damaged)
    with pytest.raises(WorkflowRuntimeError, match="which has begun: topic would not reach it"):
        flow.run(ctx=Context.from_dict(flow, data), topic="x")


async def test_a_run_that_waits_for_its_turn_cannot_be_taken_down() -> None:
    """It has not begun: the error says what it waits for."""
    flow = Asks(num_concurrent_runs=1)
    first, second = flow.run(), flow.run()
    with pytest.raises(ContextStateError, match="num_concurrent_runs"):
        second.ctx.to_dict()
    await first.cancel_run()
    await second.cancel_run()


class Item(Event):
    number: int


class Result(Event):
    number: int


class Busy(Workflow):
    """A bit of everything: a fan-out with failures, edits, a wait in the midst, collections."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> list[Item]:
        await ctx.store.set("paid", [])
        return [Item(number=number) for number in range(12)]

    @step(num_workers=3, retry_policy=retry_policy(wait=wait_fixed(0.002), stop=stop_after_attempt(40)))
    async def work(self, ctx: Context, ev: Item) -> Result:
        async with ctx.store.edit_state() as state:
            state["paid"] = [*state["paid"], ev.number]
        await asyncio.sleep(0.002)
        if ctx.retry_info().retry_number < ev.number % 3:
            raise ConnectionError("cut")
        if ev.number == 5:
            await ctx.wait_for_event(Next, requirements={"number": 5})
        return Result(number=ev.number)

    @step
    async def join(self, ctx: Context, evs: list[Result]) -> StopEvent:
        return StopEvent(result=[sorted(ev.number for ev in evs), sorted(await ctx.store.get("paid"))])


async def test_a_run_taken_down_again_and_again_comes_to_the_same() -> None:
    """Wherever it is when it is taken down, nothing is lost and nothing is done twice."""
    chance = random.Random(7)
    flow = Busy()
    handler = flow.run()
    taken_down = 0
    while not handler.is_done():
        await asyncio.sleep(chance.uniform(0.001, 0.01))
        if not handler.is_done():
            handler = flow.run(ctx=await taken(handler, flow))
            taken_down += 1
            if taken_down == 12:
                await handler.send_event(Next(number=5))
        assert taken_down < 500
    assert await handler == [list(range(12)), list(range(12))]
    assert taken_down >= 12


class Inner(Workflow):
    @step
    async def prepare(self, ctx: Context, ev: StartEvent) -> Next:
        PREPARED.append(ctx.idempotency_key)
        return Next(number=len(PREPARED))

    @step
    async def ask(self, ctx: Context, ev: Next) -> InputRequiredEvent:
        await ctx.store.set("prepared", ev.number)
        return InputRequiredEvent(prefix="well?")

    @step
    async def end(self, ctx: Context, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent(result=[ev.response, await ctx.store.get("prepared")])


PREPARED: list[str] = []
"""What steps of `Inner` have done outside."""


class Outer(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await ctx.run(Inner))


async def test_children_are_taken_down_too() -> None:
    """A run below goes on from where it was: what it did is not done again, and what it asked stays open."""
    flow = Outer()
    handler = flow.run()
    await asyncio.sleep(0.02)
    before = await handler.requests()
    resumed = flow.run(ctx=await taken(handler, flow))
    await asyncio.sleep(0.02)
    after = await resumed.requests()
    assert [(one["id"], one["asked_at"]) for one in after] == [(one["id"], one["asked_at"]) for one in before]
    await resumed.respond({"response": "yes"})
    assert await resumed == ["yes", 1]
    assert len(PREPARED) == 1
