"""Answers with a form: are they what the agent's `output_type` asks for, and what to tell the model if not."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from everstep.agent.memory import CORRECTION
from everstep.agent.messages import ChatMessage
from everstep.event_base import validation_faults


def read_output(text: str, output_type: type[BaseModel]) -> tuple[Any, str]:
    """The answer as plain JSON, and what is wrong with it; one of them is empty.

    Text around the JSON, such as a code fence, is let pass: models that cannot be held to a schema write it.
    """
    begin, end = text.find("{"), text.rfind("}")
    data = text[begin : end + 1] if 0 <= begin < end else text
    try:
        return output_type.model_validate_json(data).model_dump(mode="json"), ""
    except ValidationError as error:
        return None, "; ".join(validation_faults(error))


def correction(output_type: type[BaseModel], faults: str) -> ChatMessage:
    """What a model is told about an answer that does not fit."""
    return ChatMessage(
        role="user",
        content=f"This is no valid {output_type.__name__}: {faults}. Answer again with the whole JSON, and only that.",
        extra={CORRECTION: True},
    )
