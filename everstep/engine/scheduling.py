"""Which invocation starts next: a FIFO queue and `num_workers` slots per step, a cap over the run, turns between steps.

Every operation is O(1), whatever waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from everstep.engine.messages import Effects, Envelope
from everstep.engine.passes import Record
from everstep.flow.definition import StepDefinition

Recoveries = dict[str, int]
"""How often each error handler has helped the lineage of an event."""


@dataclass(slots=True)
class Invocation:
    """One delivery of one event (or batch) to one step, within the stream `scope` (0: the run itself).

    `record` is what earlier passes left to it. Behind a wait, an invocation goes on under a number of its own.
    `unjudged`: its event came from outside, and the step is yet to say whether it is one; `by` is who sent it.
    """

    id: int
    step: str
    event: Envelope | None
    batch: list[Envelope] | None
    scope: int
    recoveries: Recoveries
    running: bool = False
    record: Record | None = None
    unjudged: bool = False
    by: str | None = None

    @property
    def origin(self) -> int:
        """Its first number: the same for all its passes."""
        return self.id if self.record is None else self.record.origin

    def suspend(self, effects: Effects, tries: Mapping[str, Any] | None) -> Record:
        """Its pass has ended where it waits; gives the record for the next one."""
        record = (self.record or Record(self.id)).committed(effects)
        self.record = replace(record, tries=tries or record.tries)
        self.running = False
        return self.record

    def cut_off(self) -> None:
        """Its attempt is lost: by the number of the next one, what it has published is told apart."""
        record = self.record or Record(self.id)
        self.record = replace(record, attempts=record.attempts + 1)

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        out: dict[str, Any] = {
            "id": self.id,
            "step": self.step,
            "event": self.event.to_json() if self.event else None,
            "batch": [event.to_json() for event in self.batch] if self.batch is not None else None,
            "scope": self.scope,
            "recoveries": self.recoveries,
            "running": self.running,
        }
        if self.record is not None:
            out["record"] = self.record.to_json()
        if self.unjudged:
            out |= {"unjudged": True, "by": self.by}
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Invocation:
        """The inverse of `to_json`."""
        batch, record = data["batch"], data.get("record")
        return cls(
            data["id"],
            data["step"],
            Envelope.from_json(data["event"]) if data["event"] else None,
            [Envelope.from_json(event) for event in batch] if batch is not None else None,
            data["scope"],
            dict(data["recoveries"]),
            data["running"],
            None if record is None else Record.from_json(record),
            data.get("unjudged", False),
            data.get("by"),
        )


@dataclass(slots=True)
class StepQueue:
    """What waits for one step and what it has done so far."""

    num_workers: int
    waiting: deque[int] = field(default_factory=deque[int])
    running: int = 0
    done: int = 0
    failed: int = 0


class Scheduler:
    """Queues of invocations; `start_next` gives the next that may run."""

    def __init__(self, steps: Mapping[str, StepDefinition], cap: int) -> None:
        self.queues = {name: StepQueue(step.num_workers) for name, step in steps.items()}
        self.cap = cap
        self.in_flight = 0
        self.paused = False
        # A dict used as an ordered set: steps that have something waiting and a slot, in the order of their turns.
        self._turns: dict[str, None] = {}

    def enqueue(self, step: str, invocation: int) -> None:
        """Put an invocation at the end of its step's queue."""
        queue = self.queues[step]
        queue.waiting.append(invocation)
        if queue.running < queue.num_workers:
            self._turns.setdefault(step)

    def start_next(self) -> int | None:
        """Take the invocation whose turn it is, or None when none may start."""
        if self.paused or self.in_flight >= self.cap or not self._turns:
            return None
        step = next(iter(self._turns))
        queue = self.queues[step]
        invocation = queue.waiting.popleft()
        queue.running += 1
        self.in_flight += 1
        del self._turns[step]
        if queue.waiting and queue.running < queue.num_workers:
            self._turns[step] = None
        return invocation

    def finish(self, step: str, *, failed: bool | None) -> None:
        """Free the slot of an invocation that ended; one that did not fail is done, with None it was none."""
        queue = self.queues[step]
        queue.running -= 1
        self.in_flight -= 1
        if failed:
            queue.failed += 1
        elif failed is not None:
            queue.done += 1
        if queue.waiting:
            self._turns.setdefault(step)

    def clear(self) -> None:
        """Drop all that waits or runs; what was done stays counted."""
        for queue in self.queues.values():
            queue.waiting.clear()
            queue.running = 0
        self._turns.clear()
        self.in_flight = 0

    def snapshot(self) -> dict[str, Any]:
        """The plain JSON form; steps in the order of their turns."""
        return {
            "paused": self.paused,
            "turns": list(self._turns),
            "queues": [
                [name, list(queue.waiting), queue.running, queue.done, queue.failed]
                for name, queue in self.queues.items()
            ],
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self.paused = data["paused"]
        self._turns = dict.fromkeys(data["turns"])
        for name, waiting, running, done, failed in data["queues"]:
            queue = self.queues[name]
            queue.waiting, queue.running, queue.done, queue.failed = deque(waiting), running, done, failed
        self.in_flight = sum(queue.running for queue in self.queues.values())
