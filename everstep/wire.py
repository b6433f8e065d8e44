"""What the drivers send to a step, with its plain JSON form: it is the input of the step's activity, readable in the UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everstep.engine.messages import Envelope

STATE_RIDES_ALONG = 10_000
"""Up to how many characters of JSON a run's state is sent with each call; a larger one is fetched when a step asks."""


@dataclass(frozen=True, slots=True)
class StepCall:
    """One invocation of a step: one event, or a batch for a join, and the run's state while it is small."""

    run_id: str
    invocation: int
    event: Envelope | None
    batch: Sequence[Envelope] | None = None
    state: Mapping[str, Any] | None = None

    @property
    def event_name(self) -> str:
        """What this call is about, in a word or two."""
        if self.batch is not None:
            return f"{len(self.batch)} events"
        return self.event.type if self.event else "nothing"

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        out: dict[str, Any] = {"run_id": self.run_id, "invocation": self.invocation}
        if self.event is not None:
            out["event"] = self.event.to_json()
        if self.batch is not None:
            out["batch"] = [event.to_json() for event in self.batch]
        if self.state is not None:
            out["state"] = self.state
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StepCall:
        """The inverse of `to_json`."""
        event, batch = data.get("event"), data.get("batch")
        return cls(
            data["run_id"],
            data["invocation"],
            None if event is None else Envelope.from_json(event),
            None if batch is None else [Envelope.from_json(item) for item in batch],
            data.get("state"),
        )
