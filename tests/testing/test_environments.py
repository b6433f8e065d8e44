"""The environments and their fixtures: the same test runs in process and on both servers."""

from __future__ import annotations

import time

import pytest

from everstep import Context, Workflow, step
from everstep.events import (
    Event,
    HumanResponseEvent,
    InputExpiredEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
)
from everstep.testing import FlowEnvironment, LocalEnvironment, SkippingClock, TimeSkippingEnvironment

DAY = 86400.0


class Answer(HumanResponseEvent):
    text: str


class Ask(InputRequiredEvent):
    response_event = Answer


class Asking(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> Ask:
        return Ask(due=ev.get("due", DAY))

    @step
    async def answered(self, ev: Answer) -> StopEvent:
        return StopEvent(result=ev.text)

    @step
    async def expired(self, ev: InputExpiredEvent) -> StopEvent:
        return StopEvent(result="expired")


async def test_a_person_answers_in_time(flow_env: FlowEnvironment) -> None:
    """Time is not skipped while the test waits for the request, even where it is skipped otherwise."""
    handler = await flow_env.run(Asking, run_id=f"asks-{time.time_ns()}")
    await flow_env.respond(handler, {"text": "yes"}, by="ann")
    assert await handler == "yes"
    assert [type(event) async for event in handler.stream_events()] == [Ask, StopEvent]


@pytest.fixture(params=["local_env", "time_skipping_env"])
def environment(request: pytest.FixtureRequest) -> FlowEnvironment:
    """Where time is skipped."""
    return request.getfixturevalue(request.param)


async def test_days_are_skipped(environment: FlowEnvironment) -> None:
    """While the result is awaited."""
    assert environment.skips_time
    begun = time.monotonic()
    assert await (await environment.run(Asking)) == "expired"
    assert time.monotonic() - begun < 10


async def test_time_passes_as_it_is_told(
    local_env: LocalEnvironment, time_skipping_env: TimeSkippingEnvironment
) -> None:
    """By hand, without anybody waiting for the run."""
    for environment in (local_env, time_skipping_env):
        handler = await environment.run(Asking)
        for _ in range(100):
            if await environment.asked(handler, handler.requests):
                break
            await environment.let_pass(0.05)
        await environment.let_pass(2 * DAY)
        async for event in handler.stream_events():
            assert not isinstance(event, Answer)
        assert await handler == "expired"


class Tick(Event):
    pass


class TwoWaits(Workflow):
    @step
    async def wait(self, ctx: Context, ev: StartEvent) -> StopEvent:
        try:
            await ctx.wait_for_event(Tick, timeout=2 * DAY)
        except TimeoutError:
            return StopEvent(result="nobody came")
        return StopEvent(result="came")


async def test_timers_fire_in_their_order() -> None:
    """A run timeout of a day comes before a wait of two."""
    clock = SkippingClock(start=1_000_000_000.0)
    async with LocalEnvironment(clock) as environment:
        assert await (await environment.run(TwoWaits)) == "nobody came"
        assert clock.now() == pytest.approx(1_000_000_000 + 2 * DAY, abs=60)
        with pytest.raises(Exception, match="timed out"):
            await (await environment.run(TwoWaits(timeout=DAY)))
        assert clock.now() == pytest.approx(1_000_000_000 + 3 * DAY, abs=60)
