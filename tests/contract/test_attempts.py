"""The attempts of an invocation: retry policies and their delays, what a step knows of them, timeouts."""

import asyncio
import time
from datetime import datetime

import pytest

from everstep import Context, Workflow, step
from everstep.errors import StepFailedError, StepTimeoutError
from everstep.events import Event, StartEvent, StopEvent, WorkflowFailedEvent
from everstep.retry_policy import (
    retry_if_exception_type,
    retry_policy,
    stop_after_attempt,
    wait_fixed,
    wait_retry_after,
)
from tests.support.drivers import Driver


class Next(Event):
    chain: list[str]


class Keys(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(3)))
    async def first(self, ctx: Context, ev: StartEvent) -> Next:
        ctx.write_event_to_stream(Event(key=ctx.idempotency_key))
        if ctx.retry_info().retry_number < 2:
            raise ConnectionError("cut")
        return Next(chain=[ctx.idempotency_key])

    @step
    async def second(self, ctx: Context, ev: Next) -> Next | StopEvent:
        keys = [*ev.chain, ctx.idempotency_key]
        return StopEvent(result=keys) if len(keys) == 3 else Next(chain=keys)


async def test_the_idempotency_key_is_that_of_the_invocation(driver: Driver) -> None:
    """All attempts of an invocation have one key; each invocation, and each run, has another."""
    flow = Keys()
    handlers = [await driver.run(flow), await driver.run(flow)]
    runs = [await driver.seen(handler) for handler in handlers]
    for seen in runs:
        assert [event.key for event in seen.events[:3]] == [seen.result[0]] * 3
    assert len({key for seen in runs for key in seen.result}) == 6


class Busy(Exception):
    """Says how long to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"busy for {seconds:g} s")
        self.seconds = seconds


class AsAsked:
    """Waits as long as the error says; gives up at the fourth try."""

    def next(self, elapsed_time: float, attempts: int, error: Exception, *, seed: int | None = None) -> float | None:
        return error.seconds if isinstance(error, Busy) and attempts < 4 else None


class Waiting(Workflow):
    @step(retry_policy=AsAsked())
    def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        info = ctx.retry_info()
        ctx.write_event_to_stream(Event(retry=info.retry_number, error=str(info.last_exception)))
        if info.retry_number < len(ev.delays):
            raise Busy(ev.delays[info.retry_number])
        assert info.last_failed_at is None or isinstance(info.last_failed_at, datetime)
        assert info.last_failed_at is None or info.last_failed_at.tzinfo is not None
        return StopEvent(result=info.elapsed_seconds)


async def test_a_policy_decides_when_to_try_again(driver: Driver) -> None:
    """A step is tried again after just the delays that its policy asks for, and is told of the try before."""
    delays = [driver.span(0.2, 86_400), driver.span(0.1, 0.5), driver.span(1.1, 3_600)]
    handler = await driver.run(Waiting, delays=delays)
    seen = await driver.seen(handler)
    told = [(event.retry, event.error) for event in seen.events[:-1]]
    assert told == [(0, "None"), *((n + 1, f"busy for {delay:g} s") for n, delay in enumerate(delays))]
    assert [item.attempt for item in seen.items[:-1]] == [1, 2, 3, 4]
    assert sum(delays) <= seen.result < sum(delays) + 5
    assert sum(delays) <= await driver.took(handler) + 0.05 < sum(delays) + 5


async def test_a_policy_decides_when_to_give_up(driver: Driver) -> None:
    """When the policy wants no more tries the step has failed, and the failure counts them."""
    seen = await driver.see(Waiting, delays=[0.01] * 4)
    failed = seen.events[-1]
    assert isinstance(failed, WorkflowFailedEvent)
    assert (failed.step_name, failed.attempts) == ("ask", 4)
    assert "busy for 0.01 s" in str(failed.exception)
    assert "busy for 0.01 s" in str(seen.error)


class OnlyConnections(Workflow):
    @step(retry_policy=retry_policy(retry=retry_if_exception_type(ConnectionError), wait=wait_fixed(0.01)))
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        if ctx.retry_info().retry_number == 0:
            raise ConnectionError("cut") if ev.connection else ValueError("wrong")
        return StopEvent(result=ctx.retry_info().retry_number)


async def test_a_policy_chooses_what_is_worth_another_try(driver: Driver) -> None:
    """Only the errors that the policy names are tried again."""
    assert (await driver.see(OnlyConnections, connection=True)).result == 1
    failed = (await driver.see(OnlyConnections, connection=False)).events[-1]
    assert isinstance(failed, WorkflowFailedEvent)
    assert (failed.attempts, str(failed.exception)) == (1, "wrong")


class NoPolicy(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        ctx.write_event_to_stream(Event(tried=True))
        raise ConnectionError("cut")


async def test_without_a_policy_a_step_is_tried_once(driver: Driver) -> None:
    """A step without a retry policy fails with its first error."""
    assert (await driver.see(NoPolicy)).types() == ["Event", "WorkflowFailedEvent"]


class TooSlow(Workflow):
    @step(timeout=0.3, retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(2)))
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        if ctx.retry_info().retry_number == 0 or ev.always:
            await asyncio.sleep(30)
        return StopEvent(result=ctx.retry_info().retry_number)


class TooSlowInAThread(Workflow):
    @step(timeout=0.3, retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(2)))
    def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        if ctx.retry_info().retry_number == 0 or ev.always:
            deadline = time.monotonic() + 10
            while not ctx.cancelled and time.monotonic() < deadline:
                time.sleep(0.01)
        return StopEvent(result=ctx.retry_info().retry_number)


@pytest.mark.parametrize("flow", [TooSlow, TooSlowInAThread])
async def test_a_timeout_bounds_one_attempt(driver: Driver, flow: type[Workflow]) -> None:
    """An attempt that takes too long is given up, and the next one has the whole time again."""
    assert (await driver.see(flow, always=False)).result == 1


@pytest.mark.parametrize("flow", [TooSlow, TooSlowInAThread])
async def test_a_step_that_is_always_too_slow_fails(driver: Driver, flow: type[Workflow]) -> None:
    """When the last attempt has timed out the failure names the step, the time and the remedy."""
    failed = (await driver.see(flow, always=True)).events[-1]
    assert isinstance(failed, WorkflowFailedEvent)
    assert isinstance(failed.exception, StepTimeoutError)
    assert (failed.step_name, failed.attempts) == ("work", 2)
    assert "Step 'work' did not finish within its timeout of 0.3 s. Raise @step(timeout=" in str(failed.exception)


class LocalRetries(Workflow):
    @step(local=True, retry_policy=AsAsked())
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        retry = ctx.retry_info().retry_number
        if retry < len(ev.delays):
            raise Busy(ev.delays[retry])
        return StopEvent(result=retry)


async def test_a_local_step_is_retried_too(driver: Driver) -> None:
    """A step in the workflow's own worker follows its policy, and fails by it."""
    assert (await driver.see(LocalRetries, delays=[0.01, driver.span(1.1, 300)])).result == 2
    failed = (await driver.see(LocalRetries, delays=[0.01] * 4)).events[-1]
    assert isinstance(failed, WorkflowFailedEvent)
    assert failed.attempts == 4


class OwnTimeout(Workflow):
    @step(timeout=5)
    async def act(self, ev: StartEvent) -> StopEvent:
        raise TimeoutError("the other side did not answer")


async def test_a_timeout_that_a_step_raises_itself_stays_what_it_is(driver: Driver) -> None:
    """Only the step's own bound is a StepTimeoutError."""
    handler = await driver.run(OwnTimeout)
    with pytest.raises((TimeoutError, StepFailedError), match="the other side did not answer"):
        await handler


SEEDS: dict[str, list[int | None]] = {}
"""The seeds that a policy was given, by the text of the error that it was asked about."""


class NotesSeeds:
    """Notes its seeds, and gives up at the third try."""

    def next(self, elapsed_time: float, attempts: int, error: Exception, *, seed: int | None = None) -> float | None:
        SEEDS.setdefault(str(error), []).append(seed)
        return 0.01 if attempts < 3 else None


class Seeded(Workflow):
    @step(retry_policy=NotesSeeds())
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        raise ConnectionError(f"cut in {ctx.run_id}")


async def test_random_delays_differ_over_runs_and_attempts(driver: Driver) -> None:
    """Each failure has a seed of its own, so that what fails together does not come back together."""
    flow = Seeded()
    handlers = [await driver.run(flow) for _ in range(3)]
    for handler in handlers:
        await driver.seen(handler)
    seeds = [seed for handler in handlers for seed in SEEDS[f"cut in {handler.run_id}"]]
    assert len(seeds) == len(set(seeds)) == 9
    assert all(isinstance(seed, int) for seed in seeds)


class SlowDown(Exception):
    """Says when to come back, as clients of model servers do."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("429")
        self.retry_after = retry_after


class Obedient(Workflow):
    @step(retry_policy=retry_policy(wait=wait_retry_after(fallback=0.01, max=7_200), stop=stop_after_attempt(4)))
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        info = ctx.retry_info()
        if info.retry_number < len(ev.asked):
            raise SlowDown(ev.asked[info.retry_number])
        return StopEvent(result=info.elapsed_seconds)


async def test_an_error_that_says_when_to_come_back_is_obeyed(driver: Driver) -> None:
    """The wait that is made for it waits just as long, also where nobody has to wait for real."""
    asked = [driver.span(0.3, 3_600), 0.05]
    assert sum(asked) <= await (await driver.run(Obedient, asked=asked)) < sum(asked) + 5


class Confused:
    """Gives what is no answer, or fails itself."""

    def next(self, elapsed_time: float, attempts: int, error: Exception, *, seed: int | None = None) -> float | None:
        if "raise" in str(error):
            raise LookupError("no such error")
        return "soon" if "text" in str(error) else float("inf")  # type: ignore[return-value]


class BadPolicy(Workflow):
    @step(retry_policy=Confused())
    async def work(self, ev: StartEvent) -> StopEvent:
        raise ConnectionError(ev.how)


@pytest.mark.parametrize(
    ("how", "said"), [("text", "next() gave 'soon'"), ("inf", "next() gave inf"), ("raise", "no such error")]
)
async def test_a_policy_that_gives_no_answer_fails_the_step(driver: Driver, how: str, said: str) -> None:
    """Its fault is told, with the error that it was asked about as the cause; nothing is tried for ever."""
    failed = (await driver.see(BadPolicy, how=how)).events[-1]
    assert isinstance(failed, WorkflowFailedEvent)
    assert said in str(failed.exception)
    assert repr(failed.exception.__cause__) == f"ConnectionError('{how}')"
    assert failed.attempts == 1
