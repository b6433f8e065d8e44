"""One timer looks after the heartbeats of many attempts: each goes out as its own, for as long as it runs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio.testing import ActivityEnvironment

from everstep.temporal.heartbeats import Heartbeats
from everstep.temporal.tally import Tally
from tests.support.waiting import until

TIMEOUT = timedelta(seconds=0.15)


async def test_each_attempt_beats_with_its_own_tally_until_it_ends() -> None:
    """The end of one stops nobody else's, and a new one joins those that run."""
    heartbeats = Heartbeats()
    seen: dict[int, int] = {}
    ends = {number: asyncio.Event() for number in (1, 2, 3)}

    async def attempt(number: int) -> None:
        beating = heartbeats.begin(Tally(failures=number), TIMEOUT)
        try:
            await ends[number].wait()
        finally:
            beating.stop()

    def begin(number: int) -> asyncio.Task[None]:
        environment = ActivityEnvironment()

        def told(details: Any) -> None:
            assert details["failures"] == number
            seen[number] = seen.get(number, 0) + 1

        environment.on_heartbeat = told
        return asyncio.ensure_future(environment.run(attempt, number))

    async def times(number: int, count: int) -> bool:
        return seen.get(number, 0) >= count

    first, second = begin(1), begin(2)
    await until(lambda: times(1, 2))
    ends[1].set()
    await first
    before = seen[1]
    third = begin(3)
    await until(lambda: times(3, 3))
    assert seen[1] == before
    assert seen[2] >= 3
    for number, task in ((2, second), (3, third)):
        ends[number].set()
        await task
