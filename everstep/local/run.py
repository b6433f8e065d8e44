"""One run in process: feeds the engine and carries out its commands on asyncio.

Inputs are applied one at a time, in order of arrival; user code runs only in tasks of `Invoker.run`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from functools import partial, singledispatchmethod
from typing import Any

from everstep.attempts import Attempts, jitter_seed
from everstep.context import StepScope
from everstep.context.snapshot import Snapshot
from everstep.engine import children, views
from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine.core import Engine
from everstep.engine.messages import Envelope, Outcome
from everstep.engine.notices import Watch
from everstep.engine.passes import ChildEnd
from everstep.engine.stream import shown
from everstep.errors import (
    ContextStateError,
    ResponseRefusedError,
    WorkflowCancelledByUser,
    WorkflowTimeoutError,
)
from everstep.events import Event
from everstep.exception_data import exception_text, exception_to_data
from everstep.invoke import Invoker
from everstep.judge import judge
from everstep.local.children import Above, LocalChildren, MakeRun
from everstep.local.clock import Clock, Timer
from everstep.local.endings import failure
from everstep.local.lock import LocalLocks
from everstep.local.report import kinds, tell, tell_nothing
from everstep.local.stream import LocalStream
from everstep.local.traces import LocalTraces
from everstep.run_path import PathRecorder
from everstep.state_store import begin_state
from everstep.wire import StepCall


class LocalRun:
    """A run of a flow in this process.

    Args:
        invoker: runs the steps.
        run_id: the run's id.
        loop: where it runs.
        clock: what its timers go by.
        make: makes the runs of its children.
        timeout: instead of the flow's own, in seconds.
        above: takes what it asks people, if it is the child of another run.
    """

    def __init__(
        self,
        invoker: Invoker,
        run_id: str,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        make: MakeRun,
        *,
        timeout: float | None = None,
        above: Above | None = None,
    ) -> None:
        self.invoker = invoker
        self.run_id = run_id
        definition = invoker.flow.definition
        self.engine = Engine(definition if timeout is None else replace(definition, timeout=timeout), run_id)
        self.end: ChildEnd | None = None
        self._above = above
        self.clock = clock
        self.path = PathRecorder(run_id)
        self.stream = LocalStream(clock)
        self.ended: asyncio.Future[Envelope] = loop.create_future()
        self._loop = loop
        self._clock = clock.now
        self._inputs: deque[happened.Input] = deque()
        self._applying = False
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._trying: dict[int, tuple[Attempts, int]] = {}
        self._tried: dict[int, Mapping[str, Any]] = {}
        self._timers: dict[str, Timer] = {}
        self._last_error: Exception | None = None
        self._senders: dict[int, asyncio.Future[None]] = {}
        self._locks = LocalLocks(self.feed, clock.now)
        module = type(invoker.flow).__module__
        self._children = LocalChildren(make, self.feed, self.stream.publish, clock.now, module)
        self._traces: LocalTraces | None = None
        self.trace_above: str | None = None
        self._watch = Watch(self.engine.run, partial(self.stream.publish, internal=True))
        self._report = tell if invoker.flow.verbose else tell_nothing

    def start(self, event: Event, state: Mapping[str, Any] | None) -> None:
        """Begin with the start event."""
        now = self._clock()
        self._trace(now)
        self.feed(happened.StartRun(now, self.invoker.encode(event), state))

    def begin(self, start: Mapping[str, Any], state: Mapping[str, Any] | None) -> None:
        """Begin with the fields of the start event.

        Raises:
            EverstepError: they do not fit, or the state does not.
        """
        event = self.invoker.decode(Envelope(self.engine.definition.start, start))
        self.start(event, begin_state(self.invoker.types.state, state))

    def resume(self, snapshot: Snapshot) -> None:
        """Go on from where a run was taken down."""
        self.engine = snapshot.restored(self.run_id)
        self._watch = Watch(self.engine.run, partial(self.stream.publish, internal=True))
        self._tried = dict(snapshot.tries)
        self._children.go_on_with(snapshot.children)
        self._trace(self.engine.run.started_at)
        self.feed(happened.Restored(self._clock()))

    def _trace(self, started_at: float) -> None:
        kind, above = self.invoker.flow.span_kind, self.trace_above
        traces = self._traces = LocalTraces.of(self.engine.run, self.run_id, started_at, kind, self._clock, above)
        self._children.trace = None if traces is None else traces.watch.traceparent

    def snapshot(self) -> Snapshot:
        """The run as it is now; it goes on.

        Raises:
            ContextStateError: it has not begun.
        """
        if self.engine.run.status == "new":
            raise ContextStateError(
                f"run {self.run_id} has not begun, and cannot be taken down yet: it waits for its turn, as "
                f"{self.engine.definition.name} has num_concurrent_runs"
            )
        children = self._children.taken_down()
        now = self._clock()
        tries = {
            number: {"attempts": attempt, "tries": attempts.tries(now)}
            for number, (attempts, attempt) in self._trying.items()
        }
        return Snapshot.of(self.run_id, self.engine, tries, children)

    def feed(self, what: happened.Input) -> None:
        """Apply an input and what follows from it."""
        self._inputs.append(what)
        if self._applying:
            return
        self._applying = True
        try:
            while self._inputs:
                what = self._inputs.popleft()
                commands = self.engine.apply(what)
                self._watch.saw(what, commands)
                self.path(self.engine, what, commands)
                if self._traces is not None:
                    self._traces.watch.applied(what, commands, live=True)
                for command in commands:
                    self._carry_out(command)
        except Exception as fault:
            self._break_off(fault)
            raise
        finally:
            self._applying = False

    def _break_off(self, fault: Exception) -> None:
        """The run cannot go on, by no fault of its steps: nobody is to wait for it in vain."""
        self._inputs.clear()
        for task in self._tasks.values():
            task.cancel()
        for sender in [sender for sender in self._senders.values() if not sender.done()]:
            sender.set_exception(fault)
        self.engine.run.status = "failed"
        self.engine.run.let_go()
        if not self.ended.done():
            error = exception_to_data(fault)
            self.end = ChildEnd.failed(self.run_id, error["type"], error["message"])
            self._fail("WorkflowFailedEvent", {"step_name": "", "exception": error}, fault)

    async def send(
        self,
        data: Mapping[str, Any],
        *,
        type_name: str | None,
        answer: bool,
        request: str | None = None,
        step: str | None = None,
        by: str | None = None,
    ) -> None:
        """Give the run a message and wait for the verdict.

        Raises:
            ResponseRefusedError: it was refused.
        """
        sender = self._senders[self.engine.run.next_message] = self._loop.create_future()
        self.feed(happened.MessageReceived(self._clock(), data, type_name, answer, request, step, by))
        await sender

    def cancel(self, reason: str) -> None:
        """End the run as cancelled."""
        self.feed(happened.CancelRequested(self._clock(), reason))

    @singledispatchmethod
    def _carry_out(self, command: object) -> None:
        raise TypeError(f"the local driver knows no command {type(command).__name__}")

    @_carry_out.register
    def _(self, command: do.RunStep) -> None:
        several = bool(self.engine.definition.steps[command.step].parameters)
        call = StepCall(
            self.run_id, command.invocation, command.event, command.batch, record=command.record, one_each=several
        )
        task = self._loop.create_task(self._run_step(command.step, call), name=f"{command.step}#{command.invocation}")
        self._tasks[command.invocation] = task

    @_carry_out.register
    def _(self, command: do.CancelStep) -> None:
        task = self._tasks.pop(command.invocation, None)
        if task is not None:
            task.cancel()

    @_carry_out.register
    def _(self, command: do.SetTimer) -> None:
        delay = max(0.0, command.at - self._clock())
        self._timers[command.timer] = self.clock.call_later(delay, partial(self._fired, command.timer))

    @_carry_out.register
    def _(self, command: do.CancelTimer) -> None:
        self._timers.pop(command.timer).cancel()

    @_carry_out.register
    def _(self, command: do.JudgeMessage) -> None:
        verdict = judge(
            self.invoker,
            command.message,
            command.types,
            command.data,
            waited=command.waited,
            question=command.question,
            outside=command.outside,
        )
        self._inputs.append(happened.MessagesJudged(self._clock(), [verdict]))

    @_carry_out.register
    def _(self, command: do.ReplyToMessage) -> None:
        sender = self._senders.pop(command.message, None)
        if sender is None or sender.done():
            return
        if command.accepted:
            sender.set_result(None)
        else:
            sender.set_exception(ResponseRefusedError(command.reason))

    @_carry_out.register
    def _(self, command: do.GrantLock) -> None:
        self._locks.granted(command)

    @_carry_out.register
    def _(self, command: do.RefuseLock) -> None:
        self._locks.refused(command)

    @_carry_out.register
    def _(self, command: do.StartChild) -> None:
        self._children.start(command)

    @_carry_out.register
    def _(self, command: do.CancelChild) -> None:
        self._children.cancel(command)

    @_carry_out.register
    def _(self, command: do.ForwardAnswer) -> None:
        self._children.forward(command, self._senders.pop(command.message, None))

    @_carry_out.register
    def _(self, command: do.RequestChanged) -> None:
        if self._above is not None:
            self._above(views.request(self.engine.run, command.request), command.opened)

    @_carry_out.register
    def _(self, command: do.Publish) -> None:
        """It is among what the watch tells."""

    @_carry_out.register
    def _(self, command: do.CompleteRun) -> None:
        self.end = children.end_of(self.run_id, command)
        self.stream.publish(command.event)
        self._end()
        self.ended.set_result(command.event)

    @_carry_out.register
    def _(self, command: do.FailRun) -> None:
        self.end = children.end_of(self.run_id, command)
        if command.kind == "timeout":
            told = {"timeout": command.timeout, "active_steps": list(command.active_steps)}
            self._fail("WorkflowTimedOutEvent", told, WorkflowTimeoutError(command.message))
            return
        data, error = failure(command, self._last_error, self.engine.definition.name)
        self._fail("WorkflowFailedEvent", data, error)

    @_carry_out.register
    def _(self, command: do.CancelRun) -> None:
        self.end = children.end_of(self.run_id, command)
        why = f": {command.reason}" if command.reason else ""
        error = WorkflowCancelledByUser(f"run {self.run_id} of {self.engine.definition.name} was cancelled{why}")
        self._fail("WorkflowCancelledEvent", {}, error)

    def _fail(self, event_type: str, data: dict[str, Any], error: Exception) -> None:
        self.stream.publish(Envelope(event_type, data))
        self._end()
        self.ended.set_exception(error)
        self.ended.exception()  # marks it as seen: a run that nobody awaits is no unhandled error of the loop

    def _end(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self.stream.close()

    def _fired(self, timer: str) -> None:
        self._timers.pop(timer, None)
        self.feed(happened.TimerFired(self._clock(), timer))

    async def _run_step(self, step: str, call: StepCall) -> None:
        """All attempts of one invocation."""
        policy, record = self.invoker.specs[step].retry_policy, call.record
        number, tries = (0, None) if record is None else (record.attempts, record.tries)
        taken = self._tried.pop(call.invocation, None)
        if taken is not None:  # the run was taken down in the midst of attempts, which go on from there
            number, tries = taken["attempts"], taken["tries"]
        attempts = Attempts.going_on(policy, jitter_seed(self.run_id, call.origin), self._clock(), tries)
        try:
            while True:
                number += 1
                self._trying[call.invocation] = attempts, number
                self._report(f"{step} runs on {call.event_name}" + (f" (try {number})" if number > 1 else ""))
                try:
                    outcome = await self._attempt(step, call, attempts, number)
                except Exception as error:
                    delay = attempts.failed(error, self._clock())
                    self._report(f"{step} failed: {type(error).__name__}: {exception_text(error)}")
                    if delay is None:
                        break
                    await self.clock.sleep(delay)
                else:
                    self._tasks.pop(call.invocation, None)
                    if outcome.suspended or outcome.gathers:
                        outcome = replace(outcome, attempts=number, tries=attempts.tries(self._clock()))
                    elif number > 1:
                        outcome = replace(outcome, attempts=number)
                    self._succeeded(step, call.invocation, outcome, number)
                    return
        finally:
            self._trying.pop(call.invocation, None)
        self._tasks.pop(call.invocation, None)
        self._last_error = attempts.last_error
        self.feed(happened.StepFailed(self._clock(), call.invocation, attempts.failure()))

    async def _attempt(self, step: str, call: StepCall, attempts: Attempts, number: int) -> Outcome:
        scopes: list[StepScope] = []
        work = self.invoker.run(
            step,
            call,
            state=self._state,
            publish=lambda event: self._publish(event, call.invocation, number),
            retry_info=attempts.retry_info(self._clock()),
            lock=self._locks.of(call.invocation, number),
            scope_made=scopes.append,
            attempt=number,
        )
        with self.clock.working():
            outcome = await (work if self._traces is None else self._traces.around(step, call, number, work))
        if outcome.calls:
            begun = 0 if call.record is None else len(call.record.children)
            self._children.called(call.origin, begun, scopes[0].record.flows)
        return outcome

    def _succeeded(self, step: str, invocation: int, outcome: Outcome, attempt: int) -> None:
        self._report(f"{step} returned {kinds(outcome)}")
        if self.engine.run.active:
            for event in shown(self.engine.run.router, outcome):
                self.stream.publish(event, invocation, attempt)
        self.feed(happened.StepSucceeded(self._clock(), invocation, outcome))

    def _publish(self, event: Envelope, invocation: int, attempt: int) -> None:
        """Show an event at once; a sync step calls this from its thread."""
        try:
            on_loop = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            on_loop = False
        if on_loop:
            self.stream.publish(event, invocation, attempt)
        else:
            self._loop.call_soon_threadsafe(self.stream.publish, event, invocation, attempt)

    async def _state(self) -> Mapping[str, Any]:
        return self.engine.run.state
