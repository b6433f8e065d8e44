"""A model's part at the support desk, for the scripted server: simple rules in place of a language model."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.fake_openai import RecordedRequest, Reply, text, tool_calls


def play(request: RecordedRequest) -> Reply:
    """Hands over by keywords, looks an order up before it refunds, searches before it answers, then says the result."""
    messages: list[dict[str, Any]] = request.body["messages"]
    asked = next(m["content"] for m in reversed(messages) if m["role"] == "user")
    since = messages[max(n for n, m in enumerate(messages) if m["role"] == "user") + 1 :]
    names = {each["function"]["name"] for each in request.body.get("tools", ())}
    done = {call["function"]["name"]: message for message in since for call in message.get("tool_calls") or ()}
    told = [message["content"] for message in since if message["role"] == "tool"]
    order = re.search(r"[A-Z]-\d{4}", json.dumps([m.get("content") for m in messages if m["role"] == "user"]))
    if "find_order" in names:
        return _billing(asked, order[0] if order else "", done, told)
    if "search_handbook" in names:
        if "search_handbook" not in done:
            return tool_calls(("search_handbook", {"query": asked}))
        return text(f"The handbook says: {told[-1].splitlines()[1]} [1]")
    to_agent = "billing" if re.search("order|refund|broken|back", asked) else "knowledge"
    return tool_calls(("handoff", {"to_agent": to_agent, "reason": f"the customer asks: {asked}"}))


def _billing(asked: str, order: str, done: dict[str, Any], told: list[str]) -> Reply:
    if "handbook" in asked and "handoff" not in done:
        return tool_calls(("handoff", {"to_agent": "knowledge", "reason": "a question about the rules"}))
    if "find_order" not in done:
        return tool_calls(("find_order", {"order_id": order}))
    if "refund" not in done and re.search("refund|back", asked):
        found = json.loads(told[-1])
        amount = re.search(r"(\d+) cents", asked)
        cents = int(amount[1]) if amount else found["amount_cents"]
        return tool_calls(("refund", {"order_id": order, "amount_cents": cents, "reason": asked}))
    return text(f"Here is what came of it: {told[-1]}")
