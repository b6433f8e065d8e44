"""An agent for tests that kill: its model and tools leave a mark for each call. See durable_flows for the folder."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence

from activities.ledger import Ledger
from everstep import Context
from everstep.agent import Agent, AgentWorkflow, ChatMessage, tool
from everstep.agent.testing import ScriptedModel, Turn, calls
from tests.support.durable_flows import folder, mark


@tool
async def pay(ctx: Context, bill: int) -> str:
    """Pay a bill. That of bill 1 hangs when it runs for the first time, after it has paid."""
    ledger = Ledger(folder() / "ledger.db")
    payment = await asyncio.to_thread(ledger.pay, ctx.idempotency_key, f"order-{bill}", 100, "test")
    first = mark(f"pay-{bill}") == 0
    if bill == 1 and first:
        await asyncio.sleep(300)
    return payment.idempotency_key


@tool(approval=True)
async def close_books(ctx: Context) -> str:
    """Close the books."""
    mark("close")
    return "closed"


def _thinks(name: str, turn: Turn, _: Sequence[ChatMessage]) -> Turn:
    mark(name)
    return turn


class PayDesk(AgentWorkflow):
    """Pays three bills side by side, then closes the books once a person has agreed."""

    def __init__(self) -> None:
        turns = [calls(*(("pay", {"bill": bill}) for bill in range(3))), calls(("close_books", {})), "All paid."]
        model = ScriptedModel(*(functools.partial(_thinks, f"think-{n}", turn) for n, turn in enumerate(turns)))
        super().__init__([Agent(tools=[pay, close_books], model=model)])
