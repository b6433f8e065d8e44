"""What spans say of events, outcomes and requests: names and sizes always, contents only where they are wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from everstep.engine.messages import Envelope, Outcome
from everstep.engine.requests import Request, timestamp
from everstep.observe import names

LONGEST = 32_000
"""How many characters of a content are traced; backends refuse spans of megabytes."""

NAMES_SHOWN = 20
"""How many types of a list of events are told by name."""


def given(events: Sequence[Envelope], *, payloads: bool) -> dict[str, Any]:
    """What a step was given: an event, or the batch of a join."""
    out: dict[str, Any] = {
        names.EVENT: _types(events),
        names.EVENT_SIZE: sum(map(size, events)),
        names.EVENT_COUNT: len(events),
    }
    if payloads:
        shown = events[0].data if len(events) == 1 else [event.to_json() for event in events]
        out |= content(names.INPUT, names.INPUT_TYPE, shown)
    return out


def outcome(result: Outcome, *, payloads: bool) -> dict[str, Any]:
    """What a step gave back."""
    returned = result.returned if isinstance(result.returned, list) else [result.returned] if result.returned else []
    sent = [item.event for item in result.sent]
    out: dict[str, Any] = {names.OUTCOME: "succeeded"}
    if returned:
        out |= {names.RETURNED: _types(returned), names.RETURNED_SIZE: sum(map(size, returned))}
    if sent:
        out |= {names.SENT: _types(sent), names.SENT_SIZE: sum(map(size, sent))}
    if result.state:
        out[names.STATE_CHANGES] = len(result.state)
    if result.wait is not None:
        out |= {names.OUTCOME: "waits", names.WAITS_FOR: result.wait.type}
    elif result.calls:
        flows = ", ".join(dict.fromkeys(call.flow for call in result.calls))
        out |= {names.OUTCOME: "waits", names.WAITS_FOR: flows}
    elif result.gathers:
        out[names.OUTCOME] = "collects"
    elif result.unfit is not None:
        out[names.OUTCOME] = "refused"
    if payloads and (returned or sent):
        shown = [event.to_json() for event in (*sent, *returned)]
        out |= content(names.OUTPUT, names.OUTPUT_TYPE, shown[0] if len(shown) == 1 else shown)
    return out


def request(asked: Request, *, payloads: bool, people: bool = True) -> dict[str, Any]:
    """What a person was asked, and what became of it; `people`: who, too."""
    out: dict[str, Any] = {
        names.REQUEST: asked.id,
        names.STEP: asked.step,
        names.QUESTION: asked.question.type,
        names.QUESTION_SIZE: size(asked.question),
        names.ASSIGNEE: asked.question.data.get("assignee") if people else None,
        names.DUE: None if asked.due_at is None else timestamp(asked.due_at),
        names.REQUEST_STATUS: asked.status,
        names.ANSWERED_BY: asked.answered_by if people else None,
        names.REFUSED: len(asked.refused) or None,
    }
    if asked.answer is not None:
        out |= {names.ANSWER: asked.answer.type, names.ANSWER_SIZE: size(asked.answer)}
    if payloads:
        out |= content(names.INPUT, names.INPUT_TYPE, asked.question.data)
        if asked.answer is not None:
            out |= content(names.OUTPUT, names.OUTPUT_TYPE, asked.answer.data)
    return out


def content(name: str, type_name: str, value: Any) -> dict[str, Any]:
    """A content as attributes, shortened where it is long."""
    if isinstance(value, str):
        return {name: shortened(value), type_name: names.TEXT_TYPE}
    return {name: shortened(_text(value)), type_name: names.JSON_TYPE}


def shortened(text: str) -> str:
    """At most so much of a text as a span can hold."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def _types(events: Sequence[Envelope]) -> str:
    kinds: dict[str, int] = {}
    for event in events:
        kinds[event.type] = kinds.get(event.type, 0) + 1
    told = [kind if count == 1 else f"{kind} ×{count}" for kind, count in list(kinds.items())[:NAMES_SHOWN]]
    return ", ".join(told)


def size(event: Envelope) -> int:
    """How many characters of JSON an event's fields take."""
    return len(_text(event.data))


def _text(value: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
