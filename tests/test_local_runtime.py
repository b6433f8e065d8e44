"""What only the in-process driver does: bounding the runs of one instance, telling what steps do."""

import asyncio

import pytest

from everstep import Workflow, step
from everstep.errors import WorkflowRuntimeError
from everstep.events import StartEvent, StopEvent


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
