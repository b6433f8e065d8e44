"""What a step gives back: envelopes, outcomes and failures, with their plain JSON forms.

They stand in Temporal histories, so their JSON is a wire format: keys are only added, and absent keys mean the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event as data.

    `ancestors` is given only for types that the flow's definition does not name. `due_in` (seconds from commit) or
    `due_at` (epoch seconds) bound the answer to a request for human input.
    """

    type: str
    data: Mapping[str, Any]
    ancestors: tuple[str, ...] = ()
    due_in: float | None = None
    due_at: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form: ``{"type": …, "data": …}`` and what else is set."""
        out: dict[str, Any] = {"type": self.type, "data": self.data}
        if self.ancestors:
            out["ancestors"] = list(self.ancestors)
        if self.due_in is not None:
            out["due_in"] = self.due_in
        if self.due_at is not None:
            out["due_at"] = self.due_at
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Envelope:
        """The inverse of `to_json`."""
        return cls(
            data["type"],
            data.get("data") or {},
            tuple(data.get("ancestors", ())),
            data.get("due_in"),
            data.get("due_at"),
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """An event sent by `ctx.send_event`, to every step that accepts it or to the one named."""

    event: Envelope
    step: str | None = None


StateChange = Sequence[Any]
"""One change of the run's state: ``["set", path, value]`` or ``["delete", path]``; paths are dotted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All effects of one successful invocation; they commit together.

    `returned` is None, one envelope, or a list of them, which opens a stream. `published` are the events for the run's
    stream that were not flushed before; `attempts` counts the tries it took.
    """

    returned: Envelope | list[Envelope] | None = None
    sent: Sequence[Sent] = ()
    state: Sequence[StateChange] = ()
    published: Sequence[Envelope] = ()
    attempts: int = 1

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form, empty parts left out."""
        out: dict[str, Any] = {}
        if isinstance(self.returned, list):
            out["returned"] = [event.to_json() for event in self.returned]
        elif self.returned is not None:
            out["returned"] = self.returned.to_json()
        if self.sent:
            out["sent"] = [
                {"event": item.event.to_json()} | ({"step": item.step} if item.step else {}) for item in self.sent
            ]
        if self.state:
            out["state"] = [list(change) for change in self.state]
        if self.published:
            out["published"] = [event.to_json() for event in self.published]
        if self.attempts != 1:
            out["attempts"] = self.attempts
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """The inverse of `to_json`."""
        return cls(
            _returned(data.get("returned")),
            [Sent(Envelope.from_json(item["event"]), item.get("step")) for item in data.get("sent", ())],
            data.get("state", ()),
            [Envelope.from_json(event) for event in data.get("published", ())],
            data.get("attempts", 1),
        )


def _returned(data: Any) -> Envelope | list[Envelope] | None:
    if data is None:
        return None
    if isinstance(data, list):
        return [Envelope.from_json(event) for event in cast("list[Any]", data)]
    return Envelope.from_json(data)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an invocation failed for good. `elapsed` is in seconds, from the first attempt to the last failure."""

    type: str
    message: str
    attempts: int = 1
    elapsed: float = 0.0
    traceback: str = ""

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {
            "type": self.type,
            "message": self.message,
            "attempts": self.attempts,
            "elapsed": self.elapsed,
            "traceback": self.traceback,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Failure:
        """The inverse of `to_json`."""
        return cls(
            data["type"],
            data["message"],
            data.get("attempts", 1),
            data.get("elapsed", 0.0),
            data.get("traceback", ""),
        )
