"""The Temporal driver's workflow code: feeds the engine from a workflow and carries out its commands.

Deterministic and unsandboxed. It gets the flow's definition as data and imports no user code, nor what user code needs.
Every change here is replayed against the recorded histories in `tests/histories`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar, Protocol, cast

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine import state_room, views
from everstep.engine.children import end_of
from everstep.engine.core import Engine
from everstep.engine.messages import Envelope
from everstep.engine.run import Run
from everstep.flow.definition import FlowDefinition, moved_up
from everstep.temporal import names
from everstep.temporal.boundary import BY_MESSAGE, Boundary, Limits
from everstep.temporal.child_runs import ChildRuns
from everstep.temporal.doors import Doors
from everstep.temporal.endings import run_failure, run_result
from everstep.temporal.lock_keeper import LockKeeper
from everstep.temporal.message_desk import MessageDesk
from everstep.temporal.parent_line import ParentLine
from everstep.temporal.payloads import dump, pack, raw, unpack
from everstep.temporal.standing import Standing
from everstep.temporal.start_input import carried_arguments, carried_over, start_arguments
from everstep.temporal.step_runner import StepRunner
from everstep.temporal.timers import Timers

Apply = Callable[[Engine, happened.Input], list[do.Command]]
"""Gives an input to the engine: `Engine.apply`, or, while a history is replayed for a reader, one that looks on."""


class Teller(Protocol):
    """Told of all that happens to a run, also while it is replayed; it must not change anything."""

    @property
    def traceparent(self) -> str | None: ...
    def applied(self, what: happened.Input, commands: Sequence[do.Command], *, live: bool) -> None: ...


Watcher = Callable[[Run], Teller | None]
"""Begins to tell of the run that this workflow execution carries on; None where there is nothing to tell with."""

End = do.CompleteRun | do.FailRun | do.CancelRun


class Interpreter(Doors):
    """The workflow of every flow; `workflow_class` makes one class per flow of it."""

    apply: ClassVar[Apply] = staticmethod(Engine.apply)
    watcher: ClassVar[Watcher | None] = None

    def __init__(self, *_: Any) -> None:
        self.engine: Engine | None = None
        self._flow = workflow.info().workflow_type
        self._limits = Limits()
        self._ended: asyncio.Future[End | None] = asyncio.Future()
        self._crossing = False
        self._boundary: Boundary | None = None
        self.desk = MessageDesk(self, self._flow)
        self.locks = LockKeeper(self.desk.take)
        self.steps: StepRunner | None = None
        self.timers = Timers(self._timer_fired)
        self.children = ChildRuns(self, self.desk.take)
        self.above = ParentLine(self._orphaned, self.look)
        self._standing: Standing | None = None
        self._inputs: deque[happened.Input] = deque()
        self._applying = False
        self._teller: Teller | None = None
        self._fed = 0
        self._carried: tuple[int, bytes] = (-1, b"")

    async def main(self, arguments: Sequence[Any]) -> Any:
        """The run, from its start or from where the run before it left off."""
        try:
            await self._begin(arguments)
            ended = await asyncio.shield(self._ended)
            if ended is None:
                await self._continue()
                ended = await self._ended
                assert ended is not None
        except ApplicationError as refused:
            self.desk.refuse(refused.message)
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise
        except asyncio.CancelledError:
            self.desk.refuse(f"the run of {self._flow} was cancelled before it began")
            # Also when the run was about to continue as new: the next execution would not know that it was cancelled.
            ended = do.CancelRun(workflow.cancellation_reason() or "")
            if self.engine is not None and self.engine.run.active:
                self.feed(happened.CancelRequested(workflow.time(), ended.reason))
            elif self._protocol >= 3 and self._ended.done():
                ended = self._ended.result() or ended  # it had ended a moment before
        await self._close(ended)
        if isinstance(ended, do.CompleteRun):
            return run_result(ended.event, self._pinned["stops"])
        if isinstance(ended, do.FailRun):
            raise run_failure(ended)
        raise asyncio.CancelledError

    async def _close(self, ended: End) -> None:
        """Tell whoever has to know that the run has ended; a cancellation that comes meanwhile comes too late."""
        closing = asyncio.ensure_future(self._tell_all(ended)) if self._protocol >= 3 else None
        if closing is None:
            await self._tell_all(ended)
            return
        while not closing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(closing)
        closing.result()

    async def _tell_all(self, ended: End) -> None:
        if self.above.is_child:
            await self.above.close(end_of(workflow.info().workflow_id, ended))
        # Its children are asked to end before it does: what a run that has ended asks of the server is dropped.
        await workflow.wait_condition(lambda: workflow.all_handlers_finished() and not self.children.busy)

    # Beginning and going on

    async def _begin(self, arguments: Sequence[Any]) -> None:
        carried = carried_over(arguments)
        if carried is not None:
            self._go_on(carried)
            return
        start, begins_with = start_arguments(self._flow, arguments)
        options: Any = workflow.memo_value(names.MEMO, None)
        if begins_with:  # runs of old have their state in the memo, whose size is bounded
            options = {**cast("dict[str, Any]", options or {}), **begins_with}
        begun: Mapping[str, Any] = await workflow.execute_local_activity(
            names.BEGIN,
            raw({"flow": self._flow, "start": start, "options": options}),
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=10)),
        )
        if "refused" in begun:
            raise ApplicationError(begun["refused"], type="StartRefused", non_retryable=True)
        if isinstance(options, dict) and "parent" in options:
            self.above = ParentLine(self._orphaned, self.look, {"run": options["parent"]})
        definition = FlowDefinition.from_json(begun["definition"])
        engine = self._set_up(begun, Engine(definition, workflow.info().workflow_id))
        self.feed(happened.StartRun(workflow.time(), Envelope.from_json(begun["start"]), begun.get("state")))
        self.desk.open(engine)

    def _go_on(self, carried: Mapping[str, Any]) -> None:
        definition = FlowDefinition.from_json(carried["definition"])
        self.above = ParentLine(self._orphaned, self.look, carried.get("above"))
        restored = Engine.restore(definition, unpack(carried["engine"]), workflow.info().workflow_id)
        engine = self._set_up(carried, restored)
        self.feed(happened.Restored(workflow.time(), moved=True))
        self.desk.open(engine)

    def _set_up(self, begun: Mapping[str, Any], engine: Engine) -> Engine:
        self._pinned = begun["definition"]
        self._limits = Limits.from_json(begun["limits"])
        state_room.bound(engine.run, self._limits.payload)
        self.engine = engine
        waiting = begun.get("waiting", False)
        self._standing = Standing(engine.run, waiting=waiting, indexed=self._limits.search_attributes)
        watcher = type(self).watcher
        teller = self._teller = None if watcher is None else watcher(engine.run)
        trace = self.children.trace = None if teller is None else teller.traceparent
        self.steps = StepRunner(engine, self._limits, self.feed, trace)
        self._boundary = Boundary(self, engine.run, begun.get("moved", 0))
        return engine

    async def _continue(self) -> None:
        """Hand the run over to its next execution, once every sender has its answer; returns if it ends before that."""
        self.locks.close()
        await workflow.wait_condition(
            lambda: self._stays or (workflow.all_handlers_finished() and not (self.children.busy or self.above.busy))
        )
        if self._crossing and (fault := self._too_large()) is not None:
            self._end(fault)
        if self._stays:
            return
        self._crossing = False
        assert self.steps is not None
        self.steps.move()
        workflow.continue_as_new(args=carried_arguments(self._to_carry()))

    def _to_carry(self) -> bytes:
        """What the next execution begins with; written once, unless something has happened since."""
        assert self.engine is not None
        assert self._boundary is not None
        assert self._standing is not None
        if self._carried[0] != self._fed:
            carried = {
                "definition": moved_up(self._pinned),
                "limits": self._limits.to_json(),
                "engine": pack(self.engine.snapshot()),
                "waiting": self._standing.waiting,
                **({"moved": moved} if (moved := self._boundary.moved) else {}),
                **self.above.carried(),
            }
            self._carried = self._fed, dump(carried)
        return self._carried[1]

    # Feeding the engine

    def feed(self, what: happened.Input) -> None:
        """Apply an input and carry out the commands; a fault of ours fails the workflow task, never the run."""
        engine = self.engine
        assert engine is not None
        self._inputs.append(what)
        if self._applying:
            return
        self._applying = True
        try:
            while self._inputs:
                self._fed += 1
                given = self._inputs.popleft()
                commands = type(self).apply(engine, given)
                if self._teller is not None:
                    self._teller.applied(given, commands, live=not workflow.unsafe.is_replaying())
                for command in commands:
                    _CARRY_OUT[type(command)](self, command)
        except Exception as fault:
            self.break_off(fault)
            raise
        finally:
            self._applying = False
        assert self._standing is not None
        self._standing.show()
        if not isinstance(what, happened.Paused):  # the boundary itself, which goes on looking
            self.look(by_message=isinstance(what, BY_MESSAGE))

    def break_off(self, fault: BaseException) -> None:
        """Fail the workflow task, or the run where the fault is a failure of it."""
        self._stay()
        if not self._ended.done():
            self._ended.set_exception(fault)

    @property
    def over(self) -> bool:
        """Whether the run, or this execution of it, has ended: nothing more is taken from what was under way."""
        return self._ended.done() and not self._crossing

    def look(self, *, by_message: bool = True) -> None:
        """See whether it is time to continue as new."""
        if self._boundary is not None and self.engine is not None and self.engine.run.active:
            self._boundary.look(by_message=by_message)

    def _orphaned(self, reason: str) -> None:
        if self.engine is not None and self.engine.run.active and not self.over:
            self.feed(happened.CancelRequested(workflow.time(), reason))

    def _timer_fired(self, timer: str) -> None:
        if not self.over:
            self.feed(happened.TimerFired(workflow.time(), timer))

    # Carrying out commands

    def _run_step(self, command: do.RunStep) -> None:
        assert self.steps is not None
        self.steps.run(command)

    def _cancel_step(self, command: do.CancelStep) -> None:
        assert self.steps is not None
        self.steps.cancel(command)

    def _request_changed(self, command: do.RequestChanged) -> None:
        if self.above.is_child:
            assert self.engine is not None
            self.above.changed(views.request(self.engine.run, command.request), opened=command.opened)

    def _forward(self, command: do.ForwardAnswer) -> None:
        if not self.desk.redirect(command):
            self.children.forward(command)

    def _publish(self, command: do.Publish) -> None:
        """The engine's own events are not recorded: who wants them follows the history with an engine of their own."""

    def _end(self, command: End) -> None:
        self.timers.clear()
        if self.steps is not None:
            self.steps.close()
        self._stay()
        if not self._ended.done():
            self._ended.set_result(command)

    @property
    def _stays(self) -> bool:
        """Whether the run, which was about to leave, has ended before it could."""
        return self._protocol >= 3 and not self._crossing

    def _stay(self) -> None:
        """The run ends here, though it was about to leave for its next execution, which would not know its end."""
        if self._crossing:
            self._crossing = False
            self._ended = asyncio.Future()

    # The boundary to the next execution

    @property
    def limits(self) -> Limits:
        """What the worker that began the run set for it."""
        return self._limits

    @property
    def busy(self) -> bool:
        """Whether a message waits for its verdict, or what was asked of the server for an answer."""
        waited_for = self._protocol >= 3 and self.desk.waited_for
        return self.desk.judging or waited_for or self.children.busy or self.above.busy

    @property
    def _protocol(self) -> int:
        return 0 if self.engine is None else self.engine.run.protocol

    def cross(self, *, forced: bool) -> bool:
        """Leave this execution for the next one; called by the boundary.

        While what would be carried over is too large for the server the run stays, because its queues get shorter as it
        goes on; where it is `forced` to leave, it fails instead of getting stuck.
        """
        fault = self._too_large()
        if fault is None:
            if not self._ended.done():
                self._crossing = self._protocol >= 3
                self._ended.set_result(None)
            return True
        if forced:
            self._end(fault)
        return forced

    def _too_large(self) -> do.FailRun | None:
        """The failure of a run that is too large for its next execution and cannot stay; None where it is not."""
        size, limit = len(self._to_carry()), self._limits.payload
        if limit is None or size <= limit:
            return None
        return do.FailRun(
            "too-large",
            f"the run of {self._flow} has {size} bytes of state, events and requests, over the server's limit "
            f"of {limit}, and its history is too long to go on. Keep references instead of contents in events "
            "and state, or set up external storage for payloads.",
        )


_CARRY_OUT: dict[type, Callable[[Interpreter, Any], None]] = {
    do.RunStep: Interpreter._run_step,  # pyright: ignore[reportPrivateUsage]
    do.CancelStep: Interpreter._cancel_step,  # pyright: ignore[reportPrivateUsage]
    do.SetTimer: lambda run, command: run.timers.set(command),
    do.CancelTimer: lambda run, command: run.timers.cancel(command),
    do.JudgeMessage: lambda run, command: run.desk.judge(command),
    do.ReplyToMessage: lambda run, command: run.desk.reply(command),
    do.GrantLock: lambda run, command: run.locks.granted(command),
    do.RefuseLock: lambda run, command: run.locks.refused(command),
    do.StartChild: lambda run, command: run.children.start(command),
    do.CancelChild: lambda run, command: run.children.cancel(command),
    do.RequestChanged: Interpreter._request_changed,  # pyright: ignore[reportPrivateUsage]
    do.ForwardAnswer: Interpreter._forward,  # pyright: ignore[reportPrivateUsage]
    do.Publish: Interpreter._publish,  # pyright: ignore[reportPrivateUsage]
    do.CompleteRun: Interpreter._end,  # pyright: ignore[reportPrivateUsage]
    do.FailRun: Interpreter._end,  # pyright: ignore[reportPrivateUsage]
    do.CancelRun: Interpreter._end,  # pyright: ignore[reportPrivateUsage]
}


def workflow_class(flow: str, apply: Apply = Engine.apply, watcher: Watcher | None = None) -> type:
    """The workflow class of a flow: its own workflow type, with the interpreter's code; `apply` is for readers."""

    def begin(self: Interpreter, *arguments: Any) -> None:
        Interpreter.__init__(self, *arguments)

    async def run(self: Interpreter, *arguments: Any) -> Any:
        return await self.main(arguments)

    for function, name in ((begin, "__init__"), (run, "run")):
        function.__module__, function.__name__, function.__qualname__ = __name__, name, f"{flow}.{name}"
    body = {
        "__module__": __name__,
        "__qualname__": flow,
        "__init__": workflow.init(begin),
        "run": workflow.run(run),
        "apply": staticmethod(apply),
        "watcher": None if watcher is None else staticmethod(watcher),
    }
    return workflow.defn(name=flow, sandboxed=False)(type(flow, (Interpreter,), body))
