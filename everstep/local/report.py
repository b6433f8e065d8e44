"""What a verbose flow tells of its steps while it runs in process, line by line."""

from __future__ import annotations

import sys

from everstep.engine.messages import Outcome


def tell(line: str) -> None:
    """Tell what a step does, for flows that are verbose."""
    sys.stderr.write(f"{line}\n")


def tell_nothing(line: str) -> None:
    """For flows that are not verbose."""


def kinds(outcome: Outcome) -> str:
    """What a step gave, in a few words."""
    returned = outcome.returned
    if outcome.wait is not None:
        return f"nothing yet: it waits for {outcome.wait.type}"
    if outcome.calls:
        return f"nothing yet: it runs {', '.join(dict.fromkeys(call.flow for call in outcome.calls))}"
    if isinstance(returned, list):
        return f"a list of {len(returned)}"
    return "nothing" if returned is None else returned.type
