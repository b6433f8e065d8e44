"""The engine: one object per run, `apply(input) -> commands`, in O(1) amortised per event.

Which function takes which input is a table. The same inputs give the same commands and the same snapshot, always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from everstep.engine import children, collecting, delivery, locks, mail, state_room, unjudged, waits
from everstep.engine.commands import CancelStep, Command, FailRun, RunStep, SetTimer
from everstep.engine.inputs import (
    CancelRequested,
    ChildAsked,
    ChildEnded,
    Input,
    LockReleased,
    LockRenewed,
    LockRequested,
    MessageMalformed,
    MessageReceived,
    MessagesJudged,
    Paused,
    Restored,
    Resumed,
    StartRun,
    StepFailed,
    StepSucceeded,
    TimerFired,
)
from everstep.engine.messages import Failure
from everstep.engine.run import Run
from everstep.engine.scheduling import Invocation
from everstep.engine.streams import ROOT
from everstep.flow.definition import PROTOCOL, FlowDefinition

RUN_TIMEOUT = "run-timeout"


class Engine:
    """A run of a flow, as a machine without I/O.

    Args:
        definition: the flow, pinned at the start of the run.
        run_id: the run's id; those of its children are made of it.

    Example:
        >>> engine = Engine(definition)
        >>> engine.apply(StartRun(now=0.0, event=Envelope("StartEvent", {"topic": "x"})))
        [RunStep(invocation=1, step='begin', …)]

    Raises:
        ValueError: the definition's protocol is not one that this version knows.
    """

    def __init__(self, definition: FlowDefinition, run_id: str = "") -> None:
        if definition.protocol > PROTOCOL:
            raise ValueError(
                f"the run of {definition.name} was started with engine protocol {definition.protocol}; this version of "
                f"everstep knows up to {PROTOCOL}. Run a worker with a newer everstep."
            )
        self.definition = definition
        self.run = Run(definition, run_id)

    def apply(self, happened: Input) -> list[Command]:
        """Take in what happened; gives the commands to carry out, in order."""
        run = self.run
        run.now = happened.now
        commands = run.commands = []
        _TABLE[type(happened)](self, happened)
        if run.active:
            delivery.settle(run)
        if run.active:
            self._start_steps()
        return commands

    def snapshot(self) -> dict[str, Any]:
        """The run as plain JSON."""
        return self.run.snapshot()

    @classmethod
    def restore(cls, definition: FlowDefinition, snapshot: Mapping[str, Any], run_id: str = "") -> Engine:
        """An engine that goes on exactly where `snapshot` was taken."""
        engine = cls(definition, run_id)
        engine.run.restore(snapshot)
        return engine

    def _start_steps(self) -> None:
        run = self.run
        while (number := run.scheduler.start_next()) is not None:
            invocation = run.invocations[number]
            invocation.running = True
            run.commands.append(_run_step(invocation))
        children.begin_next(run)

    def _start(self, start: StartRun) -> None:
        run = self.run
        if run.status != "new":
            return
        if start.state:
            run.set_state(start.state)
        run.status = "running"
        run.started_at = start.now
        timeout = self.definition.timeout
        if timeout is not None:
            run.timers[RUN_TIMEOUT] = start.now + timeout
            run.commands.append(SetTimer(RUN_TIMEOUT, start.now + timeout))
        if run.router.steps_for(start.event):
            delivery.deliver(run, start.event, ROOT, {})
        else:
            message = (
                f"no step of {self.definition.name} accepts {start.event.type}; start it with {self.definition.start}"
            )
            delivery.fail(run, FailRun("start", message, event=start.event.type))

    def _succeeded(self, done: StepSucceeded) -> None:
        run = self.run
        invocation = self._ended(done.invocation)
        if invocation is None:
            return
        if invocation.unjudged and done.outcome.unfit is not None:
            unjudged.unfit(run, invocation, done.outcome.unfit)
            locks.pass_over(run, invocation)
            return
        # One that lost the lock without knowing, before a block of it was committed, has to go through that again.
        fenced = not locks.kept(run, invocation, done.outcome.edits)
        if not fenced:
            run.last_step = invocation.step
        if fenced or collecting.completes(run, invocation, done.outcome):
            locks.pass_over(run, invocation, last=False)
            run.commands.append(_run_step(invocation))
            return
        if failure := state_room.refusal(run, invocation.step, done.outcome.state, done.outcome.attempts):
            self._fail(invocation, failure)
            return
        invocation.unjudged = False
        del run.invocations[invocation.id]
        run.scheduler.finish(invocation.step, failed=False)
        delivery.commit(run, invocation, done.outcome)
        locks.pass_over(run, invocation, last=not done.outcome.suspended)

    def _failed(self, failed: StepFailed) -> None:
        invocation = self._ended(failed.invocation)
        if invocation is not None:
            self._fail(invocation, failed.failure)

    def _fail(self, invocation: Invocation, failure: Failure) -> None:
        run = self.run
        run.last_step = invocation.step
        del run.invocations[invocation.id]
        run.scheduler.finish(invocation.step, failed=True)
        delivery.step_failed(run, invocation, failure)
        locks.pass_over(run, invocation)

    def _ended(self, number: int) -> Invocation | None:
        """The invocation that ended, or None for one that does not run: what is reported of it is stale."""
        invocation = self.run.invocations.get(number)
        if invocation is None or not invocation.running:
            return None
        return invocation

    def _lock_requested(self, asked: LockRequested) -> None:
        locks.request(self.run, asked)

    def _lock_released(self, done: LockReleased) -> None:
        run = self.run
        invocation = run.invocations.get(done.invocation)
        if invocation is None or done.changes is None or not locks.holds(run, done):
            locks.release(run, done)
        elif failure := state_room.refusal(run, invocation.step, done.changes):
            # Its block takes the state for changed already, so that this is the end of it.
            run.commands.append(CancelStep(invocation.id))
            self._fail(invocation, failure)
        else:
            locks.release(run, done)

    def _lock_renewed(self, alive: LockRenewed) -> None:
        locks.heard(self.run, alive)

    def _child_ended(self, what: ChildEnded) -> None:
        children.ended(self.run, what)

    def _child_asked(self, what: ChildAsked) -> None:
        children.asked(self.run, what)

    def _received(self, message: MessageReceived) -> None:
        mail.receive(self.run, message)

    def _malformed(self, message: MessageMalformed) -> None:
        mail.malformed(self.run, message)

    def _judged(self, verdicts: MessagesJudged) -> None:
        mail.judged(self.run, verdicts)

    def _fired(self, fired: TimerFired) -> None:
        run = self.run
        if fired.timer not in run.timers or not run.active:
            return
        if fired.timer == RUN_TIMEOUT:
            active = [name for name, queue in run.scheduler.queues.items() if queue.running]
            delivery.fail(
                run,
                FailRun(
                    "timeout",
                    f"the run of {self.definition.name} timed out after {self.definition.timeout:g} s; steps running: "
                    f"{', '.join(active) or 'none'}",
                    active_steps=active,
                    timeout=self.definition.timeout,
                ),
            )
        elif fired.timer.startswith(waits.TIMER):
            waits.due(run, int(fired.timer.removeprefix(waits.TIMER)))
        elif fired.timer.startswith(mail.EARLY_TIMER):
            mail.look_again(run, int(fired.timer.removeprefix(mail.EARLY_TIMER)))
        else:
            mail.due(run, fired.timer.removeprefix("due:"))

    def _cancel(self, cancel: CancelRequested) -> None:
        if self.run.status in ("new", "running"):
            delivery.cancel(self.run, cancel.reason)

    def _pause(self, _: Paused) -> None:
        self.run.scheduler.paused = True

    def _resume(self, _: Resumed) -> None:
        self.run.scheduler.paused = False

    def _restored(self, restored: Restored) -> None:
        run = self.run
        run.scheduler.paused = False
        locks.restored(run)
        for invocation in run.invocations.values():
            if invocation.running:
                if restored.moved and run.protocol > 2:
                    invocation.cut_off()
                run.commands.append(_run_step(invocation))
        run.commands.extend(SetTimer(timer, at) for timer, at in run.timers.items())
        children.restored(run)
        mail.judge_again(run)


def _run_step(invocation: Invocation) -> RunStep:
    return RunStep(
        invocation.id,
        invocation.step,
        invocation.event,
        invocation.batch,
        invocation.record,
        invocation.unjudged,
    )


_TABLE: dict[type, Callable[[Engine, Any], None]] = {
    StartRun: Engine._start,  # pyright: ignore[reportPrivateUsage]
    StepSucceeded: Engine._succeeded,  # pyright: ignore[reportPrivateUsage]
    StepFailed: Engine._failed,  # pyright: ignore[reportPrivateUsage]
    LockRequested: Engine._lock_requested,  # pyright: ignore[reportPrivateUsage]
    LockReleased: Engine._lock_released,  # pyright: ignore[reportPrivateUsage]
    LockRenewed: Engine._lock_renewed,  # pyright: ignore[reportPrivateUsage]
    ChildEnded: Engine._child_ended,  # pyright: ignore[reportPrivateUsage]
    ChildAsked: Engine._child_asked,  # pyright: ignore[reportPrivateUsage]
    MessageReceived: Engine._received,  # pyright: ignore[reportPrivateUsage]
    MessageMalformed: Engine._malformed,  # pyright: ignore[reportPrivateUsage]
    MessagesJudged: Engine._judged,  # pyright: ignore[reportPrivateUsage]
    TimerFired: Engine._fired,  # pyright: ignore[reportPrivateUsage]
    CancelRequested: Engine._cancel,  # pyright: ignore[reportPrivateUsage]
    Paused: Engine._pause,  # pyright: ignore[reportPrivateUsage]
    Resumed: Engine._resume,  # pyright: ignore[reportPrivateUsage]
    Restored: Engine._restored,  # pyright: ignore[reportPrivateUsage]
}
