"""`RefundFlow`: a refund is checked against a policy, approved by a person where the policy says so, and paid once.

    check → pay                              a small refund
    check → a person → decide → pay          a larger one; denied or expired ones end with the reason

Written to be copied. What makes it hold up in production:

- Start it with a run id made of what must happen once, such as `refund-A-1001`: a second run for the same order is then
  refused, whoever sends it and however often.
- Money moves in one step that does nothing else, under `ctx.idempotency_key`: the key is the same in every attempt of
  that step, so a worker that dies after paying and before saying so pays nothing twice.
- Only a person's answer comes from outside: the other events are `from_outside = False`, so that nobody can send the
  word that a refund is cleared, nor a second order to a run that asks about the first.
- Business outcomes (refused, denied, expired) are results. Exceptions are for what is broken: those that may pass are
  retried, the others fail the run, where someone will see it.
- The request to the person carries all they need to decide, and outlives every restart; nothing polls while it waits.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from activities.errors import LedgerUnavailable
from activities.ledger import Ledger
from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, InputExpiredEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.retry_policy import (
    retry_if_exception_type,
    retry_policy,
    stop_after_delay,
    wait_exponential_jitter,
)


@dataclass(frozen=True, slots=True)
class RefundPolicy:
    """Who decides on a refund, by its amount in hundredths of the currency.

    Attributes:
        small: up to this, no person is asked.
        approvers: up to which amount which role decides, in rising order. Above the last, no refund is made here.
        answer_within: how long a person has.
        order_pattern: what an order number looks like.
    """

    small: int = 5_000
    approvers: Sequence[tuple[int, str]] = ((50_000, "support-lead"), (1_000_000, "finance"))
    answer_within: timedelta = timedelta(days=3)
    order_pattern: str = r"[A-Z]{1,3}-\d{3,12}"

    def faults(self, order: RefundRequest) -> list[str]:
        """What is wrong with an order for a refund; empty when it can be looked at."""
        found: list[str] = []
        if not re.fullmatch(self.order_pattern, order.order_id):
            found.append(f"{order.order_id!r} is no order number; one looks like A-1001")
        if order.amount_cents <= 0:
            found.append(f"{order.amount_cents} cents cannot be refunded; give more than 0")
        highest = self.approvers[-1][0] if self.approvers else self.small
        if order.amount_cents > highest:
            found.append(f"{money(order.amount_cents)} is more than the {money(highest)} that can be refunded here")
        found += [f"{name} is empty" for name in ("customer", "reason") if not getattr(order, name).strip()]
        return found

    def approver(self, amount_cents: int) -> str | None:
        """The role that decides on this amount; None when nobody needs to."""
        if amount_cents <= self.small:
            return None
        return next(role for limit, role in self.approvers if amount_cents <= limit)


class RefundRequest(StartEvent):
    """Someone wants a refund. `due` shortens or lengthens the time that a person has to decide, in seconds."""

    from_outside = False

    order_id: str
    amount_cents: int
    reason: str
    customer: str
    due: float | None = None


class RefundDecision(HumanResponseEvent):
    """What the person says. A denial needs a `comment`, as the customer will ask why."""

    approved: bool
    comment: str = ""


class RefundApproval(InputRequiredEvent):
    """Asks a person for a decision, with all that it takes to make one."""

    response_event = RefundDecision

    order_id: str
    amount: str
    reason: str
    customer: str
    refunded_before: str


class RefundCleared(Event):
    """The refund may be paid. `why` says who or what allowed it."""

    from_outside = False

    why: str


Status = Literal["paid", "refused", "denied", "expired"]


class RefundResult(StopEvent):
    """How it ended: paid, refused by the policy, denied by a person, or expired; `reason` says why.

    `payment` is the ledger's key of the payment, `paid_at` its time; both are empty unless it was paid.
    """

    from_outside = False

    status: Status
    order_id: str
    amount_cents: int
    reason: str
    payment: str = ""
    paid_at: str = ""


LEDGER_RETRIES = retry_policy(
    # Only what may pass by itself. A LedgerConflict means that someone reuses keys: retrying would hide it.
    retry=retry_if_exception_type((LedgerUnavailable, TimeoutError)),
    wait=wait_exponential_jitter(initial=0.5, max=30),
    stop=stop_after_delay(3600),
)


class RefundFlow(Workflow):
    """Decides on a refund by policy or by a person, and pays it exactly once.

    Args:
        policy: who decides on what.
        ledger: where refunds are paid; by default the file that EVERSTEP_LEDGER names.
        options: of `Workflow`.

    Example:
        handler = RefundFlow().run(
            run_id="refund-A-1001", order_id="A-1001", amount_cents=12_000, reason="arrived broken", customer="Ann"
        )
    """

    def __init__(self, policy: RefundPolicy | None = None, ledger: Ledger | None = None, **options: Any) -> None:
        super().__init__(**options)
        # Made where the worker runs, and never part of a run's state: a run outlives workers.
        self.policy = policy or RefundPolicy()
        self.ledger = ledger or Ledger()

    @step(retry_policy=LEDGER_RETRIES, timeout=60)
    async def check(self, ctx: Context, ev: RefundRequest) -> RefundCleared | RefundApproval | RefundResult:
        """Hold the order against the policy."""
        # What later steps need goes into the run's state once, instead of through every event.
        await ctx.store.set("order", ev)
        faults = self.policy.faults(ev)
        if faults:
            return await _ended(ctx, "refused", "; ".join(faults))
        # The ledger blocks for a moment, so it is called in a thread: other steps of this worker go on.
        before = await asyncio.to_thread(self.ledger.refunded, ev.order_id)
        role = self.policy.approver(ev.amount_cents)
        if role is None and before == 0:
            return RefundCleared(why=f"up to {money(self.policy.small)} needs no approval")
        return RefundApproval(
            order_id=ev.order_id,
            amount=money(ev.amount_cents),
            reason=ev.reason,
            customer=ev.customer,
            refunded_before=money(before),
            # An order that was refunded before is looked at by a person, however small this refund is.
            assignee=role or self.policy.approvers[0][1],
            due=ev.due or self.policy.answer_within,
        )

    @step
    async def decide(self, ctx: Context, ev: RefundDecision) -> RefundCleared | RefundResult:
        """Go by what the person said."""
        if not ev.approved:
            return await _ended(ctx, "denied", ev.comment or "The person who was asked gave no reason.")
        return RefundCleared(why=ev.comment or "approved by a person")

    @step
    async def expire(self, ctx: Context, ev: InputExpiredEvent) -> RefundResult:
        """Nobody decided in time. Money does not move by default."""
        return await _ended(ctx, "expired", f"Nobody decided by {ev.due:%Y-%m-%d %H:%M:%S %Z}.")

    @step(retry_policy=LEDGER_RETRIES, timeout=60)
    async def pay(self, ctx: Context, ev: RefundCleared) -> RefundResult:
        """Pay, once: whatever happens to this worker, the next attempt finds the first one's payment."""
        order: dict[str, Any] = await ctx.store.get("order")
        payment = await asyncio.to_thread(
            self.ledger.pay, ctx.idempotency_key, order["order_id"], order["amount_cents"], order["reason"]
        )
        result = await _ended(ctx, "paid", ev.why)
        result.payment = payment.idempotency_key
        result.paid_at = payment.paid_at.isoformat()
        return result


def money(cents: int) -> str:
    """An amount for people. Example: `money(123_456) == "1,234.56"`"""
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100:,}.{abs(cents) % 100:02d}"


async def _ended(ctx: Context, status: Status, reason: str) -> RefundResult:
    order: dict[str, Any] = await ctx.store.get("order")
    return RefundResult(status=status, order_id=order["order_id"], amount_cents=order["amount_cents"], reason=reason)
