"""Chat models, through an OpenAI-compatible server: which one the environment names, and what question answering needs.

Rule: an answer is complete or an error. Answers are streamed, because only a stream tells a slow model from a dead
one, and a stream that stops without a finish reason is an error although the client raises none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from activities.chat_completions import OpenAIChat
from activities.errors import ModelAuthError, ModelRequestInvalid
from activities.openai_access import is_configured
from activities.openai_model import Completion, M, Message, OnToken, OpenAIModel
from activities.responses import OpenAIResponses
from activities.strict_schema import strict_schema
from everstep.agent import Usage

__all__ = [
    "ChatModel",
    "Completion",
    "Message",
    "OpenAIChat",
    "OpenAIModel",
    "OpenAIResponses",
    "Usage",
    "chat_model_from_env",
    "strict_schema",
]

APIS: dict[str, type[OpenAIModel]] = {"chat": OpenAIChat, "responses": OpenAIResponses}


class ChatModel(Protocol):
    """Something that continues a conversation without tools. See everstep.agent.ChatModel for one with tools."""

    async def complete(
        self, messages: Sequence[Message], *, schema: type[M] | None = None, on_token: OnToken | None = None
    ) -> Completion[M]:
        """The next message. See OpenAIModel.complete."""
        ...

    def describe(self) -> str:
        """One line for people: which model, and where it runs."""
        ...


def chat_model_from_env() -> OpenAIModel:
    """The chat model that OPENAI_API_KEY, OPENAI_BASE_URL and EVERSTEP_MODEL name.

    EVERSTEP_MODEL_API says how it is spoken to: `chat` (Chat Completions, the default) or `responses`.

    Raises:
        ModelAuthError: none is configured. activities.answering.answerer_from_env() has an answer then too.
        ModelRequestInvalid: EVERSTEP_MODEL_API names no API.
    """
    if not is_configured():
        raise ModelAuthError(
            "No chat model is configured. Set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own."
        )
    api = os.environ.get("EVERSTEP_MODEL_API") or "chat"
    if api not in APIS:
        raise ModelRequestInvalid(f"EVERSTEP_MODEL_API={api!r} is no API of models: set it to {' or '.join(APIS)}.")
    return APIS[api]()
