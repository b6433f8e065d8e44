"""What a run owes, kept from its inputs and commands, and held against the engine after every input.

It is a driver's view: what runs, which timers are set, which messages are out to be judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from everstep.engine import paths
from everstep.engine.commands import (
    CancelRun,
    CancelStep,
    CancelTimer,
    Command,
    CompleteRun,
    FailRun,
    ForwardAnswer,
    GrantLock,
    JudgeMessage,
    RefuseLock,
    ReplyToMessage,
    RunStep,
    SetTimer,
)
from everstep.engine.core import RUN_TIMEOUT
from everstep.engine.inputs import (
    Input,
    MessageReceived,
    MessagesJudged,
    Restored,
    StartRun,
    StepFailed,
    StepSucceeded,
    TimerFired,
)
from everstep.engine.mail import EARLY_TIMER
from everstep.engine.run import Run
from everstep.engine.streams import ROOT
from everstep.engine.waits import TIMER
from everstep.flow.definition import FlowDefinition
from tests.simulation.broken import hold
from tests.simulation.children import Children
from tests.simulation.edits import Edits
from tests.simulation.owed import OwedEvents, effects
from tests.simulation.people import People


class Account:
    """The account of one run of a flow.

    `running`, `timers` and `judging` are what the engine has commanded and what has not ended yet; `ends` the commands
    that ended the run.
    """

    def __init__(self, definition: FlowDefinition) -> None:
        self.definition = definition
        self.edits = Edits()
        self.events = OwedEvents(definition)
        self.people = People()
        self.children = Children()
        self.running: dict[int, RunStep] = {}
        self.timers: dict[str, float] = {}
        self.judging: dict[int, JudgeMessage] = {}
        self.ends: list[Command] = []
        self.state: dict[str, Any] = {}
        self.begun: set[int] = set()
        self._last: Counter[str] = Counter()
        self._ending: RunStep | None = None
        self._fired: str | None = None
        self._lost: list[Any] = []
        self._again: set[int] = set()

    def before(self, what: Input, run: Run) -> None:
        """Note what the engine is about to be given."""
        edited = self.edits.before(what, run)
        for change in edited:
            paths.change(self.state, change)
        self.people.before(what, run)
        self.children.before(what)
        self._again = set()
        match what:
            case StartRun(_, _, state) if run.status == "new":
                self.state = paths.copied(dict(state or {}))
            case StepSucceeded(_, number) | StepFailed(_, number):
                self._ending = self.running.pop(number, None)
                self._again = {number}
            case TimerFired(_, timer):
                self._fired = timer if self.timers.pop(timer, None) is not None else None
            case MessagesJudged(_, verdicts):
                for verdict in verdicts:
                    self.judging.pop(verdict.message, None)
            case Restored():
                self._lost = [self.running, self.timers, self.judging]
                self._again = set(self.running)
                self.running, self.timers, self.judging = {}, {}, {}
                self.edits.crashed()
                self.children.crashed()
            case _:
                pass

    def after(self, what: Input, commands: Sequence[Command], run: Run) -> None:
        """Take in what the engine commanded, and assert that nothing is owed in vain."""
        again = {one.invocation for one in commands if isinstance(one, RunStep)}
        if isinstance(what, StepSucceeded) and self._ending is not None and what.invocation not in again:
            self.events.listed(self._ending.step, what.outcome, run)
        for command in commands:
            self._told(command, run)
        match what:
            case StepSucceeded(_, number, outcome) if self._ending is not None and number not in self.running:
                for change in outcome.state:
                    paths.change(self.state, change)
                if run.active:
                    self.events.committed(effects(outcome), run)
            case StepFailed() if self._ending is not None:
                self._failed(self._ending, run)
            case MessagesJudged() | MessageReceived() if run.active:
                self.events.committed(self.people.effective(what, commands), run)
            case TimerFired() if self._fired is not None:
                self._timer(self._fired, run)
            case Restored():
                self._restored(commands)
            case _:
                pass
        self._ending = self._fired = None
        self._check(run)

    def settled(self, run: Run) -> None:
        """Assert what must hold of a run that rests or has ended."""
        hold(not self.people.untold, "every sender is told, at the latest when the run rests")
        self.edits.settled(run)
        if run.active:
            self.events.settled(run)
            hold(not run.invocations, "at rest nothing is queued")
            root = run.streams[ROOT]
            hold(root.open or not root.collected, "at rest the joins of the run's own scope have fired")

    def _told(self, command: Command, run: Run) -> None:
        hold(not self.ends or isinstance(command, ReplyToMessage | RefuseLock), f"after its end a run does {command}")
        self.events.told(command)
        self.children.told(command)
        match command:
            case RunStep():
                self._began(command)
            case CancelStep(number):
                hold(self.running.pop(number, None), f"step {number} is cancelled, and does not run")
            case SetTimer(timer, at):
                hold(timer not in self.timers, f"timer {timer} is set twice")
                self.timers[timer] = at
            case CancelTimer(timer):
                hold(self.timers.pop(timer, None) is not None, f"timer {timer} is cancelled, and is not set")
            case GrantLock() | RefuseLock():
                self.edits.told(command, run)
            case JudgeMessage(number):
                hold(number not in self.judging, f"message {number} is judged twice")
                self.judging[number] = command
            case ReplyToMessage() | ForwardAnswer():
                self.people.told(command)
            case CompleteRun() | FailRun() | CancelRun():
                hold(not (self.running or self.children.running), "a run ends with its steps and its children")
                self.ends.append(command)
                self.timers.clear()
                self.judging.clear()
            case _:
                pass

    def _began(self, call: RunStep) -> None:
        number, name = call.invocation, call.step
        hold(number not in self.running, f"step {number} is started, and runs already")
        self.running[number] = call
        if number in self.begun:
            hold(number in self._again, f"step {number} ran before, and is started again")
        else:
            hold(number > self._last[name], f"first in, first out: {name} takes {number} after {self._last[name]}")
            self._last[name] = number
            self.begun.add(number)
            self.events.begun(call)
        self.events.ran(call)
        self.children.ran(call)
        together = sum(one.step == name for one in self.running.values())
        hold(together <= self.definition.steps[name].num_workers, f"{name} runs {together} times side by side")
        hold(len(self.running) <= self.definition.max_in_flight, f"{len(self.running)} steps run at one time")

    def _failed(self, call: RunStep, run: Run) -> None:
        """A failure goes to its handler, or ends the run."""
        helped = any(
            one.event is not None and one.event.type == "StepFailedEvent" and one.event.data["step_name"] == call.step
            for one in run.invocations.values()
        )
        hold(helped or self.ends, f"a failure is handled, or fails the run: that of {call.step} did nothing")

    def _timer(self, timer: str, run: Run) -> None:
        """A timer does what it was set for."""
        hold(timer not in run.timers, f"timer {timer} has fired, and is still set")
        if timer == RUN_TIMEOUT:
            hold(self.ends, "a run timeout ends the run")
        elif timer.startswith("due:") and run.active:
            request = run.requests[timer.removeprefix("due:")]
            open_still = request.status == "open" and not (request.overdue and request.judging)
            hold(not open_still, f"a request ends when it is due: {request.id} did not")
        elif timer.startswith(EARLY_TIMER):
            number = int(timer.removeprefix(EARLY_TIMER))
            hold(number not in run.early, f"a second look is the last: message {number} waits for another")
        elif timer.startswith(TIMER):
            hold(int(timer.removeprefix(TIMER)) not in run.waiters.all, "a wait ends when its time is up")

    def _restored(self, commands: Sequence[Command]) -> None:
        """All that was under way is under way again, and first of all."""
        self.children.restored(commands)
        running, timers, judging = self._lost
        again = [one for one in commands if isinstance(one, RunStep)][: len(running)]
        hold(again == [running[number] for number in sorted(running)], "after a crash what ran runs again, first")
        hold(self.timers == timers, "after a crash the timers are as they were")
        hold(list(self.judging.items())[: len(judging)] == list(judging.items()), "after a crash messages are judged")

    def _check(self, run: Run) -> None:
        hold(run.state == self.state, "effects commit together, once: the state is another one")
        self.people.check(run)
        hold(len(self.ends) == (run.status not in ("new", "running")), "a run ends once")
        if run.active:
            hold(self.timers == run.timers, "timers are neither lost nor forgotten")
            hold(
                self.running.keys() == {one.id for one in run.invocations.values() if one.running}, "what runs is known"
            )
            hold(self.judging.keys() == run.messages.keys(), "messages are judged once")
            self.events.check(run)
            self.children.check(run)
