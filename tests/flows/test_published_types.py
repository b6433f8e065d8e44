"""A step may publish any event, also of a type that no step takes or returns."""

from __future__ import annotations

from everstep import Context, Workflow, step
from everstep.events import Event, StartEvent, StopEvent, UnresolvedEvent
from everstep.flow.compile import flow_types


class Note(Event):
    """Published only."""

    text: str


class Noting(Workflow):
    """Publishes a note."""

    @step
    async def note(self, ctx: Context, ev: StartEvent) -> StopEvent:
        """Publish and end."""
        ctx.write_event_to_stream(Note(text="so far, so good"))
        return StopEvent(result="done")


async def test_a_published_event_keeps_its_type() -> None:
    """An event that is only published reaches the reader as what it was."""
    handler = Noting().run()
    events = [event async for event in handler.stream_events()]
    assert events == [Note(text="so far, so good"), StopEvent(result="done")]


def test_a_published_event_of_an_unknown_class_is_shown_as_data() -> None:
    """A reader without the class gets the data, and the name of the class."""
    event = flow_types(Noting).shown("Elsewhere", {"a": 1})
    assert isinstance(event, UnresolvedEvent)
    assert (event.original_type, event["a"]) == ("Elsewhere", 1)


def test_what_is_only_published_cannot_be_sent() -> None:
    """Publishing a type does not make it one that a step could be given."""
    assert flow_types(Noting).resolve("Note") is None
