"""Refunds are decided by policy or by a person, and paid once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from activities.errors import LedgerUnavailable
from activities.ledger import Ledger, Payment
from everstep.errors import ResponseRefusedError, WorkflowRuntimeError
from everstep.events import Event, InputExpiredEvent, StopEvent
from everstep.handler import WorkflowHandler
from workflows.approval import (
    RefundApproval,
    RefundCleared,
    RefundDecision,
    RefundFlow,
    RefundPolicy,
    RefundRequest,
    RefundResult,
    money,
)

SMALL: dict[str, Any] = {"order_id": "A-1001", "amount_cents": 4_200, "reason": "arrived broken", "customer": "Ann"}
LARGE: dict[str, Any] = {**SMALL, "amount_cents": 42_000}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger of the test's own."""
    return Ledger(tmp_path / "ledger.db")


async def asked(handler: WorkflowHandler) -> RefundApproval:
    """The request that a run makes."""
    async for event in handler.stream_events():
        if isinstance(event, RefundApproval):
            return event
    raise AssertionError("the run asked nobody")


async def test_a_small_refund_is_paid_without_asking(ledger: Ledger) -> None:
    """Up to the policy's limit nobody is asked, and the ledger has one payment."""
    result: RefundResult = await RefundFlow(ledger=ledger).run(**SMALL)
    assert result.status == "paid"
    assert [(p.order_id, p.amount_cents, p.idempotency_key) for p in ledger.payments()] == [
        ("A-1001", 4_200, result.payment)
    ]


async def test_a_large_refund_is_paid_once_a_person_has_approved(ledger: Ledger) -> None:
    """The role that decides on the amount is asked, with all there is to know, and nothing is paid before."""
    handler = RefundFlow(ledger=ledger).run(**LARGE)
    request = await asked(handler)
    assert (request.assignee, request.amount, request.refunded_before) == ("support-lead", "420.00", "0.00")
    assert ledger.payments() == []
    await handler.respond({"approved": True, "comment": "seen the photos"}, by="lea")
    result: RefundResult = await handler
    assert (result.status, result.reason) == ("paid", "seen the photos")
    assert len(ledger.payments()) == 1


async def test_a_denied_refund_ends_with_the_reason(ledger: Ledger) -> None:
    """A person's no ends the run; nothing is paid."""
    handler = RefundFlow(ledger=ledger).run(**LARGE)
    await asked(handler)
    await handler.respond({"approved": False, "comment": "worn for a year"})
    result: RefundResult = await handler
    assert (result.status, result.reason) == ("denied", "worn for a year")
    assert ledger.payments() == []


async def test_a_refund_that_nobody_decides_on_expires(ledger: Ledger) -> None:
    """When the time is up, the run ends and says so; nothing is paid."""
    result: RefundResult = await RefundFlow(ledger=ledger).run(**LARGE, due=0.05)
    assert result.status == "expired"
    assert "Nobody decided by" in result.reason
    assert ledger.payments() == []


async def test_a_second_answer_is_refused(ledger: Ledger) -> None:
    """Approving twice pays once: the second answer finds no open request."""
    handler = RefundFlow(ledger=ledger).run(**LARGE)
    await asked(handler)
    await handler.respond({"approved": True})
    with pytest.raises(ResponseRefusedError):
        await handler.respond({"approved": True})
    await handler
    assert len(ledger.payments()) == 1


async def test_an_answer_that_says_nothing_is_refused_and_the_request_stays(ledger: Ledger) -> None:
    """An answer without `approved` is refused with the reason; a proper one still counts."""
    handler = RefundFlow(ledger=ledger).run(**LARGE)
    await asked(handler)
    with pytest.raises(ResponseRefusedError, match="approved"):
        await handler.respond({"comment": "hm"})
    await handler.respond({"approved": False, "comment": "no"})
    assert (await handler).status == "denied"


async def test_an_order_that_was_refunded_before_is_looked_at_by_a_person(ledger: Ledger) -> None:
    """A second small refund for an order is not waved through."""
    await RefundFlow(ledger=ledger).run(**SMALL)
    handler = RefundFlow(ledger=ledger).run(**SMALL)
    request = await asked(handler)
    assert (request.refunded_before, request.assignee) == ("42.00", "support-lead")
    await handler.respond({"approved": False, "comment": "already refunded"})
    assert (await handler).status == "denied"
    assert len(ledger.payments()) == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"order_id": "broken"}, "no order number"),
        ({"amount_cents": 0}, "more than 0"),
        ({"amount_cents": -5}, "more than 0"),
        ({"amount_cents": 2_000_000}, "20,000.00 is more than the 10,000.00"),
        ({"customer": " "}, "customer is empty"),
        ({"reason": ""}, "reason is empty"),
    ],
)
async def test_a_bad_order_is_refused_with_the_reason(ledger: Ledger, wrong: dict[str, Any], said: str) -> None:
    """What cannot be refunded is refused before anybody is asked."""
    result: RefundResult = await RefundFlow(ledger=ledger).run(**{**SMALL, **wrong})
    assert result.status == "refused"
    assert said in result.reason
    assert ledger.payments() == []


async def test_an_order_without_its_fields_does_not_start() -> None:
    """A request that lacks fields is refused where it is made, naming them."""
    with pytest.raises(WorkflowRuntimeError, match="amount_cents"):
        RefundFlow().run(order_id="A-1001")


@pytest.mark.parametrize(
    "forged",
    [
        RefundCleared(why="me"),
        RefundRequest(**{**SMALL, "reason": "another"}),
        RefundResult(status="paid", reason="me", order_id="A-1001", amount_cents=1),
        StopEvent(result="paid"),
        InputExpiredEvent(request_id="check-1", step_name="check", due=datetime.now(UTC)),
        RefundDecision(approved=True, expired=True),
    ],
    ids=lambda event: type(event).__name__,
)
async def test_nobody_outside_decides_but_by_an_answer(ledger: Ledger, forged: Event) -> None:
    """What would pay or end the refund past the person who is asked is refused, and the question stays open."""
    handler = RefundFlow(ledger=ledger).run(**LARGE)
    await asked(handler)
    with pytest.raises(ResponseRefusedError):
        await handler.send_event(forged)
    await handler.send_event(RefundDecision(approved=False), step="decide")
    assert (await handler).status == "denied"
    assert [request["status"] for request in await handler.requests(only_open=False)] == ["answered"]
    assert ledger.payments() == []


class Stuttering(Ledger):
    """A ledger whose connection breaks after it has paid, twice."""

    breaks = 2

    def pay(
        self, idempotency_key: str, order_id: str, amount_cents: int, reason: str, *, at_most: int | None = None
    ) -> Payment:
        """Pay, and then lose the answer."""
        payment = super().pay(idempotency_key, order_id, amount_cents, reason, at_most=at_most)
        if self.breaks:
            self.breaks -= 1
            raise LedgerUnavailable("the connection broke after the payment")
        return payment


async def test_a_payment_whose_answer_was_lost_is_not_made_again(tmp_path: Path) -> None:
    """The step is tried again under the same key, and the ledger has one payment."""
    ledger = Stuttering(tmp_path / "ledger.db")
    result: RefundResult = await RefundFlow(ledger=ledger).run(**SMALL)
    assert result.status == "paid"
    assert ledger.breaks == 0
    assert len(ledger.payments()) == 1


def test_the_policy_names_the_role_that_decides() -> None:
    """Amounts lead to roles at their limits."""
    policy = RefundPolicy(small=100, approvers=((500, "lead"), (1_000, "chief")))
    assert [policy.approver(cents) for cents in (100, 101, 500, 501, 1_000)] == [None, "lead", "lead", "chief", "chief"]


def test_money_is_written_for_people() -> None:
    """Cents become units with two digits."""
    assert [money(cents) for cents in (5, 1_000, 123_456, -250)] == ["0.05", "10.00", "1,234.56", "-2.50"]
