"""What a run takes from outside: its signals, updates and queries, each handed to the part that knows what to do.

Workflow code: deterministic, like the interpreter that inherits it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

from everstep.engine import inputs as happened
from everstep.engine import views
from everstep.engine.core import Engine
from everstep.temporal import names
from everstep.temporal.child_runs import ChildRuns
from everstep.temporal.lock_keeper import LockKeeper
from everstep.temporal.message_desk import MessageDesk
from everstep.temporal.parent_line import ParentLine
from everstep.temporal.payloads import raw
from everstep.wire import parse_answer, parse_event


class Doors:
    """The handlers of every flow's workflow; the interpreter sets the parts."""

    engine: Engine | None
    desk: MessageDesk
    locks: LockKeeper
    children: ChildRuns
    above: ParentLine

    def look(self, *, by_message: bool = True) -> None:
        """See whether it is time to continue as new."""
        raise NotImplementedError

    @workflow.signal(name=names.RESPOND)
    def respond_signal(self, *arguments: Any) -> None:
        """A person's answer, without a reply to the sender."""
        self.desk.signal(parse_answer, arguments, answer=True)

    @workflow.update(name=names.RESPOND)
    async def respond_update(self, *arguments: Any) -> Any:
        """A person's answer; gives what became of it."""
        return await self.desk.update(parse_answer, arguments, answer=True)

    @workflow.signal(name=names.SEND_EVENT)
    def send_event_signal(self, *arguments: Any) -> None:
        """An event, without a reply to the sender."""
        self.desk.signal(parse_event, arguments, answer=False)

    @workflow.update(name=names.SEND_EVENT)
    async def send_event_update(self, *arguments: Any) -> Any:
        """An event; gives what became of it."""
        return await self.desk.update(parse_event, arguments, answer=False)

    @workflow.signal(name=names.PUBLISH)
    def published(self, *_: Any) -> None:
        """Events shown by a step that is running: readers find them in the history, which gets longer by them."""
        if self.engine is not None and self.engine.run.protocol >= 3:
            self.look()

    @workflow.update(name=names.LOCK)
    async def lock_update(self, *arguments: Any) -> Any:
        """A step wants the run's lock, for `edit_state`; gives the state to edit."""
        return await self.locks.ask(arguments)

    @workflow.signal(name=names.UNLOCK)
    def unlock_signal(self, *arguments: Any) -> None:
        """A step gives the run's lock back, with its changes."""
        self.locks.released(arguments)

    @workflow.signal(name=names.CHILD)
    def child_signal(self, *arguments: Any) -> None:
        """A child tells what it asks people, or how it has ended."""
        self.children.heard(arguments)

    @workflow.signal(name=names.PARENT)
    def parent_signal(self, *arguments: Any) -> None:
        """The run above wants to be told how this one ends."""
        self.above.heard(arguments)

    @workflow.signal(dynamic=True)
    def unknown_signal(self, name: str, _: Sequence[RawValue]) -> None:
        """Any other signal is refused, and recorded."""
        reason = f"there is no signal {name!r}; send {names.RESPOND!r} or {names.SEND_EVENT!r}"
        self.desk.take(happened.MessageMalformed(workflow.time(), {"signal": name}, reason))

    @workflow.query(name=names.STATE)
    def state(self) -> Any:
        """The run's state."""
        return raw(self.engine.run.state if self.engine else {})

    @workflow.query(name=names.REQUESTS)
    def requests(self, *arguments: Any) -> Any:
        """The requests to humans; with the argument true, only the open ones."""
        only_open = bool(arguments and arguments[0])
        return raw(views.requests(self.engine.run, only_open=only_open) if self.engine else [])

    @workflow.query(name=names.PROGRESS)
    def progress(self) -> Any:
        """Where the run stands."""
        flow = workflow.info().workflow_type
        return raw(views.progress(self.engine.run) if self.engine else {"flow": flow, "status": "new"})
