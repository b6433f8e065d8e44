"""A model's answer while it arrives, and the check that it is complete once its stream has ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from activities.errors import ModelOutputInvalid, ModelRefused, ModelStreamCut
from everstep.agent import ChatAnswer, ChatMessage, ToolSelection, Usage


@dataclass
class PartialCall:
    """A call of a tool while its arguments arrive."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])
    index: int | None = None

    def selection(self) -> ToolSelection:
        """The call; arguments that are no JSON object are kept as the text that they are."""
        text = "".join(self.arguments)
        try:
            arguments: Any = json.loads(text) if text.strip() else {}
        except json.JSONDecodeError:
            arguments = None
        if isinstance(arguments, dict):
            return ToolSelection(tool_id=self.id, tool_name=self.name, tool_kwargs=arguments)
        return ToolSelection(tool_id=self.id, tool_name=self.name, unreadable=text)


@dataclass
class PartialAnswer:
    """What has arrived so far.

    Args:
        model: as it was asked for, then as the server names it.
        on_token: called with each piece of text.
    """

    model: str
    on_token: Callable[[str], None] | None
    pieces: list[str] = field(default_factory=list[str])
    refusal: list[str] = field(default_factory=list[str])
    calls: list[PartialCall] = field(default_factory=list[PartialCall])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def begun(self) -> bool:
        """Whether anything has arrived."""
        return bool(self.pieces or self.calls or self.refusal)

    def say(self, text: str) -> None:
        """Take the next piece of text."""
        self.pieces.append(text)
        if self.on_token:
            self.on_token(text)

    def cut_short(self, cause: Exception | None = None) -> ModelStreamCut:
        """The error for a stream that broke off."""
        partial = "".join(self.pieces)
        why = f" ({type(cause).__name__})" if cause else ""
        return ModelStreamCut(
            f"Model {self.model}: the stream ended after {len(partial)} characters, before the model had "
            f"finished{why}. Ask again.",
            partial=partial,
        )

    def completed(self, *, whole: str | None = None) -> ChatAnswer:
        """The answer, checked.

        Args:
            whole: what an answer must be all of, such as the name of a schema; one that was cut off is an error then.

        Raises:
            ModelRefused: the model declined, or a filter stopped it.
            ModelStreamCut: the stream ended before the model said that it had finished.
            ModelOutputInvalid: it ran out of tokens within `whole`, or within a call of a tool.
        """
        text = "".join(self.pieces)
        if self.refusal:
            raise ModelRefused(f"Model {self.model} declined: {''.join(self.refusal)}")
        if self.finish_reason is None:
            raise self.cut_short()
        if self.finish_reason == "content_filter":
            raise ModelRefused(f"Model {self.model}: the server's content filter stopped the answer.")
        part = f"its call of {self.calls[-1].name}" if self.calls else f"its {whole}" if whole else ""
        if self.finish_reason == "length" and part:
            raise ModelOutputInvalid(
                f"Model {self.model}: {part} was cut off at its limit of tokens. Ask for less.", output=text
            )
        message = ChatMessage(
            role="assistant", content=text, tool_calls=[call.selection() for call in self.calls], extra=self.extra
        )
        return ChatAnswer(message, self.usage, self.finish_reason, self.model)
