"""Steps that have failed for good: what the run says, and the handlers that take it from there."""

from datetime import datetime

import pytest

from everstep import Context, Workflow, catch_error, step
from everstep.errors import StepFailedError
from everstep.events import (
    Event,
    StartEvent,
    StepFailedEvent,
    StopEvent,
    UnreconstructedException,
    WorkflowFailedEvent,
)
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from tests.support.drivers import Driver


class Odd(Exception):
    """An error of the flow's own."""


class Next(Event):
    number: int


class Fragile(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> Next:
        return Next(number=ev.number)

    @step
    async def work(self, ev: Next) -> StopEvent:
        if ev.number % 2:
            raise Odd(f"{ev.number} is odd")
        return StopEvent(result=100 // ev.number)


@pytest.mark.parametrize(("number", "text"), [(3, "3 is odd"), (0, "integer division or modulo by zero")])
async def test_a_failed_step_fails_the_run(driver: Driver, number: int, text: str) -> None:
    """Without a handler the run fails; stream and error name the step, the error's type and its message."""
    seen = await driver.see(Fragile, number=number)
    failed = seen.events[-1]
    assert isinstance(failed, WorkflowFailedEvent)
    assert (failed.step_name, failed.attempts, str(failed.exception)) == ("work", 1, text)
    assert "in work" in failed.traceback
    assert text in str(seen.error)
    if driver.temporal:
        error = seen.error
        assert isinstance(error, StepFailedError)
        assert (error.step, error.event, error.attempts) == ("work", "Next", 1)
        assert error.exception_type.endswith("Odd" if number else "ZeroDivisionError")
    else:
        assert type(seen.error) is (Odd if number else ZeroDivisionError)


class Handled(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(2)))
    async def work(self, ev: StartEvent) -> StopEvent:
        raise ValueError(f"bad {ev.what}")

    @catch_error
    async def rescue(self, ctx: Context, ev: StepFailedEvent) -> StopEvent:
        await ctx.store.set("rescued", True)
        given = ev.input_event
        return StopEvent(
            result=[
                ev.step_name,
                type(given).__name__,
                given["what"],
                ev.exception_type,
                str(ev.exception),
                ev.attempts,
            ]
        )


async def test_a_handler_takes_what_failed(driver: Driver) -> None:
    """A handler is told the step, its event, the error and the attempts; what it returns goes on in its place."""
    seen = await driver.see(Handled, what="luck")
    assert seen.result == ["work", "StartEvent", "luck", "ValueError", "bad luck", 2]
    assert seen.state == {"rescued": True}
    assert seen.types() == ["StopEvent"]


class Timed(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(1.2), stop=stop_after_attempt(2)))
    async def work(self, ev: StartEvent) -> StopEvent:
        raise ValueError("no")

    @catch_error
    async def rescue(self, ev: StepFailedEvent) -> StopEvent:
        return StopEvent(result=[ev.elapsed_seconds, ev.failed_at.isoformat(), "in work" in ev.traceback])


async def test_a_handler_is_told_how_long_it_took_and_when(driver: Driver) -> None:
    """From the first attempt to the last failure, waits included; the time has a zone."""
    elapsed, failed_at, traced = await (await driver.run(Timed))
    assert 1.2 <= elapsed + 0.05 < 10
    assert datetime.fromisoformat(failed_at).tzinfo is not None
    assert traced


class Scoped(Workflow):
    @step
    async def left(self, ev: StartEvent) -> Next:
        if ev.fail == "left":
            raise ValueError("left")
        return Next(number=1)

    @step
    async def right(self, ev: Next) -> StopEvent:
        raise ValueError("right")

    @catch_error(for_steps=["left"])
    async def for_left(self, ev: StepFailedEvent) -> StopEvent:
        return StopEvent(result=["for_left", ev.step_name])

    @catch_error
    async def for_all(self, ev: StepFailedEvent) -> StopEvent:
        return StopEvent(result=["for_all", ev.step_name])


async def test_a_handler_that_names_a_step_comes_first(driver: Driver) -> None:
    """A step's own handler takes its failure; the general one takes all others."""
    flow = Scoped()
    assert await (await driver.run(flow, fail="left")) == ["for_left", "left"]
    assert await (await driver.run(flow, fail="right")) == ["for_all", "right"]


class Budget(Workflow):
    """Each recovery sends the work back to be tried once more."""

    @step
    async def begin(self, ev: StartEvent) -> Next:
        return Next(number=0)

    @step
    async def work(self, ctx: Context, ev: Next) -> StopEvent:
        if ev.number < 5:
            raise ValueError(f"no {ev.number}")
        return StopEvent(result=ev.number)

    @catch_error(max_recoveries=3)
    async def again(self, ctx: Context, ev: StepFailedEvent) -> Next:
        await ctx.store.set("recoveries", await ctx.store.get("recoveries", default=0) + 1)
        return Next(number=ev.input_event["number"] + 1)


async def test_recoveries_have_a_budget(driver: Driver) -> None:
    """A handler helps one line of events as often as it says; then the run fails and says so."""
    seen = await driver.see(Budget)
    assert seen.state == {"recoveries": 3}
    failed = seen.events[-1]
    assert isinstance(failed, WorkflowFailedEvent)
    assert (failed.step_name, str(failed.exception)) == ("work", "no 3")


class BadHandler(Workflow):
    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        raise ValueError("first")

    @catch_error
    async def rescue(self, ev: StepFailedEvent) -> StopEvent:
        raise RuntimeError("second")


async def test_a_handler_that_fails_fails_the_run(driver: Driver) -> None:
    """There is no handler for handlers: the run fails with the handler's own error."""
    failed = (await driver.see(BadHandler)).events[-1]
    assert isinstance(failed, WorkflowFailedEvent)
    assert (failed.step_name, str(failed.exception)) == ("rescue", "second")


class Done(Event):
    number: int
    ok: bool = True


class Partly(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Next]:
        return [Next(number=n) for n in range(5)]

    @step
    async def work(self, ev: Next) -> Done:
        if ev.number % 2:
            raise ValueError("odd")
        return Done(number=ev.number)

    @catch_error(for_steps=["work"])
    async def mark(self, ev: StepFailedEvent) -> Done:
        return Done(number=ev.input_event["number"], ok=False)

    @step
    async def join(self, evs: list[Done]) -> StopEvent:
        return StopEvent(result=sorted([ev.number, ev.ok] for ev in evs))


async def test_a_recovered_member_stays_in_its_stream(driver: Driver) -> None:
    """Members of a fan-out that fail and are recovered reach the join beside the others."""
    assert (await driver.see(Partly)).result == [[0, True], [1, False], [2, True], [3, False], [4, True]]


class BadReturn(Workflow):
    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        return "text" if ev.text else Next(number=1)  # type: ignore[return-value]


async def test_what_is_no_event_is_refused(driver: Driver) -> None:
    """A step that returns no event, or one that its flow does not know, fails with the step's name and the remedy."""
    seen = await driver.see(BadReturn, text=True)
    assert "step 'work' returned str, which is no Event; return one, or None" in str(seen.error)
    seen = await driver.see(BadReturn, text=False)
    assert "returned Next, which flow BadReturn does not declare; add it to the step's return" in str(seen.error)


class Awkward(Exception):
    """Cannot be built from its text, and its text cannot be had."""

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(code, detail)

    def __str__(self) -> str:
        raise RuntimeError("no text")


def deep(kind: str) -> None:
    """Fails by an error that was raised from another one, and that from a third."""
    try:
        try:
            raise KeyError("config")
        except KeyError as error:
            raise Odd("no settings") from error
    except Odd as error:
        if kind == "awkward":
            raise Awkward(7, detail="x") from error
        raise ConnectionError("cannot start") from error


class Chained(Workflow):
    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        deep(ev.kind)
        return StopEvent()


class ChainedHandled(Chained):
    @catch_error
    async def rescue(self, ev: StepFailedEvent) -> StopEvent:
        causes = [ev.exception.__cause__, ev.exception.__cause__.__cause__ if ev.exception.__cause__ else None]
        return StopEvent(result=[ev.exception_type, str(ev.exception), [repr(cause) for cause in causes], ev.attempts])


CAUSES = [
    "UnreconstructedException('no settings', original_type='tests.contract.test_failures.Odd')",
    "KeyError('config')",
]


async def test_a_handler_sees_what_an_error_was_raised_from(driver: Driver) -> None:
    """The chain of causes is there: classes of Python's own as they were, others by their names."""
    assert await (await driver.run(ChainedHandled, kind="plain")) == ["ConnectionError", "cannot start", CAUSES, 1]
    awkward = await (await driver.run(ChainedHandled, kind="awkward"))
    assert awkward == ["tests.contract.test_failures.Awkward", "(its text cannot be had: RuntimeError)", CAUSES, 1]


async def test_a_failed_run_raises_its_error_with_its_causes(driver: Driver) -> None:
    """In process the very exception; from Temporal one that names it, raised from it as far as it can be built."""
    seen = await driver.see(Chained, kind="plain")
    error = seen.error
    if driver.temporal:
        assert isinstance(error, StepFailedError)
        assert (error.step, error.event, error.exception_type, error.message, error.attempts) == (
            "work",
            "StartEvent",
            "ConnectionError",
            "cannot start",
            1,
        )
        assert "in deep" in error.traceback
        error = error.__cause__
        assert error is not None
        assert "where the step ran:" in error.__notes__[0]
        assert [repr(error.__cause__), repr(error.__cause__ and error.__cause__.__cause__)] == CAUSES
    assert repr(error) == "ConnectionError('cannot start')"
    failed = seen.events[-1]
    assert isinstance(failed, WorkflowFailedEvent)
    assert repr(failed.exception.__cause__) == CAUSES[0]
    assert failed.elapsed_seconds is not None


async def test_an_error_that_cannot_be_built_again_is_named(driver: Driver) -> None:
    """Neither a constructor that wants more than a text nor a text that cannot be had hides what happened."""
    seen = await driver.see(Chained, kind="awkward")
    failed = seen.events[-1]
    assert isinstance(failed, WorkflowFailedEvent)
    assert isinstance(failed.exception, UnreconstructedException)
    assert failed.exception.original_type == "tests.contract.test_failures.Awkward"
    assert type(seen.error).__name__ == ("StepFailedError" if driver.temporal else "Awkward")
    if driver.temporal:
        assert "Step 'work' failed on StartEvent after 1 attempt: tests.contract.test_failures.Awkward" in str(
            seen.error
        )


class Loud(Workflow):
    """Fails with a text of so many characters, which a second error is raised from."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(2)))
    async def work(self, ev: StartEvent) -> StopEvent:
        try:
            raise OSError("cause" * ev.size)
        except OSError as cause:
            raise ValueError("begin" + "\ud800" + "x" * ev.size + "end") from cause

    @catch_error
    async def rescue(self, ev: StepFailedEvent) -> StopEvent:
        text, cause = str(ev.exception), str(ev.exception.__cause__)
        assert isinstance(ev.exception, ValueError)
        assert isinstance(ev.exception.__cause__, OSError)
        assert "in work" in ev.traceback
        return StopEvent(result=[ev.attempts, len(text) + len(cause) + len(ev.traceback), text[:5], text[-3:]])


async def test_an_error_of_many_words_is_one_failure_like_any_other(driver: Driver) -> None:
    """Its text is shortened, to start and end: the retry policy holds, and the handler sees type and place."""
    attempts, length, start, end = await (await driver.run(Loud, size=2_500_000))
    assert (attempts, start, end) == (2, "begin", "end")
    assert length < 25_000
