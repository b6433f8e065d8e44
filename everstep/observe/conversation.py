"""What spans say of a conversation with a model, by OpenInference's names; messages may be of any type."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from everstep.observe import describe, names

ToolCall = tuple[str, Any] | tuple[str, Any, str]
"""A tool that a model wants to be called: its name, its arguments, and what tells the call from others."""

_ANSWER = names.LLM_OUTPUT_MESSAGE.format(0)


def text(message: Any) -> str:
    """The text of a message; JSON of what is none."""
    value = _field(message, "content")
    return value if isinstance(value, str) else _json(value) if value else ""


def message(number: int, given: Any) -> dict[str, Any]:
    """A message that a model reads: who says what, which tools it called, or which call it is the result of."""
    at = names.LLM_INPUT_MESSAGE.format(number)
    told = {at + names.MESSAGE_ROLE: str(_field(given, "role") or ""), at + names.MESSAGE_CONTENT: _shown(text(given))}
    answers = _field(given, "tool_call_id")
    if answers:
        told[at + names.MESSAGE_TOOL_CALL_ID] = str(answers)
    calls = [
        (str(_field(call, "tool_name") or ""), _field(call, "tool_kwargs"), str(_field(call, "tool_id") or ""))
        for call in _field(given, "tool_calls") or ()
    ]
    return told | _names(at, calls) | _arguments(at, calls)


def tool(given: Any) -> str:
    """A tool that a model may ask for, as most servers take it."""
    function = {name: _field(given, name) for name in ("name", "description", "parameters")}
    return _shown(_json({"type": "function", "function": function}))


def answer(said: str) -> dict[str, Any]:
    """What the model wrote."""
    return {_ANSWER + names.MESSAGE_ROLE: "assistant", _ANSWER + names.MESSAGE_CONTENT: _shown(said)}


def tools_asked(calls: Sequence[ToolCall]) -> dict[str, Any]:
    """The tools that the model wants to be called."""
    return _names(_ANSWER, calls)


def tool_arguments(calls: Sequence[ToolCall]) -> dict[str, Any]:
    """With which arguments."""
    return _arguments(_ANSWER, calls)


def _names(at: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for number, (name, _, *rest) in enumerate(calls):
        told[at + names.MESSAGE_TOOL_NAME.format(number)] = name
        if rest and rest[0]:
            told[at + names.MESSAGE_TOOL_ID.format(number)] = rest[0]
    return told


def _arguments(at: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    key = at + names.MESSAGE_TOOL_ARGUMENTS
    return {key.format(number): _shown(_json(call[1])) for number, call in enumerate(calls)}


def _field(given: Any, name: str) -> Any:
    return cast("Mapping[str, Any]", given).get(name) if isinstance(given, Mapping) else getattr(given, name, None)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _shown(said: str) -> str:
    return describe.shortened(said)
