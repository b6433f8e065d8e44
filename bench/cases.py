"""What is measured: each case does the same work once on either side and checks that it was done."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench import flows, handwritten
from everstep import Workflow
from everstep.temporal import TemporalRuntime, serving
from everstep.temporal.worker import STICKY_TIMEOUT

TEXT = "The quick brown fox jumps over the lazy dog. " * 4
"""What every event carries: as much as a short question."""

SIGNALS_PER_SECOND = 20

Start = Callable[[], Awaitable[int]]


@dataclass(frozen=True)
class Sides:
    """Both sides' workers on one server, with the same numbers in flight."""

    client: Client
    runtime: TemporalRuntime
    queue: str
    in_flight: int

    def ours(self, flow: type[Workflow], count: int, run_id: str | None = None) -> Awaitable[int]:
        """Run one of our flows to its result."""
        return flow(runtime=self.runtime).run(count=count, text=TEXT, run_id=run_id)

    async def other(self, kind: type, argument: Any, run_id: str | None = None) -> int:
        """Run one of the hand-written workflows to its result."""
        return await self.client.execute_workflow(
            kind.__name__, argument, id=run_id or str(uuid.uuid4()), task_queue=self.queue, result_type=int
        )


@dataclass(frozen=True)
class Case:
    """One thing measured; `ours` and `other` do it once. `stock` asks for a server with its flags as shipped."""

    name: str
    in_flight: int
    ours: Callable[[Sides], Awaitable[None]]
    other: Callable[[Sides], Awaitable[None]]
    stock: bool = False


@contextlib.asynccontextmanager
async def both_sides(client: Client, in_flight: int) -> AsyncIterator[Sides]:
    """A worker for either side; the one that is not measured polls and does nothing."""
    ours, other = f"ours-{uuid.uuid4()}", f"other-{uuid.uuid4()}"
    worker = Worker(
        client,
        task_queue=other,
        workflows=handwritten.WORKFLOWS,
        activities=handwritten.ACTIVITIES,
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_activities=in_flight,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
    )
    async with serving(client, flows.FLOWS, task_queue=ours, max_concurrent_steps=in_flight), worker:
        yield Sides(client, TemporalRuntime(client, task_queue=ours), other, in_flight)


def cases(*, quick: bool = False) -> list[Case]:
    """All cases; with `quick` smaller ones, to see that they work."""
    found: list[Case] = []
    for in_flight in (45, 200):
        found.append(_chain(20 if quick else 100, in_flight))
        found += [_fan_out(count, in_flight) for count in ((100, 300) if quick else (500, 1_900))]
        found.append(_runs(40 if quick else 200, in_flight))
    return [*found, _signalled(100 if quick else 500)]


def _chain(count: int, in_flight: int) -> Case:
    async def ours(sides: Sides) -> None:
        _check(await sides.ours(flows.Chain, count), count)

    async def other(sides: Sides) -> None:
        _check(await sides.other(handwritten.HandChain, handwritten.Begin(count, TEXT)), count)

    return Case(f"sequential-{count}@{in_flight}", in_flight, ours, other)


def _fan_out(count: int, in_flight: int) -> Case:
    flow = flows.FanOut45 if in_flight == flows.FanOut45.max_in_flight else flows.FanOut200

    async def ours(sides: Sides) -> None:
        _check(await sides.ours(flow, count), count * len(TEXT))

    async def other(sides: Sides) -> None:
        wide = handwritten.Wide(handwritten.Begin(count, TEXT), in_flight)
        _check(await sides.other(handwritten.HandFanOut, wide), count * len(TEXT))

    return Case(f"fan-out-{count}@{in_flight}", in_flight, ours, other)


def _runs(count: int, in_flight: int) -> Case:
    steps = 5

    async def ours(sides: Sides) -> None:
        await _many(count, in_flight, lambda: sides.ours(flows.Chain, steps), steps)

    async def other(sides: Sides) -> None:
        begin = handwritten.Begin(steps, TEXT)
        await _many(count, in_flight, lambda: sides.other(handwritten.HandChain, begin), steps)

    return Case(f"runs-{count}x{steps}@{in_flight}", in_flight, ours, other)


def _signalled(count: int) -> Case:
    in_flight = 45  # what a stock server can take: see the cap on invocations in flight

    async def ours(sides: Sides) -> None:
        run_id = str(uuid.uuid4())
        async with _notes(sides.client, run_id, "send_event", lambda data: {"type": "Note", "data": data}):
            _check(await sides.ours(flows.Noted45, count, run_id), count * len(TEXT))

    async def other(sides: Sides) -> None:
        run_id = str(uuid.uuid4())
        wide = handwritten.Wide(handwritten.Begin(count, TEXT), in_flight)
        async with _notes(sides.client, run_id, "noted", lambda data: data):
            _check(await sides.other(handwritten.HandFanOut, wide, run_id), count * len(TEXT))

    return Case(f"stock-fan-out-{count}-signalled@{in_flight}", in_flight, ours, other, stock=True)


async def _many(count: int, in_flight: int, start: Start, expected: int) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for _ in numbers:
            _check(await start(), expected)

    await asyncio.gather(*(work() for _ in range(in_flight)))


@contextlib.asynccontextmanager
async def _notes(
    client: Client, run_id: str, signal: str, body: Callable[[dict[str, Any]], dict[str, Any]]
) -> AsyncIterator[None]:
    """Signal a run at a steady rate within the block."""
    handle = client.get_workflow_handle(run_id, result_type=RawValue)

    async def send() -> None:
        number = 0
        while True:
            await asyncio.sleep(1 / SIGNALS_PER_SECOND)
            number += 1
            with contextlib.suppress(RPCError):  # not there yet, or ended already
                await handle.signal(signal, body({"number": number, "text": TEXT}))

    sender = asyncio.create_task(send())
    try:
        yield
    finally:
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sender


def _check(found: object, expected: int) -> None:
    if found != expected:
        raise AssertionError(f"the work gave {found!r}, not {expected!r}: what was measured is not what was meant")
