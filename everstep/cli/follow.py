"""Following a run: its steps as they run, what it publishes, what it asks people, what holds it up, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Generator
from typing import Any

from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from everstep.cli.listing import question_text
from everstep.cli.output import Output
from everstep.cli.program import called_as
from everstep.cli.session import Session
from everstep.cli.show import plain
from everstep.cli.stream import ENDINGS, print_item
from everstep.cli.text import answer_command, clean, moment, shown
from everstep.cli.waiting import Lookout
from everstep.errors import EverstepError, WorkflowCancelledByUser, WorkflowTimeoutError
from everstep.temporal.history import Published
from everstep.temporal.step_log import StepCounts, step_changes


class Follower:
    """Shows one run until it ends.

    At a terminal a table of the steps stands below what is printed. With JSON output the published events are JSON
    lines, and the last line says how the run ended.
    """

    def __init__(self, session: Session, run_id: str, out: Output) -> None:
        self._session = session
        self._run_id = run_id
        self._out = out
        self._counts = StepCounts()
        self._live: Live | None = None
        self._lookout = Lookout(session, run_id, self._note, "")
        self._asked: set[str] = set()

    async def follow(self) -> None:
        """Show the run; returns when it has completed.

        Raises:
            EverstepError: it ended otherwise.
        """
        beside: list[Coroutine[Any, Any, None]] = [self._steps(), self._lookout.watch()]
        with self._shown_live():
            tasks = [asyncio.create_task(work) for work in beside]
            try:
                async for item in self._session.handle(self._run_id).stream_published():
                    await self._published(item)
                with contextlib.suppress(TimeoutError):  # let the table of steps catch up
                    await asyncio.wait_for(asyncio.shield(tasks[0]), 2)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        await self._end()

    async def _end(self) -> None:
        handle = self._session.handle(self._run_id)
        try:
            value = plain(await handle.stop_event_result())
        except EverstepError as error:
            if self._out.json:
                self._out.line({"run": self._run_id, "status": _status(error), "error": str(error)})
            raise
        if self._out.json:
            self._out.line({"run": self._run_id, "status": "completed", "result": value})
        elif isinstance(value, dict | list):
            self._out.text("completed:", "bold green")
            self._out.data(value)
        else:
            self._out.text(f"completed: {shown(value)}", "bold green")

    async def _published(self, item: Published) -> None:
        self._lookout.news()
        if item.event.type in ENDINGS or item.invocation is None:
            if self._out.json:
                print_item(self._out, item)
            return
        print_item(self._out, item)
        if {"due", "assignee"} <= item.event.data.keys():
            await self._tell_requests()

    async def _steps(self) -> None:
        async for change in step_changes(self._session.client, self._run_id, follow=True):
            self._counts.add(change)
            self._lookout.news()
            if change.change == "failed":
                self._note(f"step {change.step!r} failed after attempt {change.attempts}: {change.error}")
            if self._live is not None:
                self._live.update(self._table())

    async def _tell_requests(self) -> None:
        """Print what is asked, with the command that answers it; the run may take a moment to open the request."""
        for _ in range(20):
            with contextlib.suppress(EverstepError):
                requests = await self._session.handle(self._run_id).requests()
                fresh = [request for request in requests if request["id"] not in self._asked]
                for request in fresh:
                    self._asked.add(request["id"])
                    self._tell_request(request, name_it=len(requests) > 1)
                if fresh:
                    return
            await asyncio.sleep(0.1)

    def _tell_request(self, request: dict[str, Any], *, name_it: bool) -> None:
        who = request.get("assignee") or "a person"
        until = f", until {moment(request['due_at'])}" if request.get("due_at") else ""
        self._note(f"It waits for {who}{until}: {question_text(request)}")
        self._note(f"Answer with: {answer_command(called_as(), self._run_id, request, name_it=name_it)}")

    def _note(self, text: str) -> None:
        if self._live is not None:
            self._out.console.print(Text(clean(text), style="yellow"), soft_wrap=True)
        else:
            self._out.note(text)

    @contextlib.contextmanager
    def _shown_live(self) -> Generator[None]:
        if self._out.json or not self._out.console.is_terminal:
            yield
            return
        with Live(self._table(), console=self._out.console, refresh_per_second=8, redirect_stderr=False) as live:
            self._live = live
            try:
                yield
            finally:
                live.update(self._table())
                self._live = None

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for count in self._counts.steps.values():
            mark: Any = Text("✓", style="green")
            if count.running:
                mark = Spinner("dots", style="cyan")
            elif count.failed:
                mark = Text("✗", style="red")
            parts = [f"{count.running} running"] if count.running else []
            parts += [f"{count.done} done"] if count.done else []
            parts += [f"{count.failed} failed"] if count.failed else []
            table.add_row(mark, Text(clean(count.step)), Text(", ".join(parts), style="dim"))
        if not self._counts.steps:
            table.add_row(Spinner("dots", style="cyan"), Text("waiting for a worker"), Text(""))
        return table


def _status(error: EverstepError) -> str:
    if isinstance(error, WorkflowCancelledByUser):
        return "cancelled"
    return "timed_out" if isinstance(error, WorkflowTimeoutError) else "failed"
