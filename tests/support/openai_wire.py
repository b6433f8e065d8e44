"""What a scripted model server sends: its replies, in the forms of Chat Completions and of Responses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the server does with one request; made by the functions below.

    `wait` is seconds before the first byte, `token_wait` between a stream's tokens. `cut_after` ends the stream after
    that many tokens, with no finish_reason: properly (`cut="end"`), or by resetting the connection (`cut="reset"`).
    `calls` are tools to call: id, name, arguments as text; with `one_index` all are streamed as the first one.
    """

    content: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: Json | None = None
    data: Json | None = None
    finish_reason: str = "stop"
    refusal: str | None = None
    wait: float = 0.0
    token_wait: float = 0.0
    cut_after: int | None = None
    cut: str = "end"
    stream_error: Json | None = None
    stream_garbage: str = ""
    calls: tuple[Json, ...] = ()
    one_index: bool = False


def tokens(content: str) -> list[str]:
    """The words with the space before them, which joined give the text again."""
    parts = content.split(" ")
    return [part if number == 0 else f" {part}" for number, part in enumerate(parts)] if content else []


def call_deltas(reply: Reply) -> Iterator[Json]:
    """Each call as servers stream it: first its id and name, then its arguments in pieces."""
    for number, call in enumerate(reply.calls):
        index = 0 if reply.one_index else number
        yield {
            "index": index,
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": ""},
        }
        half = len(call["arguments"]) // 2
        for piece in (call["arguments"][:half], call["arguments"][half:]):
            yield {"index": index, "function": {"arguments": piece}}


def prompt_tokens(body: Json) -> int:
    """The words of all messages."""
    turns = body.get("messages") or body.get("input") or []
    return sum(len(str(message.get("content", "")).split()) for message in turns)


def response_events(reply: Reply, body: Json) -> Iterator[Json]:
    """A reply as the Responses API streams it. `stream_error` ends it as failed; `cut_after` without an end."""
    model = body.get("model")
    shell: Json = {"id": "r", "object": "response", "created_at": 0, "model": model, "output": [], "tools": []}
    yield {"type": "response.created", "response": {**shell, "status": "in_progress"}}
    where: Json = {"item_id": "m", "output_index": 0, "content_index": 0}
    kind = "refusal" if reply.refusal else "output_text"
    for number, token in enumerate(tokens(reply.refusal or reply.content)):
        if number == reply.cut_after:
            return
        yield {"type": f"response.{kind}.delta", "delta": token, "logprobs": [], **where}
    if reply.stream_error is not None:
        yield {"type": "response.failed", "response": {**shell, "status": "failed", "error": reply.stream_error}}
        return
    if reply.calls:
        sealed = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "sealed"}
        yield {"type": "response.output_item.done", "output_index": 0, "item": sealed}
    for call in reply.calls:
        item = {"type": "function_call", "call_id": call["id"], "name": call["name"], "arguments": call["arguments"]}
        yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    used = {"input_tokens": prompt_tokens(body), "output_tokens": len(tokens(reply.content)), "total_tokens": 0}
    ended: Json = {**shell, "status": "completed", "usage": used}
    if reply.finish_reason in ("length", "content_filter"):
        reason = "max_output_tokens" if reply.finish_reason == "length" else "content_filter"
        ended |= {"status": "incomplete", "incomplete_details": {"reason": reason}}
    yield {"type": f"response.{ended['status']}", "response": ended}


def usage(prompt: int, completion: int) -> Json:
    """Tokens read and written."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def chunk(model: str, delta: Json, finish_reason: str | None = None) -> Json:
    """One chunk of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": [choice]}


def completion(reply: Reply, body: Json) -> Json:
    """An answer that is not streamed."""
    message = {"role": "assistant", "content": reply.content or None, "refusal": reply.refusal}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason}],
        "usage": usage(prompt_tokens(body), len(tokens(reply.content))),
    }
