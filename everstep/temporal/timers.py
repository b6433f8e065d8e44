"""The engine's timers within the workflow: durable ones of the server.

Workflow code: deterministic, like the interpreter that owns it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from temporalio import workflow

from everstep.engine import commands as do


class Timers:
    """The timers of one execution.

    Args:
        fired: is told the name of each that has fired.
    """

    def __init__(self, fired: Callable[[str], None]) -> None:
        self._fired = fired
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def set(self, command: do.SetTimer) -> None:
        """Set one; a time that has passed is now."""
        delay = max(0.001, command.at - workflow.time())
        task = asyncio.create_task(workflow.sleep(delay, summary=command.timer))
        self._tasks[command.timer] = task
        task.add_done_callback(partial(self._done, command.timer))

    def cancel(self, command: do.CancelTimer) -> None:
        """It is no longer needed."""
        task = self._tasks.pop(command.timer, None)
        if task is not None:
            task.cancel()

    def clear(self) -> None:
        """None of them is needed."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def _done(self, timer: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(timer) is task:
            del self._tasks[timer]
        if not task.cancelled():
            self._fired(timer)
