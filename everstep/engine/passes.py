"""What the earlier passes of an invocation leave to the next: answers, batches, and the effects already committed.

A pass is one run of a step from its top. It stands in Temporal histories: keys are only added, absent ones mean none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from everstep.engine.messages import Effects, Envelope, Failure


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How a child ended: with its stop event, or with a failure and the `reason` that people are told."""

    run: str
    event: Envelope | None = None
    failure: Failure | None = None
    reason: str = ""

    @classmethod
    def failed(cls, run: str, kind: str, reason: str) -> ChildEnd:
        """One that failed, for a reason that is all there is to tell."""
        return cls(run, failure=Failure(kind, reason), reason=reason)

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form, empty parts left out."""
        out: dict[str, Any] = {"run": self.run}
        if self.event is not None:
            out["event"] = self.event.to_json()
        if self.failure is not None:
            out |= {"failure": self.failure.to_json(), "reason": self.reason}
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ChildEnd:
        """The inverse of `to_json`."""
        event, failure = data.get("event"), data.get("failure")
        return cls(
            data["run"],
            None if event is None else Envelope.from_json(event),
            None if failure is None else Failure.from_json(failure),
            data.get("reason", ""),
        )


Answers = Sequence[Envelope | None]
Collected = Sequence[tuple[str, list[Envelope] | None]]


@dataclass(frozen=True, slots=True)
class Record:
    """The record of an invocation that runs again.

    `origin` is the invocation's first number: the same for all passes. `answers` are those to its waits, in order; None
    stands for one that timed out. `children` tells how each flow ended that it ran. `collected` tells for each of its
    collections the buffer, and the batch or, for "not yet", None. `effects` were committed and are not repeated.
    `tries` tells of the failures before, for the retry policy; `attempts` is how many attempts the present pass took
    before it runs again.
    """

    origin: int
    answers: Answers = ()
    collected: Collected = ()
    effects: Effects = ()
    tries: Mapping[str, Any] | None = None
    attempts: int = 0
    children: Sequence[ChildEnd] = ()

    def committed(self, effects: Effects) -> Record:
        """With more effects that are not to be repeated."""
        merged = list(self.effects)
        for label, count in effects:
            if merged and merged[-1][0] == label:
                merged[-1] = label, merged[-1][1] + count
            else:
                merged.append((label, count))
        return replace(self, effects=tuple(merged))

    def answered(self, answer: Envelope | None) -> Record:
        """With the answer to one more wait; None for one that timed out."""
        return replace(self, answers=(*self.answers, answer), attempts=0)

    def joined(self, ends: Iterable[ChildEnd]) -> Record:
        """With how the children ended that were waited for."""
        return replace(self, children=(*self.children, *ends), attempts=0)

    def gathered(self, buffer: str, batch: list[Envelope] | None) -> Record:
        """With what became of one more collection."""
        return replace(self, collected=(*self.collected, (buffer, batch)))

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form, empty parts left out."""
        out: dict[str, Any] = {"origin": self.origin}
        if self.answers:
            out["answers"] = [None if answer is None else answer.to_json() for answer in self.answers]
        if self.children:
            out["children"] = [end.to_json() for end in self.children]
        if self.collected:
            out["collected"] = [[name, _events(batch)] for name, batch in self.collected]
        if self.effects:
            out["effects"] = [list(effect) for effect in self.effects]
        if self.tries:
            out["tries"] = dict(self.tries)
        if self.attempts:
            out["attempts"] = self.attempts
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """The inverse of `to_json`."""
        return cls(
            data["origin"],
            tuple(None if answer is None else Envelope.from_json(answer) for answer in data.get("answers", ())),
            tuple(
                (name, None if batch is None else [Envelope.from_json(event) for event in batch])
                for name, batch in data.get("collected", ())
            ),
            tuple((label, count) for label, count in data.get("effects", ())),
            data.get("tries"),
            data.get("attempts", 0),
            tuple(ChildEnd.from_json(end) for end in data.get("children", ())),
        )


def _events(batch: Sequence[Envelope] | None) -> list[dict[str, Any]] | None:
    return None if batch is None else [event.to_json() for event in batch]
