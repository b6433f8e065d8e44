"""A context outside of steps: state over several runs, what a handle tells of its run, what is refused where."""

import asyncio
from typing import Any

import pytest

from everstep import Context, Workflow, step
from everstep.context import JsonSerializer
from everstep.errors import ContextStateError, WorkflowCancelledByUser, WorkflowRuntimeError
from everstep.events import Event, StartEvent, StopEvent
from tests.support.drivers import PATIENCE, Driver, eventually


class Counts(Workflow):
    @step
    async def count(self, ctx: Context, ev: StartEvent) -> StopEvent:
        total = await ctx.store.get("total", default=0)
        await ctx.store.set("total", total + ev.amount)
        return StopEvent(result=total + ev.amount)


async def test_a_context_holds_the_state_over_runs(driver: Driver) -> None:
    """Set before the first run, read after it, changed between two, it is what each run begins with."""
    flow = Counts()
    ctx: Context[Any] = Context(flow)
    assert not ctx.is_running
    await ctx.store.set("total", 5)
    first = await driver.run(flow, ctx=ctx, amount=1)
    assert first.ctx is ctx
    assert (await first, ctx.run_id) == (6, first.run_id)
    assert await ctx.store.get("total") == 6
    second = await driver.run(flow, ctx=ctx, amount=2)
    assert await second == 8
    async with ctx.store.edit_state() as state:
        state.total += 100
    assert await (await driver.run(flow, ctx=ctx, amount=3)) == 111
    assert await second.state() == {"total": 8}


class Note(Event):
    text: str


class Patient(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("waits", True)
        note = await ctx.wait_for_event(Note)
        return StopEvent(result=note.text)


async def test_a_context_has_one_run_at_a_time(driver: Driver) -> None:
    """While its run is under way it takes no other, and its state is changed by steps only; reading goes on."""
    flow = Patient()
    ctx: Context[Any] = Context(flow)
    handler = await driver.run(flow, ctx=ctx)
    await driver.in_status(handler, "idle")
    assert ctx.is_running
    with pytest.raises(ContextStateError, match=f"belongs to run {handler.run_id}, which is under way"):
        await driver.run(flow, ctx=ctx)
    with pytest.raises(ContextStateError, match="set from outside of its steps is refused"):
        await ctx.store.set("x", 1)
    assert await driver.asked(handler, lambda: ctx.store.get("waits")) is True
    assert await driver.asked(handler, ctx.running_steps) == []
    ctx.send_event(Note(text="done"))
    await driver.in_status(handler, "completed")
    assert await handler == "done"
    assert not ctx.is_running
    assert await (await driver.run(flow, ctx=handler.ctx)).cancel_run() is None


class Fails(Workflow):
    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        if ev.fail:
            raise ValueError("no luck")
        return StopEvent(result="fine")


async def test_a_handle_tells_how_its_run_stands(driver: Driver) -> None:
    """Nobody has to await it: that the run has ended, and how, comes to be known by asking."""
    flow = Fails()
    good, bad = await driver.run(flow, fail=False), await driver.run(flow, fail=True)

    async def both() -> bool:
        return good.is_done() and bad.is_done()

    await eventually(both)
    assert good.get_stop_event() == StopEvent(result="fine")
    assert good.exception() is None
    assert bad.get_stop_event() is None
    assert "no luck" in str(bad.exception())
    assert f"run_id={good.run_id!r}, ended=True" in str(good)


async def test_a_cancelled_run_has_ended_when_cancel_run_returns(driver: Driver) -> None:
    """It waits for the end, for a while; the old names of LlamaIndex say so too."""
    handler = await driver.run(Patient)
    await driver.in_status(handler, "idle")
    await handler.cancel_run(timeout=PATIENCE)
    assert handler.is_done()
    assert isinstance(handler.exception(), WorkflowCancelledByUser)
    with pytest.warns(DeprecationWarning, match="is_done"):
        assert handler.done()
    with pytest.warns(DeprecationWarning, match="exception"):
        assert handler.cancelled()


def helper() -> str:
    """Something that a step calls, deep down, without handing over its context."""
    return Context.get_step_context().step_name


class Helped(Workflow):
    @step
    async def first(self, ev: StartEvent) -> Note:
        await asyncio.sleep(0)
        return Note(text=helper())

    @step
    def second(self, ev: Note) -> StopEvent:
        return StopEvent(result=[ev.text, helper()])


async def test_helpers_find_the_context_of_their_step(driver: Driver) -> None:
    """In async steps and in those that run in threads; where no step runs there is none."""
    assert await (await driver.run(Helped)) == ["first", "second"]
    with pytest.raises(WorkflowRuntimeError, match="where no step runs"):
        helper()


class Confused(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        said: list[str] = []
        for act in (lambda: ctx.to_dict(), lambda: ctx.stream_events(), lambda: ctx.get_result()):
            try:
                act()
            except ContextStateError as error:
                said.append(str(error))
        return StopEvent(result=said)


async def test_a_context_says_where_a_method_works(driver: Driver) -> None:
    """Those of a run are refused within a step, those of a step outside, and those of a run before there is one."""
    said = await (await driver.run(Confused))
    assert [text.partition(" is not for the context of a step")[0] for text in said] == [
        "to_dict",
        "stream_events",
        "get_result",
    ]
    ctx: Context[Any] = Context(Counts())
    with pytest.raises(ContextStateError, match="retry_info works within a step only"):
        ctx.retry_info()
    with pytest.raises(ContextStateError, match="wait_for_event works within a step only"):
        await ctx.wait_for_event(Note)
    with pytest.raises(ContextStateError, match=r"send_event needs a run.*give it to run\(ctx=…\) first"):
        ctx.send_event(Note(text="x"))


async def test_what_cannot_be_taken_down_says_what_to_do_instead(driver: Driver) -> None:
    """A run on Temporal is kept by the server, and one that was taken down in a process resumes in a process."""
    flow = Patient()
    handler = await driver.run(flow)
    await driver.in_status(handler, "idle")
    if driver.temporal:
        with pytest.raises(ContextStateError, match=r"on a Temporal server, which keeps it.*handle\('"):
            handler.ctx.to_dict()
        local = Patient().run()
        await asyncio.sleep(0.05)
        taken = Context.from_dict(flow, local.ctx.to_dict())
        await local.cancel_run()
        with pytest.raises(ContextStateError, match=r"resume it in process, with LocalRuntime\(\)"):
            await driver.run(flow, ctx=taken)
    else:
        assert handler.ctx.to_dict(JsonSerializer())["is_running"] is True
    await handler.cancel_run()


class Bounded(Workflow):
    num_concurrent_runs = 2
    running = 0
    most = 0

    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        Bounded.running += 1
        Bounded.most = max(Bounded.most, Bounded.running)
        await asyncio.sleep(0.4)  # long beside what starting a run takes
        Bounded.running -= 1
        if ev.number == 1:
            raise ValueError("one may fail")
        return StopEvent(result=ev.number)


async def test_no_more_runs_than_num_concurrent_runs_go_on_at_a_time(driver: Driver) -> None:
    """Those that one instance begins in this process wait for their turn; all end, also when some fail."""
    flow = Bounded()
    Bounded.most = 0
    runtime = await driver.runtime(flow)
    handlers = [runtime.start(flow, StartEvent(number=number), run_id=None, ctx=None) for number in range(5)]
    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(*(handler.stop_event_result() for handler in handlers), return_exceptions=True)
    assert [event.result for event in results if isinstance(event, StopEvent)] == [0, 2, 3, 4]
    assert "one may fail" in str(results[1])
    assert Bounded.most == 2
