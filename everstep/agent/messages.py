"""What passes between agents and chat models: messages, the tools that a model chose, and the tokens it used."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["system", "user", "assistant", "tool"]


class Usage(BaseModel):
    """Tokens read and written; 0 where the server does not count. Two are added by `+`."""

    model_config = ConfigDict(frozen=True)

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Read and written together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


class ToolSelection(BaseModel):
    """A tool that a model wants called.

    Attributes:
        tool_id: tells it from the other calls of a conversation.
        tool_name: the tool.
        tool_kwargs: its arguments, as the model gave them.
        unreadable: what the model wrote instead of arguments, where that was no JSON object.
    """

    tool_id: str
    tool_name: str
    tool_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])
    unreadable: str | None = None


class ChatMessage(BaseModel):
    """One turn of a conversation.

    Attributes:
        role: who speaks.
        content: the text.
        tool_calls: the tools that an assistant wants called.
        tool_call_id: of a tool's message: the call that it answers.
        name: the agent that wrote it, or the tool that answers.
        extra: what a model wants back with this message, as it gave it; no other model reads it.

    Example:
        >>> ChatMessage(role="user", content="Where is my order?")
    """

    role: Role = "user"
    content: str = ""
    tool_calls: list[ToolSelection] = Field(default_factory=list[ToolSelection])
    tool_call_id: str | None = None
    name: str | None = None
    extra: dict[str, Any] = Field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        return self.content

    def to_data(self) -> dict[str, Any]:
        """The message as plain JSON, without what is empty: conversations are kept in the state of runs."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        return {"role": self.role, "content": self.content, **data}


class ToolMetadata(BaseModel):
    """A tool as a model sees it: `parameters` is the JSON Schema of its arguments."""

    model_config = ConfigDict(frozen=True)

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
