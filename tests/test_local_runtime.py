"""What only the in-process driver does: bounding the runs of one instance, telling what steps do."""

import asyncio
import time

import pytest

from everstep import Workflow, step
from everstep.errors import WorkflowRuntimeError
from everstep.events import StartEvent, StopEvent
from everstep.local.runtime import SYNC_STEP_THREADS


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


async def test_a_verbose_flow_tells_what_its_steps_do(capsys: pytest.CaptureFixture[str]) -> None:
    """One line when a step runs, one when it has ended."""
    await Slow(verbose=True).run(number=1)
    assert capsys.readouterr().err == "work runs on StartEvent\nwork returned StopEvent\n"


def test_a_run_needs_an_event_loop() -> None:
    """Without one the error says what to do."""
    with pytest.raises(WorkflowRuntimeError, match=r"asyncio.run\(main\(\)\)"):
        Slow().run(number=1)


class Sleepy(Workflow):
    @step(timeout=0.45)
    def work(self, ev: StartEvent) -> StopEvent:
        time.sleep(0.3)
        return StopEvent()


async def test_the_time_of_a_sync_step_begins_with_its_thread() -> None:
    """Of more steps than there are threads those that wait for one do not time out."""
    await asyncio.gather(*(Sleepy().run() for _ in range(SYNC_STEP_THREADS + 10)))
