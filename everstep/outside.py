"""What nobody may send to a run from outside, however well it is built: what only steps or the run itself make."""

from __future__ import annotations

from everstep.event_base import Event, event_ancestors, event_name
from everstep.events import HumanResponseEvent, StopEvent
from everstep.flow.definition import FlowDefinition


def not_from_outside(definition: FlowDefinition, event: Event, *, sent: bool = True) -> str | None:
    """Why an event is not taken from outside, or None.

    Args:
        definition: of the flow as it is now.
        event: as it was built.
        sent: somebody sent it; False where the run may have made this answer, because nobody gave one in time.
    """
    cls = type(event)
    name = event_name(cls)
    if not cls.from_outside:
        return f"{name} comes from the flow's own steps only (from_outside=False); it is not taken from outside"
    if isinstance(event, StopEvent) and definition.stops and not {name, *event_ancestors(cls)} & {*definition.stops}:
        ends = " or ".join(definition.stops)
        return f"{definition.name} ends with {ends}; a {name} does not end it from outside. Cancel the run instead"
    if sent and isinstance(event, HumanResponseEvent) and event.expired:
        return "only the run itself says `expired`, when nobody has answered in time: leave it out of the answer"
    return None
