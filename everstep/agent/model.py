"""`ChatModel`: what an agent needs of a chat model. Nothing here knows a provider."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pydantic import BaseModel

from everstep.agent.messages import ChatMessage, ToolMetadata, Usage
from everstep.errors import StepTimeoutError
from everstep.retry_policy import (
    retry_if_exception,
    retry_policy,
    stop_after_attempt,
    wait_exponential_jitter,
    wait_retry_after,
)

NO_USAGE = Usage()


@dataclass(frozen=True)
class ChatAnswer:
    """A model's next message, complete.

    Attributes:
        message: an assistant's: text, tools to call, or both.
        usage: the tokens of this call.
        finish_reason: `stop`, `tool_calls`, or `length` where the model ran out of tokens.
        model: what answered, as the server names it.
    """

    message: ChatMessage
    usage: Usage = NO_USAGE
    finish_reason: str = "stop"
    model: str = ""


@runtime_checkable
class ChatModel(Protocol):
    """Something that continues a conversation and may ask for tools.

    An error that it raises may have an attribute `retryable`: whether the same call can succeed later as it is; and
    `retry_after`: the seconds that the server asked to wait. A model never retries by itself: its step does.
    """

    async def chat(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[ToolMetadata] = (),
        schema: type[BaseModel] | None = None,
        on_token: Callable[[str], None] | None = None,
    ) -> ChatAnswer:
        """The next message, once it is complete.

        Args:
            messages: the conversation so far, the system's message first.
            tools: what the model may ask to be called.
            schema: the form of an answer that is text: JSON of this model. Whoever asks checks it.
            on_token: called with each piece of text as it arrives, on the running loop; keep it short.
        """
        ...

    def describe(self) -> str:
        """One line for people: which model, and where it runs."""
        ...


def may_pass(error: BaseException) -> bool:
    """Whether an error may be gone at the next try: as it says itself, else where it is of the network or of time."""
    said = getattr(error, "retryable", None)
    return said if isinstance(said, bool) else isinstance(error, OSError | TimeoutError | StepTimeoutError)


MODEL_RETRIES = retry_policy(
    retry=retry_if_exception(may_pass),
    # A server that says when to come back is asked again then; another after 1, 2, 4 … seconds.
    wait=wait_retry_after(fallback=wait_exponential_jitter(initial=1, max=30), max=300),
    stop=stop_after_attempt(8),
)
"""What the step that calls a model does about its errors."""
