"""The children of a run within the workflow: child workflows, begun, heard of, cancelled, and their answers passed on.

The server tells the end of a child to the execution that has started it. An execution behind a continue-as-new hears of
it by a signal, which it asks the child for, and by an activity that looks now and then, for children that cannot tell.
For the same reason the server is not left to end the children of a run that has ended: it would end them at
continue-as-new too. The run asks them to end itself, before it does.

Workflow code: deterministic, like the interpreter that owns it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, cast

from temporalio import workflow
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine.passes import ChildEnd
from everstep.temporal import names
from everstep.temporal.endings import child_failed, stop_envelope
from everstep.temporal.payloads import dump, raw
from everstep.temporal.start_input import run_arguments
from everstep.temporal.step_runner import DEFERRED, SERVER_RETRIES, TASK_BYTES

WATCH_LIMIT = timedelta(seconds=30)
"""How long one look at a child may take."""


class Run(Protocol):
    """What the children need of the interpreter."""

    @property
    def over(self) -> bool: ...
    def feed(self, what: happened.Input) -> None: ...
    def break_off(self, fault: BaseException) -> None: ...
    def look(self) -> None: ...


class ChildRuns:
    """The children that one execution of a run knows.

    Args:
        run: the run above them.
        take: takes inputs for its engine, and keeps them until there is one.
    """

    def __init__(self, run: Run, take: Callable[[happened.Input], None]) -> None:
        self.trace: str | None = None
        """Where the spans of the run above belong, for its children; None where it is not traced."""
        self._run = run
        self._take = take
        self._ours: set[str] = set()
        self._starting: set[str] = set()
        self._watches: dict[str, asyncio.Task[Any]] = {}
        self._busy: set[asyncio.Task[None]] = set()
        self._task_mark = 0
        self._task_bytes = 0

    @property
    def busy(self) -> bool:
        """Whether the server has yet to say what became of something that was asked of it."""
        return bool(self._busy)

    def start(self, command: do.StartChild) -> None:
        """Begin a child, or go on hearing of one that an execution before this has begun."""
        if command.again:
            self._ours.add(command.run)
            self._watch(command)
            self._do(self._signal(command.run, names.PARENT, {"report": True}))
        else:
            self._starting.add(command.run)
            self._do(self._start(command))

    def cancel(self, command: do.CancelChild) -> None:
        """Ask a child to end."""
        self._unwatch(command.run)
        self._do(self._cancel(command.run))

    def forward(self, command: do.ForwardAnswer) -> None:
        """Pass an answer on that came by signal."""
        body = {"request": command.request, "type": command.type, "by": command.by, "answer": command.data}
        self._do(self._forward(command, {key: value for key, value in body.items() if value is not None}))

    def heard(self, arguments: Sequence[Any]) -> None:
        """A child tells what it asks people, or how it has ended; the engine knows which children there are."""
        body = _object(arguments[0] if len(arguments) == 1 else None)
        run = body.get("run")
        try:
            for item in body.get("requests", ()):
                self._take(happened.ChildAsked(workflow.time(), str(run), _checked_view(item["view"])))
            if "end" in body:
                end = ChildEnd.from_json(body["end"])
                self._unwatch(end.run)
                self._take(happened.ChildEnded(workflow.time(), end))
        except (KeyError, TypeError, ValueError, AttributeError):
            workflow.logger.warning("ignored a signal that tells nothing of a child")

    async def _start(self, command: do.StartChild) -> None:
        call = command.call
        options: dict[str, Any] = {"parent": workflow.info().workflow_id}
        if call.timeout is not None:
            options["timeout"] = call.timeout
        if self.trace is not None:
            options["trace"] = self.trace
        arguments = run_arguments(dump(call.start), call.state)
        while not self._fits(sum(len(each.payload.data) for each in arguments)):
            await workflow.sleep(timedelta(milliseconds=1), summary=DEFERRED)
        # An id that the caller has given names work, as that of any run; ours belongs to this very run.
        given = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
        try:
            child: asyncio.Task[RawValue] = await workflow.start_child_workflow(
                call.flow,
                args=arguments,
                id=command.run,
                task_queue=call.task_queue,
                result_type=RawValue,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE if call.run_id is None else given,
                memo={names.MEMO: options},
            )
        except WorkflowAlreadyStartedError:
            reason = f"a run {command.run!r} exists already: choose another run_id, or leave it out"
            self._end(ChildEnd.failed(command.run, "everstep.errors.RunAlreadyStartedError", reason))
        except FailureError as error:
            self._end(child_failed(command.run, error))
        else:
            self._ours.add(command.run)
            child.add_done_callback(partial(self._ended, command))
        finally:
            self._starting.discard(command.run)

    def _fits(self, size: int) -> bool:
        """Whether one more child may be begun by the present workflow task."""
        mark = workflow.info().get_current_history_length()
        if mark != self._task_mark:
            self._task_mark, self._task_bytes = mark, 0
        if self._task_bytes and self._task_bytes + size > TASK_BYTES:
            return False
        self._task_bytes += size
        return True

    def _ended(self, command: do.StartChild, child: asyncio.Task[RawValue]) -> None:
        if child.cancelled():
            return
        error = child.exception()
        if error is None:
            self._end(ChildEnd(command.run, stop_envelope(child.result().payload, command.call.stop)))
        else:
            self._end(child_failed(command.run, error))

    def _watch(self, command: do.StartChild) -> None:
        task = workflow.start_activity(
            names.WATCH,
            raw({"run": command.run, "stop": command.call.stop}),
            start_to_close_timeout=WATCH_LIMIT,
            retry_policy=SERVER_RETRIES,
            activity_id=f"child-{command.run}",
            summary=command.run,
        )
        self._watches[command.run] = task
        task.add_done_callback(partial(self._watched, command.run))

    def _watched(self, run: str, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return
        error = task.exception()  # asked for in any case, or asyncio would log it
        if self._watches.get(run) is not task or self._run.over:
            return
        del self._watches[run]
        self._end(ChildEnd.from_json(task.result()) if error is None else child_failed(run, error))

    def _unwatch(self, run: str) -> None:
        task = self._watches.pop(run, None)
        if task is not None:
            task.cancel()

    def _end(self, end: ChildEnd) -> None:
        if not self._run.over:
            self._run.feed(happened.ChildEnded(workflow.time(), end))

    async def _cancel(self, run: str) -> None:
        await workflow.wait_condition(lambda: run not in self._starting)
        if run in self._ours:  # else the id is that of another run
            with suppress(FailureError):  # it has ended
                await workflow.get_external_workflow_handle(run).cancel(reason="the run above has ended")

    async def _signal(self, run: str, signal: str, body: Mapping[str, Any]) -> None:
        with suppress(FailureError):  # it has ended, which is told otherwise
            await workflow.get_external_workflow_handle(run).signal(signal, raw(body))

    async def _forward(self, command: do.ForwardAnswer, body: Mapping[str, Any]) -> None:
        try:
            await workflow.get_external_workflow_handle(command.run).signal(names.RESPOND, raw(body))
        except FailureError:
            reason = f"run {command.run} has ended; it takes no more messages"
            self._run.feed(happened.MessageMalformed(workflow.time(), dict(body), reason, command.by))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._busy.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._busy.discard(task)
        if task.cancelled():
            return
        fault = task.exception()
        if fault is not None:
            self._run.break_off(fault)
        self._run.look()


def _checked_view(view: Any) -> dict[str, Any]:
    """A view of a request that is complete enough to be kept and shown."""
    found = _object(view)
    if not (isinstance(found.get("id"), str) and isinstance(found.get("type"), str)):
        raise ValueError("a request has an id and a type")
    return found


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
