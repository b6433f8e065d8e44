"""`ScriptedModel`: a chat model that says what it was told to say, for tests and for trying out a flow offline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from everstep.agent.errors import AgentError
from everstep.agent.memory import message_tokens
from everstep.agent.messages import ChatMessage, ToolMetadata, ToolSelection, Usage
from everstep.agent.model import ChatAnswer

Turn = str | ChatMessage | BaseModel | Callable[[Sequence[ChatMessage]], "Turn"]


@dataclass(frozen=True)
class ModelRequest:
    """What a scripted model was asked."""

    messages: list[ChatMessage]
    tools: list[ToolMetadata]
    schema: type[BaseModel] | None

    def said(self, role: str) -> list[str]:
        """The texts of all messages of a role."""
        return [message.content for message in self.messages if message.role == role]


class ScriptedModel:
    """Gives the n-th answer of its script where a conversation has n-1 answers already, so that retries do not count.

    Args:
        turns: each a text, calls of tools (see `calls`), an object whose JSON is the answer, or a function of the
            messages that gives one of these or raises.

    Attributes:
        requests: what it was asked, in order.

    Example:
        >>> model = ScriptedModel(calls(("add", {"a": 7, "b": 5})), "It is 12.")
        >>> print(await AgentWorkflow.from_tools([add], model).run(user_msg="What is 7 + 5?"))
        It is 12.
    """

    def __init__(self, *turns: Turn) -> None:
        self._turns = turns
        self._lock = threading.Lock()
        self.requests: list[ModelRequest] = []

    def describe(self) -> str:
        """One line for people."""
        return f"a script of {len(self._turns)} answers"

    async def chat(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[ToolMetadata] = (),
        schema: type[BaseModel] | None = None,
        on_token: Callable[[str], None] | None = None,
    ) -> ChatAnswer:
        """The next answer of the script; see `ChatModel.chat`."""
        with self._lock:
            self.requests.append(ModelRequest([*messages], [*tools], schema))
        number = sum(message.role == "assistant" for message in messages)
        if number >= len(self._turns):
            raise AgentError(
                f"The script of a ScriptedModel ends after {len(self._turns)} turns, and this conversation asks for "
                f"turn {number + 1}. Give it one more turn; one that is a function answers once, too."
            )
        message = _message(self._turns[number], messages)
        if on_token and message.content:
            for word in message.content.splitlines(keepends=True):
                on_token(word)
        read = sum(map(message_tokens, messages))
        usage = Usage(prompt_tokens=read, completion_tokens=message_tokens(message))
        return ChatAnswer(message, usage, "tool_calls" if message.tool_calls else "stop", "scripted")


def calls(*wanted: tuple[str, Mapping[str, Any]], text: str = "") -> ChatMessage:
    """An answer that asks for tools, each by its name and arguments."""
    selections = [ToolSelection(tool_id="", tool_name=name, tool_kwargs=dict(given)) for name, given in wanted]
    return ChatMessage(role="assistant", content=text, tool_calls=selections)


def _message(turn: Turn, messages: Sequence[ChatMessage]) -> ChatMessage:
    if isinstance(turn, ChatMessage):
        return turn
    if isinstance(turn, str):
        return ChatMessage(role="assistant", content=turn)
    if isinstance(turn, BaseModel):
        return ChatMessage(role="assistant", content=turn.model_dump_json())
    return _message(turn(messages), messages)
