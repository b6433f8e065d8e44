"""What the two APIs of OpenAI-compatible servers have in common: settings, time limits, errors, checked answers."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any, Generic, Literal, TypedDict, TypeVar

import openai
from pydantic import BaseModel, ValidationError

from activities.errors import ModelOutputInvalid, ModelTimeout
from activities.openai_access import OpenAIAccess, translated
from activities.partial_answer import PartialAnswer
from activities.spending import spend
from activities.strict_schema import JsonForm
from everstep.agent import ChatAnswer, ChatMessage, ToolMetadata, Usage
from everstep.observe import LlmCall

DEFAULT_MODEL = "gpt-4.1-mini"
DEFAULT_TIMEOUT = 120.0
_SILENCE_SECONDS = 30.0

M = TypeVar("M", bound=BaseModel)
OnToken = Callable[[str], None]


class Message(TypedDict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Completion(Generic[M]):
    """A model's answer. `parsed` is the text as the schema that was asked for; None when none was.

    `finish_reason` is `stop`, or `length` when the model ran out of tokens.
    """

    text: str
    model: str
    finish_reason: str
    parsed: M | None = None
    usage: Usage = Usage()  # noqa: RUF009  it is frozen


class OpenAIModel(ABC):
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
        self._sampling: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
        self._access = OpenAIAccess(api_key, base_url, min(silence, self._timeout))

    def describe(self) -> str:
        """One line for people: which model, and where it runs."""
        return f"{self.model} at {self._access.base_url}"

    async def chat(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[ToolMetadata] = (),
        schema: type[BaseModel] | JsonForm | None = None,
        on_token: OnToken | None = None,
    ) -> ChatAnswer:
        """Asks for the next message and waits until it is complete; see everstep.agent.ChatModel.

        Raises:
            ModelStreamCut: the stream ended early. ModelTimeout: too slow. ModelOutputInvalid: cut off at the limit
            of tokens within JSON. ModelRefused: declined. And what activities.errors names for the server's failures.
        """
        form = None if schema is None else JsonForm.of(schema)
        with LlmCall(self.model, messages, self._parameters(tools, form), tools) as call:
            answer = await self._ask(messages, tools, form, on_token)
            usage, said = answer.usage, answer.message
            spend(usage)
            call.answered(
                said.content,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                model=answer.model,
                tool_calls=[(called.tool_name, called.tool_kwargs, called.tool_id) for called in said.tool_calls],
            )
            return answer

    async def _ask(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[ToolMetadata],
        form: JsonForm | None,
        on_token: OnToken | None,
    ) -> ChatAnswer:
        answer = PartialAnswer(self.model, on_token)
        try:
            async with asyncio.timeout(self._timeout):
                await self._receive(answer, messages, tools, form)
        except (openai.OpenAIError, TimeoutError, JSONDecodeError) as error:
            failure = translated(error, self.model)
            broke_off = isinstance(error, openai.APIConnectionError) and not isinstance(failure, ModelTimeout)
            if broke_off and answer.begun:
                raise answer.cut_short(error) from error
            raise failure from error
        return answer.completed(whole=None if form is None else form.name)

    async def complete(
        self, messages: Sequence[Message], *, schema: type[M] | None = None, on_token: OnToken | None = None
    ) -> Completion[M]:
        """Asks for the next message of a conversation without tools, and waits until it is complete.

        Args:
            messages: The conversation so far.
            schema: When given, the answer is JSON of this form, and comes parsed as well.
            on_token: Called with each piece of text as it arrives, on the running loop; keep it short.

        Raises:
            ModelOutputInvalid: not what the schema asks for. And what `chat` raises.

        Example:
            answer = await chat.complete([{"role": "user", "content": "Say hello."}])
        """
        turns = [ChatMessage(role=message["role"], content=message["content"]) for message in messages]
        answer = await self.chat(turns, schema=schema, on_token=on_token)
        text = answer.message.content
        parsed = None if schema is None else _parsed(text, schema, answer.model)
        return Completion(text, answer.model, answer.finish_reason, parsed, answer.usage)

    async def aclose(self) -> None:
        """Closes the running loop's connections."""
        await self._access.aclose()

    def _parameters(self, tools: Sequence[ToolMetadata], form: JsonForm | None) -> dict[str, Any]:
        """What else is asked for, for traces."""
        told = dict(self._sampling)
        if tools:
            told["tools"] = [tool.name for tool in tools]
        return told if form is None else {**told, "schema": form.name}

    @abstractmethod
    async def _receive(
        self,
        answer: PartialAnswer,
        messages: Sequence[ChatMessage],
        tools: Sequence[ToolMetadata],
        form: JsonForm | None,
    ) -> None:
        """Ask, and put all that arrives into the answer."""


def _parsed(text: str, schema: type[M], model: str) -> M:
    try:
        return schema.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ModelOutputInvalid(
            f"Model {model}: its answer is no {schema.__name__}: {where}: {first['msg']}.", output=text
        ) from error
