"""Judging data from outside by the user's types: is this start event, event or answer one that the flow takes?

Both drivers judge here, where the types live; the engine only sees the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from everstep.engine.inputs import Verdict
from everstep.engine.messages import Envelope
from everstep.errors import EverstepError
from everstep.events import Event
from everstep.exception_data import exception_text
from everstep.invoke import Invoker
from everstep.outside import not_from_outside


def judge(
    invoker: Invoker,
    message: int,
    types: Sequence[str],
    data: Mapping[str, Any],
    *,
    waited: bool = False,
    question: Envelope | None = None,
    outside: bool = True,
) -> Verdict:
    """The verdict on one message: the event of the first of `types` that can be built from `data`, or why none can.

    `waited`: a step waits for such an event, so its class need not stand in a signature. `question`: what it answers,
    where the flow holds answers against that; see `Workflow`. `outside`: somebody sent it.
    """
    reasons: list[str] = []
    for name in types:
        try:
            built = invoker.decode(Envelope(name, data), waited=waited)
            event = invoker.encode(built)
            fault = not_from_outside(invoker.flow.definition, built, sent=outside)
            if fault is None and question is not None:
                fault = _misfit(invoker, question, built)
            if fault is None:
                return Verdict(message, event)
            reasons.append(fault)
        except EverstepError as error:
            reasons.append(exception_text(error))
    return Verdict(message, None, " ".join(reasons) or "no event type takes this")


def normal_form(invoker: Invoker, type_name: str, data: Mapping[str, Any], *, waited: bool = False) -> Envelope:
    """Build the event and write it again: defaults filled in, values in their normal JSON form.

    Raises:
        EverstepError: the flow does not know the type, or the data does not fit it.
    """
    return invoker.encode(invoker.decode(Envelope(type_name, data), waited=waited))


def _misfit(invoker: Invoker, question: Envelope, given: Event) -> str | None:
    """Why the flow does not take an answer to this question, or None."""
    check: Callable[[Event, Event], None] | None = getattr(invoker.flow, "check_answer", None)
    if check is None:
        return None
    try:
        check(invoker.decode(question, waited=True), given)
    except Exception as error:  # whatever is wrong, whoever answers is told
        return exception_text(error) or type(error).__name__
    return None
