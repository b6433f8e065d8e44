"""Questions to people: answered once, by whoever may, with every refused try on the record."""

from typing import Any

import pytest
from pydantic import ConfigDict

from everstep import Context, Workflow, step
from everstep.errors import ResponseRefusedError
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.handler import WorkflowHandler
from tests.support.drivers import Driver


class Approval(HumanResponseEvent):
    approved: bool
    comment: str = ""


class Approve(InputRequiredEvent):
    response_event = Approval
    amount: float


class Amount(HumanResponseEvent):
    model_config = ConfigDict(extra="forbid")

    amount: int


class HowMuch(InputRequiredEvent):
    response_event = Amount


class One(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> Approve:
        return Approve(amount=ev.amount, assignee="finance")

    @step
    async def end(self, ctx: Context, ev: Approval) -> StopEvent:
        await ctx.store.set("comment", ev.comment)
        return StopEvent(result=ev.approved)


class Three(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> list[Approve | HowMuch]:
        return [Approve(amount=1), Approve(amount=2), HowMuch()]

    @step(num_workers=1)
    async def end(self, ctx: Context, ev: Approval | Amount) -> StopEvent | None:
        answers = [*await ctx.store.get("answers", default=[]), ev.get("approved", ev.get("amount"))]
        await ctx.store.set("answers", answers)
        return StopEvent(result=answers) if len(answers) == 3 else None


async def refusal(handler: WorkflowHandler, answer: Any, **options: Any) -> str:
    """Give an answer that is refused; gives the reason."""
    with pytest.raises(ResponseRefusedError) as refused:
        await handler.respond(answer, **options)
    return refused.value.reason


async def test_a_request_tells_what_is_asked(driver: Driver) -> None:
    """An open request shows question, step, assignee and the schema of the answer; the run waits, and shows it."""
    handler = await driver.run(One, amount=12.5)
    (request,) = await driver.open_requests(handler)
    assert request["id"] == "ask-1"
    assert (request["step"], request["type"], request["assignee"]) == ("ask", "Approve", "finance")
    assert request["question"]["amount"] == 12.5
    assert (request["answer_types"], request["status"], request["due_at"]) == (["Approval"], "open", None)
    assert request["answer_schemas"]["Approval"]["properties"]["approved"]["type"] == "boolean"
    progress = await driver.in_status(handler, "waiting")
    assert progress["open_requests"] == ["ask-1"]
    await handler.respond({"approved": True})
    assert await handler is True


async def test_the_only_open_request_needs_no_id(driver: Driver) -> None:
    """One request is answered by its fields alone; the record keeps the answer, who gave it and when."""
    handler = await driver.run(One, amount=1)
    await driver.open_requests(handler)
    await handler.respond({"approved": True, "comment": "fine"}, by="ann")
    seen = await driver.seen(handler)
    assert (seen.result, seen.state) == (True, {"comment": "fine"})
    assert seen.types() == ["Approve", "StopEvent"]
    assert seen.events[0] == Approve(amount=1, assignee="finance")
    (request,) = await handler.requests(only_open=False)
    assert (request["status"], request["answered_by"]) == ("answered", "ann")
    assert request["answer"]["approved"] is True
    assert request["answered_at"] >= request["asked_at"]
    assert request["refused"] == []


async def test_an_event_answers_too(driver: Driver) -> None:
    """An answer may be given as the event itself, by respond or as any event."""
    handler = await driver.run(One, amount=1)
    await driver.open_requests(handler)
    await handler.respond(Approval(approved=False))
    assert await handler is False
    handler = await driver.run(One, amount=1)
    await driver.open_requests(handler)
    await handler.send_event(Approval(approved=True, request_id="ask-1"))
    assert await handler is True


async def test_of_several_requests_one_must_be_named(driver: Driver) -> None:
    """Without a name an answer is refused with the list of what is open; each named one closes its own."""
    handler = await driver.run(Three)
    await driver.open_requests(handler, 3)
    reason = await refusal(handler, {"approved": True})
    assert reason == 'several requests are open; name one of them as "request": ask-1, ask-2, ask-3'
    await handler.respond({"approved": True}, request="ask-2")
    await handler.respond({"amount": 7}, request="ask-3")
    assert [request["id"] for request in await driver.open_requests(handler)] == ["ask-1"]
    await handler.respond({"approved": False})
    assert await handler == [True, 7, False]


async def test_what_does_not_answer_is_refused_and_the_run_goes_on(driver: Driver) -> None:
    """Malformed, mistyped and misdirected answers are refused with the reason; all are on the record."""
    handler = await driver.run(Three)
    await driver.open_requests(handler, 3)
    missing = await refusal(handler, {}, request="ask-1", by="bob")
    assert "approved" in missing
    assert "required" in missing.lower() or "missing" in missing.lower()
    assert "approved" in await refusal(handler, {"approved": "perhaps"}, request="ask-1")
    assert "amount" in await refusal(handler, {"approved": True}, request="ask-3")
    misspelled = await refusal(handler, {"amount": 1, "commment": "fine"}, request="ask-3")
    assert "commment: Extra inputs are not permitted" in misspelled
    assert await refusal(handler, Amount(amount=1), request="ask-1") == (
        "Amount does not answer request ask-1; it takes Approval"
    )
    unknown = await refusal(handler, {"approved": True}, request="ask-9")
    assert unknown == "there is no request 'ask-9'; open are: ask-1, ask-2, ask-3"
    for request, answer in (("ask-1", {"approved": True}), ("ask-2", {"approved": True}), ("ask-3", {"amount": 1})):
        await handler.respond(answer, request=request)
    assert await handler == [True, True, 1]
    records = {request["id"]: request for request in await handler.requests(only_open=False)}
    assert [len(records[name]["refused"]) for name in ("ask-1", "ask-2", "ask-3")] == [3, 0, 2]
    first = records["ask-1"]["refused"][0]
    assert (first["by"], first["answer"], first["reason"]) == ("bob", {}, missing)
    (stray,) = (await handler.progress())["refused_messages"]
    assert (stray["message"], stray["reason"]) == ({"approved": True}, unknown)


async def test_a_request_is_answered_once(driver: Driver) -> None:
    """A second answer is refused, and told who gave the first and when; also when both come at the same time."""
    handler = await driver.run(Three)
    await driver.open_requests(handler, 3)
    await handler.respond({"approved": True}, request="ask-1", by="ann")
    reason = await refusal(handler, {"approved": False}, request="ask-1", by="bob")
    assert reason.startswith("request ask-1 was already answered at ")
    assert reason.endswith(" by ann")
    await handler.respond({"approved": True}, request="ask-2")
    await handler.respond({"amount": 3}, request="ask-3")
    assert await handler == [True, True, 3]
    (record,) = [item for item in await handler.requests(only_open=False) if item["id"] == "ask-1"]
    assert (record["answer"]["approved"], record["answered_by"]) == (True, "ann")
    assert [(item["by"], item["reason"]) for item in record["refused"]] == [("bob", reason)]


async def test_a_run_that_has_ended_takes_no_answer(driver: Driver) -> None:
    """An answer after the end is refused and says that the run has ended."""
    handler = await driver.run(One, amount=1)
    await driver.open_requests(handler)
    await handler.respond({"approved": True})
    assert await handler is True
    reason = await refusal(handler, {"approved": True})
    assert "has ended" in reason or "has completed" in reason


async def test_an_answer_without_a_question_is_refused(driver: Driver) -> None:
    """While nothing is asked, there is nothing to answer."""
    handler = await driver.run(Three)
    await driver.open_requests(handler, 3)
    for request in ("ask-1", "ask-2"):
        await handler.respond({"approved": True}, request=request)
    reason = await refusal(handler, {"approved": True}, request="ask-2")
    assert "already answered" in reason
    await handler.respond({"amount": 5})
    assert await handler == [True, True, 5]


class InTurn(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> Approve:
        return Approve(amount=1)

    @step
    async def again(self, ctx: Context, ev: Approval) -> Approve | StopEvent:
        said = [*await ctx.store.get("said", default=[]), ev.approved]
        await ctx.store.set("said", said)
        return StopEvent(result=said) if ev.approved else Approve(amount=len(said) + 1)


async def test_a_step_may_ask_again(driver: Driver) -> None:
    """Each question is a request of its own, numbered per step; one answer closes one."""
    handler = await driver.run(InTurn)
    for name, approved in (("ask-1", False), ("again-1", False), ("again-2", True)):
        (request,) = await driver.open_requests(handler)
        assert request["id"] == name
        await handler.respond({"approved": approved}, request=name)
    assert await handler == [False, False, True]


class Haggle(Workflow):
    """Asks for an amount; what is more than was asked about is refused."""

    def check_answer(self, question: Event, answer: Event) -> None:
        if isinstance(question, Approve) and answer["amount"] > question.amount:
            raise ValueError(f"{answer['amount']} is more than {question.amount:g}")

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        answer = await ctx.wait_for_event(Amount, waiter_event=Approve(amount=ev.amount))
        return StopEvent(result=answer.amount)


async def test_a_flow_may_hold_answers_against_what_was_asked(driver: Driver) -> None:
    """What `check_answer` raises is the reason for which the answer is refused; the request stays open."""
    handler = await driver.run(Haggle, amount=10)
    await driver.open_requests(handler)
    assert await refusal(handler, {"amount": 12}) == "12 is more than 10"
    assert "amount" in await refusal(handler, {})
    await handler.respond({"amount": 9})
    assert await handler == 9
