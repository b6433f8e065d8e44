"""What a step gives back: envelopes, outcomes and failures, with their plain JSON forms.

They stand in Temporal histories, so their JSON is a wire format: keys are only added, and absent keys mean the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from everstep.engine import paths
from everstep.engine.calls import ChildCall

_LONGEST = 1e12  # seconds, more than 30,000 years: what is beyond is a slip, and no calendar could show it


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
        """The inverse of `to_json`; ValueError says what is wrong with data that is no event."""
        fields = _object(data, "an event")
        if len(fields) == 2 and isinstance(fields.get("type"), str) and type(fields.get("data")) is dict:  # most
            return cls(fields["type"], fields["data"])
        type_name, ancestors = fields.get("type"), fields.get("ancestors") or ()
        if not isinstance(type_name, str):
            raise ValueError(f"an event needs a type, the name of its class; got {type_name!r}")
        if not isinstance(ancestors, list | tuple):
            raise ValueError(f"the ancestors of {type_name} must be a list of names; got {ancestors!r}")
        return cls(
            type_name,
            _object(fields.get("data") or {}, f"the data of {type_name}"),
            tuple(map(str, cast("Sequence[Any]", ancestors))),
            _seconds(fields.get("due_in")),
            _seconds(fields.get("due_at")),
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """An event sent by `ctx.send_event`, to every step that accepts it or to the one named."""

    event: Envelope
    step: str | None = None


StateChange = Sequence[Any]
"""One change of the run's state: ``["set", path, value]``, ``["delete", path]`` or ``["clear"]``; paths are dotted."""


Effects = Sequence[tuple[str, int]]
"""The effects of a pass in order, each as kind and target (``"set cart.total"``), with how often it stood in a row."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What a step waits for: an event of this type whose top-level fields meet the requirements.

    `timeout` is in seconds. `question` is shown when the wait begins; a question to a person opens a request.
    """

    type: str
    requirements: Mapping[str, Any]
    timeout: float | None = None
    waiter_id: str | None = None
    question: Envelope | None = None

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form, empty parts left out."""
        out: dict[str, Any] = {"type": self.type}
        if self.requirements:
            out["requirements"] = dict(self.requirements)
        if self.timeout is not None:
            out["timeout"] = self.timeout
        if self.waiter_id is not None:
            out["waiter_id"] = self.waiter_id
        if self.question is not None:
            out["question"] = self.question.to_json()
        return out

    @classmethod
    def from_json(cls, data: Any) -> Wait:
        """The inverse of `to_json`; ValueError says what is wrong."""
        fields = _object(data, "a wait")
        type_name, question = fields.get("type"), fields.get("question")
        if not isinstance(type_name, str):
            raise ValueError(f"a wait needs the type of the event that it is for; got {type_name!r}")
        return cls(
            type_name,
            _object(fields.get("requirements") or {}, "the requirements of a wait"),
            _seconds(fields.get("timeout")),
            fields.get("waiter_id"),
            None if question is None else Envelope.from_json(question),
        )


@dataclass(frozen=True, slots=True)
class Gather:
    """An event that a step put into a buffer, and the types that make a batch: each with how often it stands in a row.

    Without an `event` it is the one that the step was given.
    """

    buffer: str
    expected: tuple[tuple[str, int], ...]
    event: Envelope | None = None

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        out: dict[str, Any] = {"buffer": self.buffer, "expected": [list(run) for run in self.expected]}
        if self.event is not None:
            out["event"] = self.event.to_json()
        return out

    @classmethod
    def from_json(cls, data: Any) -> Gather:
        """The inverse of `to_json`; ValueError says what is wrong."""
        fields = _object(data, "a collection")
        buffer, event = fields.get("buffer"), fields.get("event")
        if not isinstance(buffer, str):
            raise ValueError(f"a collection needs the name of its buffer; got {buffer!r}")
        return cls(buffer, tuple(_runs(fields.get("expected"))), None if event is None else Envelope.from_json(event))


@dataclass(frozen=True, slots=True)
class Outcome:
    """All effects of one successful invocation; they commit together.

    `returned` is None, one envelope, or a list of them, which opens a stream. `published` are the events for the run's
    stream that were not flushed before; `attempts` counts the tries it took. `gathers` were told "not yet". With a
    `wait` the pass ended where the step began to wait: its `effects` are those that the next pass does not repeat, and
    `tries` tells of failures so far. The same goes for `calls`: the flows that it has run as children and waits for.
    `edits` numbers the `edit_state` blocks that it has committed. `unfit` is why an event from outside, which the step
    was to judge, is none that it takes: its code has not run.
    """

    returned: Envelope | list[Envelope] | None = None
    sent: Sequence[Sent] = ()
    state: Sequence[StateChange] = ()
    published: Sequence[Envelope] = ()
    attempts: int = 1
    gathers: Sequence[Gather] = ()
    wait: Wait | None = None
    effects: Effects = ()
    tries: Mapping[str, Any] | None = None
    edits: Sequence[int] = ()
    calls: Sequence[ChildCall] = ()
    unfit: str | None = None

    @property
    def suspended(self) -> bool:
        """Whether the pass ended where its step began to wait: for an event, or for children."""
        return self.wait is not None or bool(self.calls)

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
        if self.edits:
            out["edits"] = list(self.edits)
        if self.unfit is not None:
            out["unfit"] = self.unfit
        return out | self._unfinished()

    def _unfinished(self) -> dict[str, Any]:
        """What only a pass has that may run again."""
        out: dict[str, Any] = {}
        if self.gathers:
            out["gathers"] = [gather.to_json() for gather in self.gathers]
        if self.wait is not None:
            out["wait"] = self.wait.to_json()
        if self.calls:
            out["calls"] = [call.to_json() for call in self.calls]
        if self.effects:
            out["effects"] = [list(effect) for effect in self.effects]
        if self.tries:
            out["tries"] = dict(self.tries)
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """The inverse of `to_json`; ValueError says what is wrong with data that is no outcome."""
        fields = _object(data, "an outcome")
        if fields.keys() <= _RETURNED:  # of most steps
            return cls(_returned(fields.get("returned")))
        changes = _list(fields.get("state"), "state")
        for operation in changes:
            if fault := paths.problem(operation):
                raise ValueError(fault)
        attempts = fields.get("attempts", 1)
        if not isinstance(attempts, int):
            raise ValueError(f"the attempts of an outcome are a whole number; got {attempts!r}")
        edits = _list(fields.get("edits"), "edits")
        if not all(isinstance(edit, int) for edit in edits):
            raise ValueError(f"the edits of an outcome are whole numbers; got {edits!r}")
        return cls(
            _returned(fields.get("returned")),
            [_sent(item) for item in _list(fields.get("sent"), "sent")],
            changes,
            [Envelope.from_json(event) for event in _list(fields.get("published"), "published")],
            attempts,
            [Gather.from_json(item) for item in _list(fields.get("gathers"), "gathers")],
            None if fields.get("wait") is None else Wait.from_json(fields["wait"]),
            _runs(fields.get("effects")),
            fields.get("tries"),
            edits,
            [ChildCall.from_json(item) for item in _list(fields.get("calls"), "calls")],
            fields.get("unfit"),
        )


_RETURNED = frozenset(("returned",))


def _returned(data: Any) -> Envelope | list[Envelope] | None:
    if data is None:
        return None
    if isinstance(data, list):
        return [Envelope.from_json(event) for event in cast("list[Any]", data)]
    return Envelope.from_json(data)


def _sent(data: Any) -> Sent:
    item = _object(data, "a sent event")
    step = item.get("step")
    if step is not None and not isinstance(step, str):
        raise ValueError(f"the step that a sent event is for is named by a string; got {step!r}")
    return Sent(Envelope.from_json(item.get("event") or {}), step)


def _object(data: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} must be a JSON object; got {data!r}")
    return cast("Mapping[str, Any]", data)


def _list(data: Any, what: str) -> Sequence[Any]:
    if data is None:
        return ()
    if not isinstance(data, list | tuple):
        raise ValueError(f"{what!r} of an outcome must be a list; got {data!r}")
    return cast("Sequence[Any]", data)


def _runs(data: Any) -> list[tuple[str, int]]:
    out: list[tuple[str, int]] = []
    for item in _list(data, "effects"):
        match item:
            case [str(label), int(count)] if count > 0:
                out.append((label, count))
            case _:
                raise ValueError(f"what comes several times in a row is written as [text, count]; got {item!r}")
    return out


def _seconds(value: Any) -> float | None:
    if value is None or (isinstance(value, int | float) and abs(value) < _LONGEST):
        return value
    raise ValueError(f"when a request is due is a number of seconds below {_LONGEST:g}; got {value!r}")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an invocation failed for good. `elapsed` is in seconds, from the first attempt to the last failure.

    `causes` are the exceptions that it was raised from, the nearest first, each with its `type` and `message`.
    """

    type: str
    message: str
    attempts: int = 1
    elapsed: float = 0.0
    traceback: str = ""
    causes: Sequence[Mapping[str, str]] = ()

    @property
    def exception(self) -> dict[str, Any]:
        """The exception, as events carry it."""
        return {"type": self.type, "message": self.message, **self._causes()}

    def _causes(self) -> dict[str, Any]:
        return {"causes": [dict(cause) for cause in self.causes]} if self.causes else {}

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {
            "type": self.type,
            "message": self.message,
            "attempts": self.attempts,
            "elapsed": self.elapsed,
            "traceback": self.traceback,
            **self._causes(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Failure:
        """The inverse of `to_json`."""
        return cls(
            str(data.get("type", "Exception")),
            str(data.get("message", "")),
            data.get("attempts", 1),
            data.get("elapsed", 0.0),
            data.get("traceback", ""),
            data.get("causes", ()),
        )
