"""What only the in-process driver does: bounding the runs of one instance, telling what steps do."""

import asyncio
import time
from collections.abc import Callable

import pytest

from everstep import Context, Workflow, step
from everstep.errors import ResponseRefusedError, WorkflowRuntimeError
from everstep.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent, WorkflowFailedEvent
from everstep.local.clock import Clock, Timer
from everstep.local.runtime import SYNC_STEP_THREADS, LocalRuntime
from tests.support.waiting import until


class Slow(Workflow):
    running = 0
    most = 0

    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        return StopEvent(result=ev.number)


async def test_no_more_runs_than_num_concurrent_runs_go_on_at_a_time() -> None:
    """The others wait for their turn; all end."""
    flow = Slow(num_concurrent_runs=2)
    assert await asyncio.gather(*(flow.run(number=number) for number in range(7))) == list(range(7))
    assert flow.most == 2


class Asking(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> InputRequiredEvent:
        await ctx.store.set("list", [1])
        return InputRequiredEvent(items=[1], due=ev.get("due"))

    @step
    async def end(self, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent()


async def test_what_a_handle_gives_is_the_callers_own() -> None:
    """Whoever changes it does not change the run."""
    handler = Asking().run()
    await until(handler.requests)
    (await handler.state())["list"].append(2)
    (await handler.requests())[0]["question"]["items"].append(2)
    (await handler.progress())["steps"].clear()
    assert await handler.state() == {"list": [1]}
    assert (await handler.requests())[0]["question"]["items"] == [1]
    assert (await handler.progress())["steps"]
    await handler.cancel_run()


class BrokenClock(Clock):
    """A clock that sets no timers."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Fail."""
        raise OSError("no timers today")


async def test_a_fault_of_the_driver_ends_the_run_for_all_who_wait() -> None:
    """Those who await it and those who follow it; it takes nothing more."""
    handler = Asking(runtime=LocalRuntime(BrokenClock())).run(due=60)
    with pytest.raises(OSError, match="no timers"):
        await asyncio.wait_for(handler, 5)
    assert [type(event) async for event in handler.stream_events()] == [InputRequiredEvent, WorkflowFailedEvent]
    with pytest.raises(ResponseRefusedError, match="has failed"):
        await handler.respond({})


async def test_a_verbose_flow_tells_what_its_steps_do(capsys: pytest.CaptureFixture[str]) -> None:
    """One line when a step runs, one when it has ended."""
    await Slow(verbose=True).run(number=1)
    assert capsys.readouterr().err == "work runs on StartEvent\nwork returned StopEvent\n"


def test_a_run_needs_an_event_loop() -> None:
    """Without one the error says what to do."""
    with pytest.raises(WorkflowRuntimeError, match=r"asyncio.run\(main\(\)\)"):
        Slow().run(number=1)


class Sleepy(Workflow):
    @step(timeout=1.9)
    def work(self, ev: StartEvent) -> StopEvent:
        time.sleep(1.0)
        return StopEvent()


async def test_the_time_of_a_sync_step_begins_with_its_thread() -> None:
    """Of more steps than there are threads those that wait for one do not time out."""
    await asyncio.gather(*(Sleepy().run() for _ in range(SYNC_STEP_THREADS + 10)))
