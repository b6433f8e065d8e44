"""What steps show leaves by signal: nothing is lost or comes twice, however slow or doubtful the way to the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import grpc
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from everstep import Context, Workflow, step
from everstep.errors import StepFailedError
from everstep.events import Event, StartEvent, StopEvent
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from everstep.temporal import Limits, TemporalRuntime, serving
from everstep.temporal.devserver import DevServer
from everstep.temporal.handler import TemporalHandler
from everstep.temporal.pace import FLUSH_SECONDS, LONGEST, Pace
from tests.support.grpc_proxy import GrpcProxy

SIGNAL = "SignalWorkflowExecution"


class Word(Event):
    text: str


class Item(Event):
    number: int


class Done(Event):
    pass


class Tells(Workflow):
    """Shows some words at once, and ends a little later."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        for number in range(5):
            ctx.write_event_to_stream(Word(text=f"{number}"))
        await asyncio.sleep(ev.seconds)
        if ev.get("fails"):
            raise ValueError("no")
        return StopEvent()


class Again(Workflow):
    """Shows words in each of its tries."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(3)))
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        tries = ctx.retry_info().retry_number
        ctx.write_event_to_stream(Word(text=f"{tries}"))
        await asyncio.sleep(0.3)
        if tries < 2:
            raise ValueError("not yet")
        return StopEvent()


class Burst(Workflow):
    """Shows more at once than one payload may have."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        for number in range(ev.count):
            ctx.write_event_to_stream(Word(text=f"{number} " + "x" * ev.size))
        return StopEvent(result="y" * ev.get("result", 0))


class Wide(Workflow):
    """Steps side by side that show words while they run."""

    max_in_flight = 45

    @step
    async def begin(self, ev: StartEvent) -> list[Item]:
        return [Item(number=number) for number in range(20)]

    @step(num_workers=20)
    async def work(self, ctx: Context, ev: Item) -> Done:
        for number in range(8):
            ctx.write_event_to_stream(Word(text=f"{ev.number}-{number}"))
            await asyncio.sleep(0.2)
        return Done()

    @step
    async def join(self, evs: list[Done]) -> StopEvent:
        return StopEvent()


ALL = [Tells, Again, Burst, Wide]


@pytest.fixture
def proxy(dev_server: DevServer) -> Iterator[GrpcProxy]:
    """What stands between the worker and the server; readers and starters ask the server itself."""
    with GrpcProxy(dev_server.address) as proxy:
        yield proxy


async def _shown(handler: TemporalHandler) -> list[tuple[int | None, int | None, str]]:
    """Invocation, attempt and first word of each event that a step has shown."""
    return [
        (item.invocation, item.attempt, item.event.text.split()[0])
        async for item in handler.stream_items()
        if "text" in item.event
    ]


async def _words(handler: TemporalHandler) -> list[str]:
    return [text for _, _, text in await _shown(handler)]


async def _signals(client: Client, handler: TemporalHandler) -> int:
    history = await client.get_workflow_handle(handler.run_id).fetch_history()
    return sum(event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED for event in history.events)


def _numbers(count: int) -> Sequence[str]:
    return [str(number) for number in range(count)]


async def test_what_is_on_its_way_when_a_step_ends_arrives(client: Client, task_queue: str, proxy: GrpcProxy) -> None:
    """Over a slow connection the outcome waits for the batch before it; so does a failure."""
    proxy.delays[SIGNAL] = 0.4
    far = await Client.connect(proxy.address)
    runtime = TemporalRuntime(client, task_queue=task_queue)
    async with serving(far, ALL, task_queue=task_queue):
        ends = await runtime.start_flow("Tells", {"seconds": 0.6})
        fails = await runtime.start_flow("Tells", {"seconds": 0.7, "fails": True})
        await ends
        with pytest.raises(StepFailedError):
            await fails
        assert await _words(ends) == _numbers(5)
        assert await _words(fails) == _numbers(5)


async def test_a_batch_whose_reply_is_lost_is_sent_again_and_read_once(
    client: Client, task_queue: str, proxy: GrpcProxy
) -> None:
    """The worker cannot know that it has arrived; readers tell by its number."""
    proxy.lost[SIGNAL] = grpc.StatusCode.CANCELLED
    far = await Client.connect(proxy.address)
    async with serving(far, ALL, task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Tells", {"seconds": 1})
        await asyncio.sleep(1.3)
        proxy.lost.clear()
        await handler
        assert await _words(handler) == _numbers(5)
        assert await _signals(client, handler) > 1


async def test_what_cannot_leave_by_signal_leaves_with_the_outcome(
    client: Client, task_queue: str, proxy: GrpcProxy
) -> None:
    """Where the server takes no signals, because the run has had too many, say: later, but all of it."""
    proxy.refused[SIGNAL] = grpc.StatusCode.INVALID_ARGUMENT
    far = await Client.connect(proxy.address)
    async with serving(far, ALL, task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Tells", {"seconds": 0.8})
        await handler
        assert await _words(handler) == _numbers(5)
        assert await _signals(client, handler) == 0


async def test_tries_within_an_attempt_share_batches_and_keep_their_numbers(client: Client, task_queue: str) -> None:
    """What earlier tries have shown leaves before the outcome, under their own numbers."""
    async with serving(client, ALL, task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Again")
        await handler
        assert await _shown(handler) == [(1, 1, "0"), (1, 2, "1"), (1, 3, "2")]
        assert await _signals(client, handler) <= 2


async def test_more_than_one_payload_may_have_is_shown_in_pieces(client: Client, task_queue: str) -> None:
    """A burst of 3 MB, beside a result that nearly fills its payload, breaks nothing and comes in order."""
    async with serving(client, ALL, task_queue=task_queue):
        fields = {"count": 100, "size": 30_000, "result": 1_990_000}
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Burst", fields)
        assert len(await handler) == 1_990_000
        assert await _words(handler) == _numbers(100)


async def test_an_event_that_no_payload_can_carry_fails_the_step_by_name(client: Client, task_queue: str) -> None:
    """The message says what was published, not that the step returned too much."""
    async with serving(client, ALL, task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow(
            "Burst", {"count": 2, "size": 2_100_000}
        )
        with pytest.raises(
            StepFailedError, match=r"published an event Word of 2100\d\d\d bytes, over the server's limit"
        ):
            await handler


async def test_steps_side_by_side_share_their_signals(client: Client, task_queue: str) -> None:
    """The budget is the run's: twenty steps send about as many signals as one, and each event tells whose it is."""
    async with serving(client, ALL, task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Wide")
        await handler
        by_step: dict[int | None, list[str]] = {}
        for invocation, _, text in await _shown(handler):
            by_step.setdefault(invocation, []).append(text)
        assert len(by_step) == 20
        for words in by_step.values():
            assert [word.split("-")[1] for word in words] == _numbers(8)
            assert len({word.split("-")[0] for word in words}) == 1
        assert 2 <= await _signals(client, handler) <= 8


def test_signals_come_less_often_as_the_history_fills() -> None:
    """Up to the soft limit twice a second; streaming alone for a month comes near no limit of the server."""
    limits = Limits()
    pace, seconds, signals = Pace(limits), 0.0, 0
    length = 0
    while seconds < 30 * 86_400:
        if length < limits.continue_at_events:
            assert pace.seconds == FLUSH_SECONDS
        seconds += pace.seconds
        signals, length = signals + 1, length + 4
        if pace.sent(200):
            pace.measured(length, 0)
    assert signals < 10_000
    assert length < 5 * limits.continue_at_events + 4 * 30 * 86_400 / LONGEST
