"""What the drivers send to a step, and what people and programs send to a run, with their plain JSON forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from everstep.engine.inputs import MessageReceived
from everstep.engine.messages import Envelope
from everstep.engine.passes import Record

STATE_RIDES_ALONG = 10_000
"""Up to how many characters of JSON a run's state is sent with each call; a larger one is fetched when a step asks."""


@dataclass(frozen=True, slots=True)
class StepCall:
    """One invocation of a step: one event, or a batch for a join, and the run's state while it is small.

    `record` is what earlier passes of the invocation left. `one_each`: the batch is one event for each of the step's
    parameters. `trace` is where the run's spans belong, as a W3C traceparent, if it is traced. `unjudged`: the event
    came from outside, and the step is the first to hold it against its type.
    """

    run_id: str
    invocation: int
    event: Envelope | None
    batch: Sequence[Envelope] | None = None
    state: Mapping[str, Any] | None = None
    record: Record | None = None
    one_each: bool = False
    trace: str | None = None
    unjudged: bool = False

    @property
    def origin(self) -> int:
        """The invocation's number in its first pass, which all passes share."""
        return self.invocation if self.record is None else self.record.origin

    @property
    def event_name(self) -> str:
        """What this call is about, in a word or two."""
        if self.batch is not None:
            return ", ".join(event.type for event in self.batch) if self.one_each else f"{len(self.batch)} events"
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
        if self.record is not None:
            out["record"] = self.record.to_json()
        if self.one_each:
            out["one_each"] = True
        if self.trace is not None:
            out["trace"] = self.trace
        if self.unjudged:
            out["unjudged"] = True
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StepCall:
        """The inverse of `to_json`."""
        event, batch, record = data.get("event"), data.get("batch"), data.get("record")
        return cls(
            data["run_id"],
            data["invocation"],
            None if event is None else Envelope.from_json(event),
            None if batch is None else [Envelope.from_json(item) for item in batch],
            data.get("state"),
            None if record is None else Record.from_json(record),
            data.get("one_each", False),
            data.get("trace"),
            data.get("unjudged", False),
        )


class MalformedMessageError(ValueError):
    """What was sent is no message; its text says what one looks like."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as people and programs write it, taken apart."""

    data: Mapping[str, Any]
    type: str | None = None
    request: str | None = None
    step: str | None = None
    by: str | None = None


def received(
    message: Incoming, now: float, *, answer: bool, key: str | None, unattended: bool = False
) -> MessageReceived:
    """A message as the engine takes it in; `key` is its sender's own id; `unattended`: nobody waits for a reply."""
    return MessageReceived(
        now, message.data, message.type, answer, message.request, message.step, message.by, key, unattended
    )


_ANSWER_KEYS = ("request", "by", "type")


def parse_answer(arguments: Sequence[Any]) -> Incoming:
    """Read an answer to a request.

    Plain form: the answer's fields, and beside them, if wanted, ``request`` (which request), ``by`` (who answers) and
    ``type`` (the event type). Where a field of the answer has one of these names, the fields go under ``answer``:
    ``{"request": "approve-1", "by": "ann", "answer": {"type": "refund"}}``.

    Raises:
        MalformedMessageError: it is no such object.
    """
    body = _object(arguments, 'an answer is one JSON object, such as {"approved": true, "by": "ann"}')
    hints = {key: body[key] for key in _ANSWER_KEYS if key in body}
    _texts(hints)
    answer = body.get("answer")
    if isinstance(answer, dict) and not body.keys() - {*_ANSWER_KEYS, "answer"}:
        fields = cast("Mapping[str, Any]", answer)
    else:
        fields = {key: value for key, value in body.items() if key not in hints}
    return Incoming(fields, hints.get("type"), hints.get("request"), None, hints.get("by"))


def parse_event(arguments: Sequence[Any]) -> Incoming:
    """Read an event sent to a run: ``{"type": "Note", "data": {…}}``, with ``step`` for one step only and ``by``.

    Raises:
        MalformedMessageError: it is no such object.
    """
    body = _object(arguments, 'an event is one JSON object: {"type": "Note", "data": {"text": "…"}}')
    hints = {key: body[key] for key in ("type", "step", "by") if key in body}
    _texts(hints)
    data: Any = body.get("data", {})
    if not isinstance(data, dict):
        raise MalformedMessageError(f"the event's data must be a JSON object, not {_kind(data)}")
    unknown = body.keys() - {"type", "step", "by", "data"}
    if unknown:
        raise MalformedMessageError(f'an event has no key {sorted(unknown)[0]!r}; put the event\'s fields under "data"')
    fields = cast("Mapping[str, Any]", data)
    return Incoming(fields, hints.get("type"), None, hints.get("step"), hints.get("by"))


def _object(arguments: Sequence[Any], wanted: str) -> dict[str, Any]:
    if len(arguments) != 1:
        raise MalformedMessageError(f"{wanted}; {len(arguments)} values came")
    if not isinstance(arguments[0], dict):
        raise MalformedMessageError(f"{wanted}; {_kind(arguments[0])} came")
    return cast("dict[str, Any]", arguments[0])


def _texts(hints: Mapping[str, Any]) -> None:
    for key, value in hints.items():
        if not isinstance(value, str):
            raise MalformedMessageError(f"{key!r} must be a string, not {_kind(value)}")


def _kind(value: Any) -> str:
    names: dict[Any, str] = {
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "null")
