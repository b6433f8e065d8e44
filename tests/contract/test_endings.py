"""How runs end, other than by their stop event: timeout, cancellation, stuck; and those that only wait."""

import asyncio

import pytest

from everstep import Context, Workflow, step
from everstep.errors import WorkflowCancelledByUser, WorkflowRuntimeError, WorkflowTimeoutError
from everstep.events import (
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    WorkflowCancelledEvent,
    WorkflowFailedEvent,
    WorkflowTimedOutEvent,
)
from everstep.temporal import Limits
from tests.support.drivers import Driver, eventually

GIVEN_UP: dict[str, str] = {}
"""Run id to the step that was cancelled in it."""


class Working(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        ctx.write_event_to_stream(Event(begun=True))
        try:
            await asyncio.sleep(15)
        except asyncio.CancelledError:
            GIVEN_UP[ctx.run_id] = ctx.step_name
            raise
        return StopEvent()


class Asking(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent()

    @step
    async def end(self, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent()


async def given_up(run_id: str) -> str:
    """The step that was cancelled in a run, once one was."""

    async def found() -> str | None:
        return GIVEN_UP.get(run_id)

    return await eventually(found)


async def test_a_run_timeout_cancels_what_runs(driver: Driver) -> None:
    """A run past its timeout fails as timed out, names the steps that ran, and they are cancelled."""
    driver.limits = Limits(heartbeat_seconds=2)
    handler = await driver.run(Working(timeout=1.5))
    seen = await driver.seen(handler)
    assert seen.events[-1] == WorkflowTimedOutEvent(timeout=1.5, active_steps=["work"])
    assert isinstance(seen.error, WorkflowTimeoutError)
    assert "the run of Working timed out after 1.5 s; steps running: work" in str(seen.error)
    assert await given_up(handler.run_id) == "work"


async def test_a_waiting_run_times_out(driver: Driver) -> None:
    """The timeout holds while a run waits for a person, too."""
    timeout = driver.span(0.3, 30 * 86_400.0)
    handler = await driver.run(Asking(timeout=timeout))
    seen = await driver.seen(handler)
    assert seen.events[-1] == WorkflowTimedOutEvent(timeout=timeout, active_steps=[])
    assert isinstance(seen.error, WorkflowTimeoutError)
    assert timeout <= await driver.took(handler) + 0.01 < timeout + 5


async def test_cancelling_a_run_cancels_its_steps(driver: Driver) -> None:
    """A cancelled run ends as cancelled, and the steps in flight are cancelled."""
    driver.limits = Limits(heartbeat_seconds=2)
    handler = await driver.run(Working)
    async for event in handler.stream_events():
        if "begun" in event:
            await handler.cancel_run("changed my mind")
    seen = await driver.seen(handler)
    assert seen.events[-1] == WorkflowCancelledEvent()
    assert isinstance(seen.error, WorkflowCancelledByUser)
    assert await given_up(handler.run_id) == "work"
    assert handler.is_done()
    assert handler.get_stop_event() is None


async def test_a_waiting_run_is_cancelled(driver: Driver) -> None:
    """A run that waits for a person can be cancelled; its request is closed."""
    handler = await driver.run(Asking)
    await driver.open_requests(handler)
    await handler.cancel_run()
    with pytest.raises(WorkflowCancelledByUser):
        await handler
    assert await handler.requests() == []
    assert [request["status"] for request in await handler.requests(only_open=False)] == ["closed"]
    assert (await handler.progress())["status"] == "cancelled"


class Stuck(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> Event | None:
        return None if ev.stuck else Event()

    @step
    async def end(self, ev: Event) -> StopEvent:
        return StopEvent(result="fine")


async def test_a_stuck_run_fails_and_says_why(driver: Driver) -> None:
    """A run in which nothing can happen any more fails at once, and names the last step and the remedy."""
    flow = Stuck()
    assert await (await driver.run(flow, stuck=False)) == "fine"
    seen = await driver.see(flow, stuck=True)
    assert isinstance(seen.error, WorkflowRuntimeError)
    assert "the run of Stuck is stuck" in str(seen.error)
    assert "The last step was 'begin'; it must return" in str(seen.error)
    assert isinstance(seen.events[-1], WorkflowFailedEvent)
    assert "is stuck" in str(seen.events[-1].exception)


class Note(Event):
    text: str


class Patient(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> None:
        return None

    @step(skip_graph_checks=["reachability"])
    async def end(self, ev: Note) -> StopEvent:
        return StopEvent(result=ev.text)


async def test_an_idle_run_waits_for_an_event(driver: Driver) -> None:
    """A run that can only be moved on from outside is idle, not stuck, and goes on when its event comes."""
    handler = await driver.run(Patient)
    progress = await driver.in_status(handler, "idle")
    assert progress["open_requests"] == []
    await driver.let_pass(driver.span(0.1, 86_400))
    await handler.send_event(Note(text="at last"))
    assert await handler == "at last"


class TwoStops(Workflow):
    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Note | None:
        ctx.send_event(Note(text="slow"))
        ctx.send_event(Note(text="fast"))
        return None

    @step
    async def end(self, ctx: Context, ev: Note) -> StopEvent:
        if ev.text == "slow":
            await asyncio.sleep(8)
        await ctx.store.set(ev.text, True)
        return StopEvent(result=ev.text)


async def test_the_first_stop_event_wins(driver: Driver) -> None:
    """The run ends with the first stop event; what still runs is cancelled and changes nothing."""
    seen = await driver.see(TwoStops)
    assert (seen.result, seen.state) == ("fast", {"fast": True})
    assert seen.types() == ["StopEvent"]
