"""The conversation as a model gets it: as many of its latest messages as a budget of tokens allows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

from pydantic import BaseModel

from everstep.agent.messages import ChatMessage, ToolMetadata

TokenCounter = Callable[[str], int]

CORRECTION = "correction"
"""Marks, in a message's `extra`, what was said to a model about its answer: it belongs to the turn before."""

LEFT_OUT = "[left out: about {} tokens]"
"""What a model reads in place of a tool's output that its budget has no room for."""


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has: one for four bytes, which errs on the high side for English."""
    return math.ceil(len(text.encode()) / 4)


def message_tokens(message: ChatMessage, count: TokenCounter = estimated_tokens) -> int:
    """How many tokens a message takes, with what stands around it."""
    calls = "".join(f"{call.tool_name}{call.tool_kwargs}" for call in message.tool_calls)
    return 4 + count(message.content) + (count(calls) if calls else 0)


def tokens_beside(
    system: Sequence[ChatMessage],
    tools: Sequence[ToolMetadata],
    schema: type[BaseModel] | None,
    count: TokenCounter = estimated_tokens,
) -> int:
    """How many tokens of a request are taken by all that is not the conversation: prompt, tools, the answer's form."""
    forms = [tool.model_dump(mode="json") for tool in tools]
    if schema is not None:
        forms.append(schema.model_json_schema())
    return sum(message_tokens(each, count) for each in system) + sum(count(json.dumps(form)) for form in forms)


def within_budget(
    history: Sequence[ChatMessage], budget: int, count: TokenCounter = estimated_tokens
) -> list[ChatMessage]:
    """The latest messages that fit, beginning with what a user said.

    A turn is what a user said and all that followed. One that does not fit is kept without its oldest outputs of tools,
    in whose place `LEFT_OUT` stands: calls are never parted from their results. If that does not do, it and all before
    it are forgotten. Of the last turn, what the model has not answered yet is kept whole, whatever its size.

    Args:
        history: the conversation, without system messages.
        budget: how many tokens it may have.
        count: counts the tokens of a text.
    """
    kept: list[ChatMessage] = []
    room = budget
    for turn in reversed(_turns(history)):
        fitted = _fitted(turn, room, count, len(turn) if kept else _newest_round(turn))
        size = sum(message_tokens(message, count) for message in fitted)
        if kept and size > room:
            break
        room -= size
        kept = [*fitted, *kept]
    return kept


def _fitted(turn: Sequence[ChatMessage], room: int, count: TokenCounter, until: int) -> list[ChatMessage]:
    """The turn, without as many outputs of tools as it must lose to fit; none is lost from message `until` on."""
    fitted = list(turn)
    excess = sum(message_tokens(message, count) for message in turn) - room
    for at, message in enumerate(turn[:until]):
        if excess <= 0:
            break
        if message.role == "tool":
            brief = message.model_copy(update={"content": LEFT_OUT.format(count(message.content))})
            saved = message_tokens(message, count) - message_tokens(brief, count)
            if saved > 0:  # short ones, and those that are left out already, stay as they are
                fitted[at] = brief
                excess -= saved
    return fitted


def _newest_round(turn: Sequence[ChatMessage]) -> int:
    """Where the last message stands by which a model asked for tools."""
    return max((at for at, message in enumerate(turn) if message.tool_calls), default=len(turn))


def _turns(history: Sequence[ChatMessage]) -> list[list[ChatMessage]]:
    turns: list[list[ChatMessage]] = []
    for message in history:
        if (message.role == "user" and not message.extra.get(CORRECTION)) or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns
