"""Chat models through OpenAI's Responses API. The server keeps nothing: each call brings the whole conversation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from openai.types.responses import Response, ResponseFunctionToolCall, ResponseReasoningItem, ResponseStreamEvent

from activities.errors import ModelRateLimited, ModelUnavailable
from activities.openai_access import of_code
from activities.openai_model import OpenAIModel
from activities.partial_answer import PartialAnswer, PartialCall
from activities.strict_schema import JsonForm
from everstep.agent import ChatMessage, ToolMetadata, Usage

_REASONING = "reasoning"
"""Where a message keeps what a model thought before it, sealed; the model wants it back with the message."""

_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}


class OpenAIResponses(OpenAIModel):
    """A chat model behind the Responses API; for the arguments see `OpenAIModel`."""

    async def _receive(
        self,
        answer: PartialAnswer,
        messages: Sequence[ChatMessage],
        tools: Sequence[ToolMetadata],
        form: JsonForm | None,
    ) -> None:
        options = dict(self._sampling)
        if form is not None:
            options["text"] = {"format": {"type": "json_schema", **asdict(form)}}
        if tools:
            # Strict tools know no optional arguments.
            options["tools"] = [{"type": "function", "strict": False, **tool.model_dump()} for tool in tools]
        turns: Any = [item for message in messages for item in _items(message)]
        stream = await self._access.client().responses.create(
            input=turns,
            model=self.model,
            stream=True,
            store=False,
            include=["reasoning.encrypted_content"],
            **options,
        )
        async with stream:
            async for event in stream:
                _add(answer, event)


def _items(message: ChatMessage) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content}]
    items: list[dict[str, Any]] = [*message.extra.get(_REASONING, ())]
    if message.content or not message.tool_calls:
        items.append({"role": message.role, "content": message.content})
    items += [
        {
            "type": "function_call",
            "call_id": call.tool_id,
            "name": call.tool_name,
            "arguments": json.dumps(call.tool_kwargs, ensure_ascii=False),
        }
        for call in message.tool_calls
    ]
    return items


def _add(answer: PartialAnswer, event: ResponseStreamEvent) -> None:
    match event.type:
        case "response.output_text.delta":
            answer.say(event.delta)
        case "response.refusal.delta":
            answer.refusal.append(event.delta)
        case "response.output_item.done":
            _add_item(answer, event.item)
        case "response.completed" | "response.incomplete":
            _end(answer, event.response)
        case "response.failed":
            error = event.response.error
            raise _failure(answer, error.code if error else None, error.message if error else "it failed")
        case "error":
            raise _failure(answer, event.code, event.message)
        case _:
            pass  # what a model thinks, and the beginnings and ends of parts


def _add_item(answer: PartialAnswer, item: object) -> None:
    if isinstance(item, ResponseFunctionToolCall):
        answer.calls.append(PartialCall(item.call_id, item.name, [item.arguments]))
    elif isinstance(item, ResponseReasoningItem) and item.encrypted_content:
        data = item.model_dump(mode="json", include={"id", "type", "summary", "encrypted_content"})
        answer.extra.setdefault(_REASONING, []).append(data)


def _end(answer: PartialAnswer, response: Response) -> None:
    answer.model = response.model or answer.model
    if response.usage:
        answer.usage = Usage(prompt_tokens=response.usage.input_tokens, completion_tokens=response.usage.output_tokens)
    details = response.incomplete_details
    if response.status == "incomplete" and details is not None:
        # Any other reason means that the model had not finished, which an answer without a reason says.
        answer.finish_reason = _INCOMPLETE.get(details.reason or "")
    else:
        answer.finish_reason = "tool_calls" if answer.calls else "stop"


def _failure(answer: PartialAnswer, code: str | None, message: str) -> Exception:
    """The error for a response that failed while it was streamed."""
    known = of_code(code, message, answer.model)
    if known is not None:
        return known
    kind = ModelRateLimited if code == "rate_limit_exceeded" else ModelUnavailable
    return kind(f"Model {answer.model}: {message}")
