"""Chat models, through an OpenAI-compatible server.

Rule: an answer is complete or an error. Answers are streamed, because only a stream tells a slow model from a dead
one, and a stream that stops without a finish reason is an error although the client raises none.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import Any, Generic, Literal, Protocol, TypedDict, TypeVar, cast

import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import BaseModel, ValidationError

from activities.errors import ModelAuthError, ModelOutputInvalid, ModelRefused, ModelStreamCut, ModelTimeout
from activities.openai_access import OpenAIAccess, is_configured, translated
from everstep.observe.calls import LlmCall

DEFAULT_MODEL = "gpt-4.1-mini"
DEFAULT_TIMEOUT = 120.0
_SILENCE_SECONDS = 30.0

M = TypeVar("M", bound=BaseModel)


class Message(TypedDict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Usage:
    """Tokens read and written; 0 where the server does not count."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Completion(Generic[M]):
    """A model's answer. `parsed` is the text as the schema that was asked for; None when none was.

    `finish_reason` is `stop`, or `length` when the model ran out of tokens.
    """

    text: str
    model: str
    finish_reason: str
    parsed: M | None = None
    usage: Usage = Usage()


class ChatModel(Protocol):
    """Something that continues a conversation."""

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: type[M] | None = None,
        on_token: Callable[[str], None] | None = None,
    ) -> Completion[M]:
        """The next message. See OpenAIChat.complete."""
        ...

    def describe(self) -> str:
        """One line for people: which model, and where it runs."""
        ...


class OpenAIChat:
    """A chat model of OpenAI, or of any server that speaks its API. Safe to share between threads and loops.

    Args:
        model: Default: EVERSTEP_MODEL, else gpt-4.1-mini.
        api_key: Default: OPENAI_API_KEY.
        base_url: Default: OPENAI_BASE_URL, else OpenAI itself.
        timeout: Seconds for a whole answer. Default: EVERSTEP_MODEL_TIMEOUT, else 120.
        silence: Seconds between two tokens, or before the first, after which the server is given up.
        temperature: None leaves it to the server, as some models accept no other.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
        silence: float = _SILENCE_SECONDS,
        temperature: float | None = None,
    ) -> None:
        self.model = model or os.environ.get("EVERSTEP_MODEL") or DEFAULT_MODEL
        self._timeout = timeout or float(os.environ.get("EVERSTEP_MODEL_TIMEOUT") or DEFAULT_TIMEOUT)
        self._temperature = temperature
        self._access = OpenAIAccess(api_key, base_url, min(silence, self._timeout))

    def describe(self) -> str:
        """One line for people: which model, and where it runs."""
        return f"{self.model} at {self._access.base_url}"

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: type[M] | None = None,
        on_token: Callable[[str], None] | None = None,
    ) -> Completion[M]:
        """Asks for the next message and waits until it is complete.

        Args:
            messages: The conversation so far.
            schema: When given, the answer is JSON of this form, and comes parsed as well.
            on_token: Called with each piece of text as it arrives, on the running loop; keep it short.

        Raises:
            ModelStreamCut: the stream ended early. ModelTimeout: too slow. ModelOutputInvalid: not what the
            schema asks for. ModelRefused: declined. And what activities.errors names for the server's failures.

        Example:
            answer = await chat.complete([{"role": "user", "content": "Say hello."}])
        """
        options = self._options(schema)
        with LlmCall(self.model, messages, options) as call:
            completion = await self._complete(messages, options, schema, on_token)
            usage = completion.usage
            call.answered(
                completion.text,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                model=completion.model,
            )
            return completion

    async def _complete(
        self,
        messages: Sequence[Message],
        options: dict[str, Any],
        schema: type[M] | None,
        on_token: Callable[[str], None] | None,
    ) -> Completion[M]:
        answer = _Answer(self.model, on_token)
        try:
            async with asyncio.timeout(self._timeout):
                stream = await self._access.client().chat.completions.create(
                    messages=cast(list[ChatCompletionMessageParam], [*messages]),
                    model=self.model,
                    stream=True,
                    stream_options={"include_usage": True},
                    **options,
                )
                async with stream:
                    async for chunk in stream:
                        answer.add(chunk)
        except (openai.OpenAIError, TimeoutError, JSONDecodeError) as error:
            failure = translated(error, self.model)
            broke_off = isinstance(error, openai.APIConnectionError) and not isinstance(failure, ModelTimeout)
            if broke_off and answer.pieces:
                raise answer.cut_short(error) from error
            raise failure from error
        return answer.completed(schema)

    async def aclose(self) -> None:
        """Closes the running loop's connections."""
        await self._access.aclose()

    def _options(self, schema: type[BaseModel] | None) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self._temperature is not None:
            options["temperature"] = self._temperature
        if schema is not None:
            form = {"name": schema.__name__, "schema": strict_schema(schema), "strict": True}
            options["response_format"] = {"type": "json_schema", "json_schema": form}
        return options


@dataclass
class _Answer:
    """An answer while it arrives."""

    model: str
    on_token: Callable[[str], None] | None
    pieces: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Usage = Usage()

    def add(self, chunk: ChatCompletionChunk) -> None:
        """Takes in the next chunk of the stream."""
        self.model = chunk.model or self.model
        if chunk.usage:
            self.usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        for choice in chunk.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            if choice.delta.refusal:
                self.refusal.append(choice.delta.refusal)
            if choice.delta.content:
                self.pieces.append(choice.delta.content)
                if self.on_token:
                    self.on_token(choice.delta.content)

    def cut_short(self, cause: Exception | None = None) -> ModelStreamCut:
        """The error for a stream that broke off."""
        partial = "".join(self.pieces)
        why = f" ({type(cause).__name__})" if cause else ""
        return ModelStreamCut(
            f"Model {self.model}: the stream ended after {len(partial)} characters, before the model had "
            f"finished{why}. Ask again.",
            partial=partial,
        )

    def completed(self, schema: type[M] | None) -> Completion[M]:
        """The whole answer, checked."""
        text = "".join(self.pieces)
        if self.refusal:
            raise ModelRefused(f"Model {self.model} declined: {''.join(self.refusal)}")
        if self.finish_reason is None:
            raise self.cut_short()
        if self.finish_reason == "content_filter":
            raise ModelRefused(f"Model {self.model}: the server's content filter stopped the answer.")
        parsed = None if schema is None else self._parsed(text, schema)
        return Completion(text, self.model, self.finish_reason, parsed, self.usage)

    def _parsed(self, text: str, schema: type[M]) -> M:
        if self.finish_reason == "length":
            raise ModelOutputInvalid(
                f"Model {self.model}: its {schema.__name__} was cut off at its limit of tokens. Ask for less.",
                output=text,
            )
        try:
            return schema.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise ModelOutputInvalid(
                f"Model {self.model}: its answer is no {schema.__name__}: {where}: {first['msg']}.", output=text
            ) from error


def strict_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON Schema in the form that strict output asks for: no extra keys, every key required."""
    strict = _strict(model.model_json_schema())
    assert isinstance(strict, dict)
    return strict


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"$ref": node["$ref"]}  # nothing may stand beside a reference
    named = ("properties", "$defs")
    strict = {
        key: {name: _strict(part) for name, part in value.items()} if key in named else _strict(value)
        for key, value in node.items()
        if key not in ("default", "title") or not isinstance(value, str | int | float | None | list)
    }
    if strict.get("type") == "object":
        strict["additionalProperties"] = False
        strict["required"] = list(strict.get("properties", {}))
    return strict


def chat_model_from_env() -> OpenAIChat:
    """The chat model that OPENAI_API_KEY, OPENAI_BASE_URL and EVERSTEP_MODEL name.

    Raises:
        ModelAuthError: none is configured. activities.answering.answerer_from_env() has an answer then too.
    """
    if not is_configured():
        raise ModelAuthError(
            "No chat model is configured. Set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own."
        )
    return OpenAIChat()
