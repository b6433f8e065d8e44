"""Our side: the measured work as everstep flows. `bench.handwritten` is the same work on the SDK alone."""

from __future__ import annotations

from everstep import Workflow, step
from everstep.events import Event, HumanResponseEvent, StartEvent, StopEvent

WIDEST = 200
"""The largest number in flight that is measured; no step has fewer slots, so that the run's cap alone decides."""


class Begin(StartEvent):
    """How much work, and the text that each event carries."""

    count: int
    text: str


class Turn(Event):
    """The next link of a chain."""

    number: int
    count: int
    text: str


class Item(Event):
    """One piece of a fan-out."""

    number: int
    text: str


class Counted(Event):
    """What one piece gave."""

    number: int
    size: int


class Note(HumanResponseEvent):
    """Something from outside."""

    number: int
    text: str


class Chain(Workflow):
    """`count` steps, one after another."""

    @step
    async def advance(self, ev: Begin | Turn) -> Turn | StopEvent:
        number = ev.number + 1 if isinstance(ev, Turn) else 1
        if number == ev.count:
            return StopEvent(result=number)
        return Turn(number=number, count=ev.count, text=ev.text)


class FanOut45(Workflow):
    """`count` steps side by side, at most 45 at a time, and one that collects what they gave."""

    max_in_flight = 45

    @step
    async def split(self, ev: Begin) -> list[Item]:
        return [Item(number=number, text=ev.text) for number in range(ev.count)]

    @step(num_workers=WIDEST)
    async def measure(self, ev: Item) -> Counted:
        return Counted(number=ev.number, size=len(ev.text))

    @step
    async def total(self, evs: list[Counted]) -> StopEvent:
        return StopEvent(result=sum(ev.size for ev in evs))


class FanOut200(FanOut45):
    """The same, at most 200 at a time."""

    max_in_flight = 200


class Noted45(FanOut45):
    """A fan-out that takes notes from outside meanwhile."""

    @step(num_workers=WIDEST)
    async def note(self, ev: Note) -> None:
        return None


FLOWS: list[type[Workflow]] = [Chain, FanOut45, FanOut200, Noted45]
