"""What of an outcome shows on the run's stream; both drivers and every reader of histories ask here."""

from __future__ import annotations

from collections.abc import Iterator

from everstep.engine.messages import Envelope, Outcome
from everstep.engine.routing import Router


def shown(router: Router, outcome: Outcome) -> Iterator[Envelope]:
    """The events of an outcome that followers of the run see: published ones, questions, what a wait shows."""
    yield from outcome.published
    yield from (item.event for item in outcome.sent if router.is_a(item.event, "InputRequiredEvent"))
    if outcome.wait is not None and outcome.wait.question is not None:
        yield outcome.wait.question
    returned = outcome.returned
    events = returned if isinstance(returned, list) else [] if returned is None else [returned]
    yield from (event for event in events if router.is_a(event, "InputRequiredEvent"))
