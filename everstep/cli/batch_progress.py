"""How a batch goes on: its numbers, as a bar at a terminal, as a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from everstep.temporal.batch import Batch
from everstep.temporal.batch_results import ENDED, UNSUCCESSFUL, Status

BAR_SECONDS, LINE_SECONDS = 0.25, 5.0
"""How often the bar moves, and how often a line is written where there is no terminal."""

_WORDS: dict[Status, str] = {
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "terminated": "terminated",
    "timed_out": "timed out",
    "unread": "cannot be read here",
    "refused": "refused",
    "bad": "bad",
    "waiting": "wait for a person",
    "running": "go on",
    "not_started": "not started",
}


@dataclass(slots=True)
class Tally:
    """The numbers of a batch. `before` are lines whose runs had ended before, by the file of results."""

    batch: str
    flow: str
    total: int
    path: Path
    statuses: Counter[Status] = field(default_factory=Counter[Status])
    before: int = 0
    started: int = 0
    found: int = 0
    since: float = field(default_factory=time.monotonic)

    @property
    def wrong(self) -> int:
        """Lines that will have no result by themselves."""
        return sum(self.statuses[status] for status in (*UNSUCCESSFUL, "unread", "refused", "bad"))

    @property
    def open(self) -> int:
        """Lines that may still have a result."""
        return sum(self.statuses[status] for status in ("waiting", "running", "not_started"))

    def told(self) -> str:
        """The numbers in words, those that are 0 left out."""
        parts = [f"{self.statuses[status]} {words}" for status, words in _WORDS.items() if self.statuses[status]]
        before = f" ({self.before} of them before)" if self.before else ""
        return (", ".join(parts) or "nothing to do") + before

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {
            "batch": self.batch,
            "flow": self.flow,
            "lines": self.total,
            **{status: self.statuses[status] for status in _WORDS},
            "started": self.started,
            "found": self.found,
            "before": self.before,
            "seconds": round(time.monotonic() - self.since, 1),
            "out": str(self.path),
        }


class Progress:
    """Shows within its block how a batch goes on."""

    def __init__(self, console: Console, tally: Tally, batch: Batch, *, line_seconds: float = LINE_SECONDS) -> None:
        self._console = console
        self._tally = tally
        self._batch = batch
        self._line_seconds = line_seconds
        self._bar: Bar | None = None
        self._last = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            text = TextColumn("{task.description}")
            self._bar = Bar(BarColumn(), MofNCompleteColumn(), text, TimeElapsedColumn(), console=self._console)
            self._bar.start()
            self._row = self._bar.add_task("", total=self._tally.total)
        self._showing = asyncio.ensure_future(self._show())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._showing.cancel()
        if self._bar is not None:
            self._move(self._bar)
            self._bar.stop()

    async def _show(self) -> None:
        while True:
            await asyncio.sleep(self._line_seconds if self._bar is None else BAR_SECONDS)
            if self._bar is not None:
                self._move(self._bar)
            elif (line := f"{self._done()} of {self._tally.total} lines: {self._text()}") != self._last:
                self._last = line
                self._console.print(Text(line, style="dim"))

    def _move(self, bar: Bar) -> None:
        bar.update(self._row, completed=self._done(), description=self._text())

    def _done(self) -> int:
        """Lines that are through: ended, bad, or left to people."""
        statuses = self._tally.statuses
        return sum(statuses[status] for status in (*ENDED, "unread", "refused", "bad")) + len(self._batch.waiting)

    def _text(self) -> str:
        waiting, going = len(self._batch.waiting), len(self._batch.under_way)
        told = [self._tally.told()] if self._tally.statuses else []
        told += [f"{waiting} wait for a person"] if waiting else []
        told += [f"{going} under way"] if going else []
        return ", ".join(told) or "starting"
