"""The conversation as a model gets it: as many of its latest messages as a budget of tokens allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from everstep.agent.messages import ChatMessage

TokenCounter = Callable[[str], int]

CORRECTION = "correction"
"""Marks, in a message's `extra`, what was said to a model about its answer: it belongs to the turn before."""


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has: one for four bytes, which errs on the high side for English."""
    return math.ceil(len(text.encode()) / 4)


def message_tokens(message: ChatMessage, count: TokenCounter = estimated_tokens) -> int:
    """How many tokens a message takes, with what stands around it."""
    calls = "".join(f"{call.tool_name}{call.tool_kwargs}" for call in message.tool_calls)
    return 4 + count(message.content) + (count(calls) if calls else 0)


def within_budget(
    history: Sequence[ChatMessage], budget: int, count: TokenCounter = estimated_tokens
) -> list[ChatMessage]:
    """The latest messages that fit, beginning with what a user said; the last turn is kept whole, whatever its size.

    A turn is what a user said and all that followed: calls of tools are never parted from their results.

    Args:
        history: the conversation, without system messages.
        budget: how many tokens it may have.
        count: counts the tokens of a text.
    """
    kept: list[ChatMessage] = []
    used = 0
    for turn in reversed(_turns(history)):
        size = sum(message_tokens(message, count) for message in turn)
        if kept and used + size > budget:
            break
        used += size
        kept = [*turn, *kept]
    return kept


def _turns(history: Sequence[ChatMessage]) -> list[list[ChatMessage]]:
    turns: list[list[ChatMessage]] = []
    for message in history:
        if (message.role == "user" and not message.extra.get(CORRECTION)) or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns
