"""How many steps a worker runs: limits of single ones hold up no others, rates and targets are kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client

from everstep import Workflow, step
from everstep.errors import WorkflowConfigurationError
from everstep.events import Event, StartEvent, StopEvent
from everstep.temporal import TemporalRuntime, serving
from everstep.temporal.slots import StepSlots
from everstep.temporal.step_gate import GivenBack, StepGate


class Heavy(Event):
    number: int


class Light(Event):
    number: int


class Done(Event):
    kind: str


class Gauge:
    """How many of each step run now, and the most that ever did; when they began; the order in which they ended."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.ended: list[str] = []
        self.began: list[float] = []

    async def during(self, kind: str, seconds: float) -> Done:
        self.began.append(asyncio.get_running_loop().time())
        self.now[kind] += 1
        self.now["all"] += 1
        for name in (kind, "all"):
            self.most[name] = max(self.most[name], self.now[name])
        await asyncio.sleep(seconds)
        self.now[kind] -= 1
        self.now["all"] -= 1
        self.ended.append(kind)
        return Done(kind=kind)


class Mixed(Workflow):
    """Twelve heavy steps, then six light ones, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.gauge = Gauge()

    @step
    async def split(self, ev: StartEvent) -> list[Heavy | Light]:
        return [*(Heavy(number=n) for n in range(12)), *(Light(number=n) for n in range(6))]

    @step(num_workers=20)
    async def heavy(self, ev: Heavy) -> Done:
        return await self.gauge.during("heavy", 0.1)

    @step(num_workers=20)
    async def light(self, ev: Light) -> Done:
        return await self.gauge.during("light", 0.01)

    @step(local=True)
    async def gather(self, evs: list[Done]) -> StopEvent:
        return StopEvent(result=len(evs))


async def test_a_step_at_its_limit_holds_up_no_other(client: Client, task_queue: str) -> None:
    """With two heavy steps at a time and four of all, light ones that came behind twelve heavy ones pass by."""
    flow = Mixed()
    async with serving(
        client, [flow], task_queue=task_queue, max_concurrent_steps=4, step_concurrency={"Mixed.heavy": 2}
    ):
        assert await (await TemporalRuntime(client, task_queue=task_queue).start_flow("Mixed")) == 18
    most = flow.gauge.most
    assert (most["heavy"], most["light"] >= 1, most["all"] <= 4) == (2, True, True)
    assert "light" in flow.gauge.ended[:8]
    assert flow.gauge.ended[-1] == "heavy"


async def test_limits_go_with_targets_for_memory_and_cpu(client: Client, task_queue: str) -> None:
    """The SDK decides when there is room for one more; limits of single steps hold as well."""
    flow = Mixed()
    options = {"target_memory": 0.99, "target_cpu": 1.0, "step_concurrency": {"Mixed.heavy": 3}}
    async with serving(client, [flow], task_queue=task_queue, max_concurrent_steps=8, **options):
        assert await (await TemporalRuntime(client, task_queue=task_queue).start_flow("Mixed")) == 18
    assert flow.gauge.most["heavy"] <= 3


@pytest.mark.parametrize("rate", ["max_activities_per_second", "max_task_queue_activities_per_second"])
async def test_rates_are_kept(client: Client, task_queue: str, rate: str) -> None:
    """A worker, and all workers of a task queue, begin no more steps per second than they may."""
    flow, options = Mixed(), dict[str, Any]({rate: 7})
    async with serving(client, [flow], task_queue=task_queue, **options):
        assert await (await TemporalRuntime(client, task_queue=task_queue).start_flow("Mixed")) == 18
    began = flow.gauge.began
    assert began[-1] - began[0] > 1.0, "seven at once, then seven a second; all at once without"


@pytest.mark.parametrize(
    ("name", "said"), [("Mixed.heavier", "one of Mixed.split, Mixed.heavy"), ("Mixed.gather", "local=True")]
)
def test_limits_that_cannot_be_kept_are_refused(name: str, said: str) -> None:
    """Of a step that is not there, and of a local one."""
    with pytest.raises(WorkflowConfigurationError, match=said):
        StepSlots(4, {name: 2}).check([Mixed()])


async def never() -> None:
    """A worker that goes on."""
    await asyncio.Event().wait()


def at(second: int) -> datetime:
    """When an invocation was scheduled."""
    return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


async def test_the_oldest_goes_first() -> None:
    """Whoever waits in line is let in by the age of its invocation, not by when this worker heard of it."""
    gate, entered = StepGate({"a": 1}, 10), []

    async def pass_through(second: int) -> None:
        await gate.enter("a", at(second), never)
        entered.append(second)
        gate.leave("a")

    await gate.enter("a", at(0), never)
    waiting = [asyncio.ensure_future(pass_through(second)) for second in (3, 1, 2)]
    await asyncio.sleep(0)
    gate.leave("a")
    await asyncio.gather(*waiting)
    assert entered == [1, 2, 3]


async def test_what_would_wait_long_goes_back() -> None:
    """Where the line is full, and where the worker takes leave, the server is to try again; elsewhere perhaps."""
    gate, leaving = StepGate({"a": 1}, 4), asyncio.Event()

    async def left() -> None:
        await leaving.wait()

    await gate.enter("a", at(0), left)
    waiting = [asyncio.ensure_future(gate.enter("a", at(second), left)) for second in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(GivenBack) as full:
        await gate.enter("a", at(3), left)
    assert full.value.seconds > 0
    await gate.enter("b", at(4), left)  # of another kind
    leaving.set()
    backs = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(back, GivenBack) for back in backs] == [True, True]
    gate.leave("a")
    await gate.enter("a", at(5), left)
