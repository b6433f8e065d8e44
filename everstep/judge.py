"""Judging data from outside by the user's types: is this start event, event or answer one that the flow takes?

Both drivers judge here, where the types live; the engine only sees the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from everstep.engine.inputs import Verdict
from everstep.engine.messages import Envelope
from everstep.errors import EverstepError
from everstep.invoke import Invoker


def judge(
    invoker: Invoker, message: int, types: Sequence[str], data: Mapping[str, Any], *, waited: bool = False
) -> Verdict:
    """The verdict on one message: the event of the first of `types` that can be built from `data`, or why none can.

    `waited`: a step waits for such an event, so its class need not stand in a signature.
    """
    reasons: list[str] = []
    for name in types:
        try:
            return Verdict(message, normal_form(invoker, name, data, waited=waited))
        except EverstepError as error:
            reasons.append(str(error))
    return Verdict(message, None, " ".join(reasons) or "no event type takes this")


def normal_form(invoker: Invoker, type_name: str, data: Mapping[str, Any], *, waited: bool = False) -> Envelope:
    """Build the event and write it again: defaults filled in, values in their normal JSON form.

    Raises:
        EverstepError: the flow does not know the type, or the data does not fit it.
    """
    return invoker.encode(invoker.decode(Envelope(type_name, data), waited=waited))
