"""The other side: the same work written straight on the Temporal SDK, as lean as one would write it by hand.

Unsandboxed, without heartbeats, checks or continue-as-new; a fixed number of coroutines shares the items of a fan-out.
Annotations are evaluated here, since the SDK would evaluate postponed ones again for every payload.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow

TIMEOUT = timedelta(minutes=5)


@dataclass
class Begin:
    """How much work, and the text that each message carries."""

    count: int
    text: str


@dataclass
class Turn:
    """The next link of a chain."""

    number: int
    count: int
    text: str


@dataclass
class Item:
    """One piece of a fan-out."""

    number: int
    text: str


@dataclass
class Counted:
    """What one piece gave."""

    number: int
    size: int


@dataclass
class Note:
    """Something from outside."""

    number: int
    text: str


@dataclass
class Wide:
    """The input of a fan-out: the work, and how many of its activities may run at one time."""

    begin: Begin
    in_flight: int


@activity.defn
async def advance(turn: Turn) -> Turn:
    """One link of a chain."""
    return Turn(turn.number + 1, turn.count, turn.text)


@activity.defn
async def split(begin: Begin) -> list[Item]:
    """The pieces of a fan-out."""
    return [Item(number, begin.text) for number in range(begin.count)]


@activity.defn
async def measure(item: Item) -> Counted:
    """The work on one piece."""
    return Counted(item.number, len(item.text))


@activity.defn
async def total(counted: list[Counted]) -> int:
    """What all pieces gave together."""
    return sum(one.size for one in counted)


@activity.defn
async def note(_: Note) -> None:
    """What a note from outside brings about."""
    return


@workflow.defn(sandboxed=False)
class HandChain:
    """`count` activities, one after another."""

    @workflow.run
    async def run(self, begin: Begin) -> int:
        turn = Turn(0, begin.count, begin.text)
        while turn.number < turn.count:
            turn = await workflow.execute_activity(advance, turn, start_to_close_timeout=TIMEOUT)
        return turn.number


@workflow.defn(sandboxed=False)
class HandFanOut:
    """`count` activities side by side, and one that collects what they gave; takes notes meanwhile."""

    def __init__(self) -> None:
        self._notes: set[asyncio.Task[None]] = set()

    @workflow.run
    async def run(self, wide: Wide) -> int:
        items = iter(await workflow.execute_activity(split, wide.begin, start_to_close_timeout=TIMEOUT))
        done: list[Counted] = []

        async def work() -> None:
            for item in items:
                done.append(await workflow.execute_activity(measure, item, start_to_close_timeout=TIMEOUT))

        await asyncio.gather(*(work() for _ in range(wide.in_flight)))
        return await workflow.execute_activity(total, done, start_to_close_timeout=TIMEOUT)

    @workflow.signal
    def noted(self, message: Note) -> None:
        task = asyncio.create_task(workflow.execute_activity(note, message, start_to_close_timeout=TIMEOUT))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)


WORKFLOWS: list[type] = [HandChain, HandFanOut]
ACTIVITIES: list[Callable[..., Any]] = [advance, split, measure, total, note]
