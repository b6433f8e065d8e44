"""Requests with a due time: answered before it, or expired, which the flow may handle."""

from datetime import UTC, datetime, timedelta

import pytest

from everstep import Workflow, step
from everstep.errors import RequestExpiredError, ResponseRefusedError
from everstep.events import HumanResponseEvent, InputExpiredEvent, InputRequiredEvent, StartEvent, StopEvent
from tests.support.drivers import Driver


class Approval(HumanResponseEvent):
    approved: bool = False


class Strict(HumanResponseEvent):
    approved: bool


class Handled(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent(due=timedelta(seconds=ev.due), prefix="Well?")

    @step
    async def end(self, ev: Approval) -> StopEvent:
        return StopEvent(result=["answered", ev.approved])

    @step
    async def late(self, ev: InputExpiredEvent) -> StopEvent:
        return StopEvent(result=["expired", ev.request_id, ev.step_name, ev.question["prefix"]])


async def test_an_answer_in_time_stops_the_clock(driver: Driver) -> None:
    """A request that is answered before it is due does not expire."""
    handler = await driver.run(Handled, due=3600)
    (request,) = await driver.open_requests(handler)
    due = datetime.fromisoformat(request["due_at"]) - datetime.fromisoformat(request["asked_at"])
    assert due == timedelta(hours=1)
    await handler.respond({"approved": True})
    assert await handler == ["answered", True]
    assert await driver.took(handler) < 60


async def test_a_step_handles_the_expiry(driver: Driver) -> None:
    """When nobody answers in time, the flow's step for it is told what was asked by whom; late answers are refused."""
    due = driver.span(0.3, 7 * 86_400)
    handler = await driver.run(Handled, due=due)
    seen = await driver.seen(handler)
    assert seen.result == ["expired", "ask-1", "ask", "Well?"]
    assert due <= await driver.took(handler) + 0.01 < due + 5
    (request,) = await handler.requests(only_open=False)
    assert (request["status"], request["answer"]) == ("expired", None)


async def test_only_the_run_itself_says_that_the_time_is_up(driver: Driver) -> None:
    """Neither the event nor an answer that says so is taken from outside; one for a step closes the request."""
    handler = await driver.run(Handled, due=3600)
    await driver.open_requests(handler)
    forged = InputExpiredEvent(request_id="ask-1", step_name="ask", due=datetime.now(UTC))
    with pytest.raises(ResponseRefusedError, match="InputExpiredEvent comes from the flow's own steps only"):
        await handler.send_event(forged)
    with pytest.raises(ResponseRefusedError, match="only the run itself says `expired`"):
        await handler.respond({"approved": True, "expired": "yes"})
    await handler.send_event(Approval(approved=True), step="end")
    assert await handler == ["answered", True]
    (request,) = await handler.requests(only_open=False)
    assert (request["status"], len(request["refused"])) == ("answered", 1)


class ByAnswer(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent(due=ev.due)

    @step
    async def end(self, ev: Approval) -> StopEvent:
        return StopEvent(result=[ev.approved, ev.expired, ev.request_id])


async def test_without_such_a_step_an_answer_says_expired(driver: Driver) -> None:
    """Where no step takes the expiry, an answer of the flow's own type comes, with its defaults and expired=True."""
    handler = await driver.run(ByAnswer, due=driver.span(0.3, 86_400.0))
    assert await handler == [False, True, "ask-1"]


class NoDefault(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent(due=ev.due)

    @step
    async def end(self, ev: Strict) -> StopEvent:
        return StopEvent(result=ev.approved)


async def test_an_expiry_that_nothing_takes_fails_clearly(driver: Driver) -> None:
    """Where no such answer can be built, the run fails; the error names request, step and the two remedies."""
    handler = await driver.run(NoDefault, due=driver.span(0.3, 86_400.0))
    with pytest.raises(RequestExpiredError, match=r"request ask-1 of step 'ask' expired at .*Add a step") as failed:
        await handler
    assert "give Strict defaults" in str(failed.value)


class Goes(Workflow):
    """Goes on after an expiry, so that late answers meet a run that is alive."""

    @step
    async def ask(self, ev: StartEvent) -> list[InputRequiredEvent]:
        return [InputRequiredEvent(due=ev.due), InputRequiredEvent()]

    @step
    async def late(self, ev: InputExpiredEvent) -> None:
        return None

    @step
    async def end(self, ev: Strict) -> StopEvent:
        return StopEvent(result=ev.approved)


async def test_a_late_answer_is_refused_and_the_run_goes_on(driver: Driver) -> None:
    """An answer to an expired request is refused with when it was due, and kept on its record."""
    due = driver.span(0.3, 3600.0)
    handler = await driver.run(Goes, due=due)
    await driver.open_requests(handler, 2)
    await driver.let_pass(due)
    await driver.open_requests(handler, 1)
    with pytest.raises(ResponseRefusedError, match=r"request ask-1 was due at .*; this answer came too late"):
        await handler.respond({"approved": False}, request="ask-1", by="bob")
    await handler.respond({"approved": True})
    assert await handler is True
    record = (await handler.requests(only_open=False))[0]
    assert (record["status"], [item["by"] for item in record["refused"]]) == ("expired", ["bob"])


class At(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent(due=datetime.now(UTC) + timedelta(seconds=ev.due))

    @step
    async def late(self, ev: InputExpiredEvent) -> StopEvent:
        return StopEvent(result=ev.due.isoformat())

    @step
    async def end(self, ev: Approval) -> StopEvent:
        return StopEvent(result=None)


async def test_a_request_may_be_due_at_a_moment(driver: Driver) -> None:
    """A due time given as a moment holds as such."""
    due = driver.span(1.5, 86_400.0)
    before = datetime.now(UTC)
    handler = await driver.run(At, due=due)
    moment = datetime.fromisoformat(await handler)
    assert timedelta(seconds=due - 1.5) <= moment - before <= timedelta(seconds=due + 5)
    assert due - 1 <= await driver.took(handler) <= due + 5
