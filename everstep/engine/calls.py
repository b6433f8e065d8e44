"""What a step asks for when it runs another flow as a child. It stands in Temporal histories: keys are only added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class ChildCall:
    """A flow to run as a child: its name, the fields of its start event, and the type of stop event that it declares.

    `run_id`, `timeout` (seconds), `state` and `task_queue` are what the caller has set; None leaves them to the child.
    """

    flow: str
    start: Mapping[str, Any]
    stop: str = "StopEvent"
    run_id: str | None = None
    timeout: float | None = None
    state: Mapping[str, Any] | None = None
    task_queue: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form, empty parts left out."""
        out: dict[str, Any] = {"flow": self.flow, "start": self.start}
        if self.stop != "StopEvent":
            out["stop"] = self.stop
        for name in ("run_id", "timeout", "state", "task_queue"):
            value = getattr(self, name)
            if value is not None:
                out[name] = value
        return out

    @classmethod
    def from_json(cls, data: Any) -> ChildCall:
        """The inverse of `to_json`; ValueError says what is wrong."""
        fields: Mapping[str, Any] = cast("Mapping[str, Any]", data) if isinstance(data, Mapping) else {}
        flow, start = fields.get("flow"), fields.get("start")
        if not isinstance(flow, str) or not isinstance(start, Mapping):
            raise ValueError(f"a child needs the name of its flow and the fields of its start event; got {data!r}")
        return cls(
            flow,
            cast("Mapping[str, Any]", start),
            fields.get("stop", "StopEvent"),
            fields.get("run_id"),
            fields.get("timeout"),
            fields.get("state"),
            fields.get("task_queue"),
        )
