"""The input of a workflow: the start event's fields, and what a run begins with or goes on from beside them.

One value is the plain start event. A second one is ``{"state": …}`` where the run begins with a state, and
``{"everstep": …}`` behind continue-as-new. Workflow code reads it: deterministic, and nothing but data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from everstep.temporal.payloads import raw, raw_bytes

STATE = "state"
_CARRIED = "everstep"


def run_arguments(start: bytes, state: Mapping[str, Any] | None) -> list[RawValue]:
    """What a run is started with: the start event's fields as JSON, and the state that it begins with, if any.

    The state is an input and not a memo: a memo is copied to each execution and into lists of runs, and is bounded.
    """
    return [raw_bytes(start)] if state is None else [raw_bytes(start), raw({STATE: dict(state)})]


def carried_arguments(carried: bytes) -> list[RawValue]:
    """What the next execution of a run is started with; `carried` is the JSON of what is handed over to it."""
    return [raw({}), raw_bytes(b'{"%s":%s}' % (_CARRIED.encode(), carried))]


def carried_over(arguments: Sequence[Any]) -> Mapping[str, Any] | None:
    """What the execution before has handed over; None in the first one of a run."""
    second = _second(arguments)
    return None if second is None or _CARRIED not in second else cast("Mapping[str, Any]", second[_CARRIED])


def start_arguments(flow: str, arguments: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The start event's fields, and what else the run begins with: `state`, or nothing.

    Raises:
        ApplicationError: the input has another form; whoever started the run reads what it should have.
    """
    start: Any = arguments[0] if arguments else {}
    second = _second(arguments)
    fits = len(arguments) < 2 or (len(arguments) == 2 and second is not None and second.keys() == {STATE})
    if fits and isinstance(start, dict):
        return cast("dict[str, Any]", start), dict(second or {})
    raise ApplicationError(
        f"{flow} takes one JSON object, the fields of its start event; {len(arguments)} values came"
        + ("" if isinstance(start, dict) else f", the first no object: {start!r}"),
        type="StartRefused",
        non_retryable=True,
    )


def _second(arguments: Sequence[Any]) -> dict[str, Any] | None:
    second: Any = arguments[1] if len(arguments) > 1 else None
    return cast("dict[str, Any]", second) if isinstance(second, dict) else None
