"""Chat models through the Chat Completions API, which nearly every server of models speaks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDelta, ChoiceDeltaToolCall

from activities.openai_model import OpenAIModel
from activities.partial_answer import PartialAnswer, PartialCall
from activities.strict_schema import JsonForm
from everstep.agent import ChatMessage, ToolMetadata, Usage


class OpenAIChat(OpenAIModel):
    """A chat model behind the Chat Completions API; for the arguments see `OpenAIModel`."""

    async def _receive(
        self,
        answer: PartialAnswer,
        messages: Sequence[ChatMessage],
        tools: Sequence[ToolMetadata],
        form: JsonForm | None,
    ) -> None:
        options = dict(self._sampling)
        if form is not None:
            options["response_format"] = {"type": "json_schema", "json_schema": asdict(form)}
        if tools:
            options["tools"] = [{"type": "function", "function": tool.model_dump()} for tool in tools]
        turns: list[Any] = [_turn(message) for message in messages]
        stream = await self._access.client().chat.completions.create(
            messages=turns, model=self.model, stream=True, stream_options={"include_usage": True}, **options
        )
        async with stream:
            async for chunk in stream:
                _add(answer, chunk)


def _turn(message: ChatMessage) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["content"] = message.content or None
        turn["tool_calls"] = [
            {
                "id": call.tool_id,
                "type": "function",
                "function": {"name": call.tool_name, "arguments": json.dumps(call.tool_kwargs, ensure_ascii=False)},
            }
            for call in message.tool_calls
        ]
    return turn


def _add(answer: PartialAnswer, chunk: ChatCompletionChunk) -> None:
    answer.model = chunk.model or answer.model
    if chunk.usage:
        answer.usage = Usage(prompt_tokens=chunk.usage.prompt_tokens, completion_tokens=chunk.usage.completion_tokens)
    for choice in chunk.choices:
        answer.finish_reason = choice.finish_reason or answer.finish_reason
        _add_delta(answer, choice.delta)


def _add_delta(answer: PartialAnswer, delta: ChoiceDelta) -> None:
    if delta.refusal:
        answer.refusal.append(delta.refusal)
    if delta.content:
        answer.say(delta.content)
    for part in delta.tool_calls or ():
        call = _call(answer, part)
        call.id = call.id or part.id or ""
        if part.function is not None:
            call.name = call.name or part.function.name or ""
            if part.function.arguments:
                call.arguments.append(part.function.arguments)


def _call(answer: PartialAnswer, part: ChoiceDeltaToolCall) -> PartialCall:
    """The call that a piece belongs to: the latest of its index. Where all have one index, a new id is a new call."""
    index: int | None = part.index  # which some servers leave out
    call = next((each for each in reversed(answer.calls) if index is None or each.index == index), None)
    if call is None or (part.id and call.id not in ("", part.id)):
        call = PartialCall(index=index)
        answer.calls.append(call)
    return call
