"""Requests to humans, as durable records: who asked what, until when, every try to answer, and the closing answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from everstep.engine.messages import Envelope
from everstep.engine.scheduling import Recoveries

Status = Literal["open", "answered", "expired", "closed"]
"""``closed``: the run ended before anybody answered."""

REFUSALS_KEPT = 100
"""How many refused tries a request, or a run, shows; the history has them all."""

REFUSED_SIZE_KEPT = 2000
"""How many characters of a refused try are kept: a run must not grow by what strangers send to it."""

CLOSED_BYTES_KEPT = 500_000
"""How much JSON of closed requests a snapshot takes along, the latest first: no run is to fail by what is over."""

_FIRST_MOMENT, _LAST_MOMENT = -62135596800.0, 253402300799.0  # the years 1 and 9999


def timestamp(seconds: float) -> str:
    """Epoch seconds as ISO 8601 in UTC; times that a calendar cannot tell become its first or last."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST_MOMENT), _LAST_MOMENT), UTC).isoformat()


def excerpt(data: Any) -> Any:
    """A copy of something refused, or the beginning of its JSON when it is long."""
    text = json.dumps(data, ensure_ascii=False, default=str)
    return json.loads(text) if len(text) <= REFUSED_SIZE_KEPT else text[:REFUSED_SIZE_KEPT] + "…"


@dataclass(slots=True)
class Request:
    """One question to a person. `answers` are the event types that may answer it.

    `waiter` is the suspended invocation that the answer goes to, if there is one.
    """

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
    waiter: int | None = None

    def refuse(self, now: float, data: Any, by: str | None, reason: str) -> None:
        """Record a refused try."""
        if len(self.refused) < REFUSALS_KEPT:
            self.refused.append(
                {"at": timestamp(now), "by": by, "answer": excerpt(data), "reason": reason[:REFUSED_SIZE_KEPT]}
            )

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
            "refused": list(self.refused),
        }

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form of everything."""
        out = {name: getattr(self, name) for name in self.__slots__}
        out["question"] = self.question.to_json()
        out["answers"] = list(self.answers)
        out["answer"] = self.answer.to_json() if self.answer else None
        out["recoveries"] = dict(self.recoveries)
        out["refused"] = list(self.refused)
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
            waiter=data.get("waiter"),
        )


@dataclass(slots=True)
class Message:
    """Something from outside that is being judged. `again` are later messages of the same key, which share its fate.

    `waited`: a step waits for such an event. `looked`: it has had its second look, see `mail.look_again`.
    """

    id: int
    data: Mapping[str, Any]
    types: tuple[str, ...]
    request: str | None = None
    step: str | None = None
    by: str | None = None
    key: str | None = None
    expiry: bool = False
    again: list[int] = field(default_factory=list[int])
    waited: bool = False
    looked: bool = False

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        copies = {"types": list(self.types), "again": list(self.again)}
        return {name: getattr(self, name) for name in self.__slots__} | copies

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
            list(data["again"]),
            data.get("waited", False),
            data.get("looked", False),
        )
