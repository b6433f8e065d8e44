"""Requests to humans, as durable records: who asked what, until when, every try to answer, and the closing answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from everstep.engine.messages import Envelope
from everstep.engine.scheduling import Recoveries

Status = Literal["open", "answered", "expired"]

REFUSALS_KEPT = 100
"""How many refused tries a request, or a run, shows; the history has them all."""


def timestamp(seconds: float) -> str:
    """Epoch seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@dataclass(slots=True)
class Request:
    """One question to a person. `answers` are the event types that may answer it."""

    id: str
    step: str
    invocation: int
    question: Envelope
    answers: tuple[str, ...]
    asked_at: float
    due_at: float | None
    scope: int
    recoveries: Recoveries
    status: Status = "open"
    answer: Envelope | None = None
    answered_by: str | None = None
    answered_at: float | None = None
    refused: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    judging: int = 0
    overdue: bool = False

    def refuse(self, now: float, data: Any, by: str | None, reason: str) -> None:
        """Record a refused try."""
        if len(self.refused) < REFUSALS_KEPT:
            self.refused.append({"at": timestamp(now), "by": by, "answer": data, "reason": reason})

    def view(self) -> dict[str, Any]:
        """What people see: readable JSON, times in ISO 8601."""
        return {
            "id": self.id,
            "step": self.step,
            "type": self.question.type,
            "question": dict(self.question.data),
            "answer_types": list(self.answers),
            "assignee": self.question.data.get("assignee"),
            "asked_at": timestamp(self.asked_at),
            "due_at": None if self.due_at is None else timestamp(self.due_at),
            "status": self.status,
            "answer": None if self.answer is None else dict(self.answer.data),
            "answered_by": self.answered_by,
            "answered_at": None if self.answered_at is None else timestamp(self.answered_at),
            "refused": self.refused,
        }

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form of everything."""
        out = {name: getattr(self, name) for name in self.__slots__}
        out["question"] = self.question.to_json()
        out["answers"] = list(self.answers)
        out["answer"] = self.answer.to_json() if self.answer else None
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """The inverse of `to_json`."""
        return cls(
            id=data["id"],
            step=data["step"],
            invocation=data["invocation"],
            question=Envelope.from_json(data["question"]),
            answers=tuple(data["answers"]),
            asked_at=data["asked_at"],
            due_at=data["due_at"],
            scope=data["scope"],
            recoveries=dict(data["recoveries"]),
            status=data["status"],
            answer=Envelope.from_json(data["answer"]) if data["answer"] else None,
            answered_by=data["answered_by"],
            answered_at=data["answered_at"],
            refused=list(data["refused"]),
            judging=data["judging"],
            overdue=data["overdue"],
        )


@dataclass(slots=True)
class Message:
    """Something from outside that is being judged."""

    id: int
    data: Mapping[str, Any]
    types: tuple[str, ...]
    request: str | None = None
    step: str | None = None
    by: str | None = None
    key: str | None = None
    expiry: bool = False

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {name: getattr(self, name) for name in self.__slots__} | {"types": list(self.types)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Message:
        """The inverse of `to_json`."""
        return cls(
            data["id"],
            data["data"],
            tuple(data["types"]),
            data["request"],
            data["step"],
            data["by"],
            data["key"],
            data["expiry"],
        )
