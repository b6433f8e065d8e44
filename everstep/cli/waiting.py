"""Waiting that is not silent: what holds a run up is told on stderr while a command waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from everstep.cli.program import called_as, worker_called
from everstep.cli.session import Session
from everstep.temporal.obstacles import Obstacle, obstacles
from everstep.temporal.runs import find_run

T = TypeVar("T")

LOOK_SECONDS = 2.5
"""After how long a silence to look for what holds the run up, and how often."""

_REMEDIES = {
    "no_worker": "Start one that serves the flow: {worker}",
    "busy": "If none runs, start one: {worker}",
    "unknown_flow": "Check the flow's name, or start a worker that serves it.",
}


class Lookout:
    """Looks for what holds one run up, and tells each thing once.

    Args:
        session: the command's connection.
        run_id: the run.
        tell: takes a line for people.
        otherwise: what to tell where nothing holds it up; by default whether it waits for a person.
    """

    def __init__(
        self, session: Session, run_id: str, tell: Callable[[str], None], otherwise: str | None = None
    ) -> None:
        self._session = session
        self._run_id = run_id
        self._tell = tell
        self._otherwise = otherwise
        self._told: set[str] = set()
        self._last_news = time.monotonic()

    def news(self) -> None:
        """Something has happened: the run moves."""
        self._last_news = time.monotonic()

    async def watch(self) -> None:
        """Look whenever there was no news for a while, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if time.monotonic() - self._last_news >= LOOK_SECONDS:
                await self.look()

    async def look(self) -> None:
        """Tell what holds the run up now, and was not told before."""
        found = await obstacles(self._session.client, self._run_id)
        for obstacle in found:
            self._tell_obstacle(obstacle)
        if found or self._told:
            return
        if self._otherwise:
            self._say(self._otherwise, f"Waiting: {self._otherwise}.")
        elif self._otherwise is None and (await find_run(self._session.client, self._run_id)).waiting:
            self._say("person", f"Waiting for a person. See what is asked with: {called_as()} show {self._run_id}")

    def _tell_obstacle(self, obstacle: Obstacle) -> None:
        key = f"{obstacle.kind} {obstacle.step}" if obstacle.kind == "busy" else obstacle.text
        remedy = _REMEDIES.get(obstacle.kind, "").format(worker=worker_called(obstacle.task_queue))
        self._say(key, f"Waiting: {obstacle.text}. {remedy}".rstrip())

    def _say(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._tell(text)


async def told(lookout: Lookout, work: Awaitable[T]) -> T:
    """Do the work, and tell meanwhile what holds the run up."""
    watching = asyncio.ensure_future(lookout.watch())
    try:
        return await work
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
