"""An engine fed from outside of its workflow as the interpreter feeds it within: what is refused, put off, or left.

It does by calls what `Interpreter` and `Boundary` do in workflow code, and must do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine import state_room
from everstep.engine.core import Engine
from everstep.engine.messages import Envelope
from everstep.engine.notices import Watch
from everstep.temporal.boundary import BY_MESSAGE, DRAIN, LEAVE, Limits, due, far_overdue, next_try, overdue
from everstep.temporal.message_desk import judgement, unjudgeable
from everstep.temporal.step_runner import DEFERRED, step_input, too_large


class UnreadableError(Exception):
    """A history holds something of which is not known here what it means."""


class Replica:
    """The engine of one execution, from its beginning.

    `now` is the time of the present workflow task.

    Args:
        run_id: the run's id.
        tell: is given the engine's own events and the states of steps.
    """

    def __init__(self, run_id: str, tell: Callable[[Envelope], None]) -> None:
        self.now = 0.0
        self._run_id = run_id
        self._tell = tell
        self._engine: Engine | None = None
        self._watch: Watch | None = None
        self._limits = Limits()
        self._early: list[happened.Input] = []
        self._length = 0
        self._size = 0
        self._suggested = False
        self._draining = False
        self._drained = False
        self._crossed = False
        self._try_at = 0
        self._judging = 0
        self._waited_for: set[int] = set()

    def begin(self, engine: Engine, limits: Mapping[str, Any], first: happened.Input) -> None:
        """The execution begins, or goes on where the one before it ended; what came before is taken now."""
        self._limits = Limits.from_json(limits)
        state_room.bound(engine.run, self._limits.payload)
        self._engine = engine
        self._watch = Watch(engine.run, self._tell)
        self._feed(first)
        early, self._early = self._early, []
        for what in early:
            self._feed(what)

    def task(self, now: float, length: int, size: int, *, suggested: bool) -> None:
        """A workflow task starts, on a history of so many events and bytes."""
        self.now, self._length, self._size, self._suggested = now, length, size, suggested

    def take(self, what: happened.Input) -> None:
        """Something from outside, or the end of a step; kept until the run has begun."""
        if self._engine is None:
            self._early.append(what)
        elif not (self._crossed and isinstance(what, happened.LockRequested)):
            self._feed(what)

    def shown(self) -> None:
        """A step has shown events by signal: the history is longer by that."""
        if self._engine is not None and self._engine.run.active and self._engine.run.protocol >= 3:
            self._look(self._engine, by_message=True)

    def judged(self, verdicts: Sequence[Mapping[str, Any]]) -> None:
        """Verdicts on messages; up to protocol 2 those that come when the run leaves are asked for again."""
        self._judging -= len(verdicts)
        if not self._closed:
            self._feed(happened.MessagesJudged(self.now, [happened.Verdict.from_json(item) for item in verdicts]))

    def fired(self, timer: str) -> None:
        """A timer fired, the engine's or one of workflow code."""
        if timer in (DRAIN, LEAVE):
            engine = self._engine
            if engine is None or not engine.run.active or not self._draining or self._crossed:
                return
            if timer == DRAIN and not overdue(self._limits, self._length, self._size):
                self._resume()
            else:
                self._drained = self._drained or timer == DRAIN
                self._crossed = self._quiet(engine)
        elif timer != DEFERRED and not self._closed:
            self._feed(happened.TimerFired(self.now, timer))

    def cancelled(self, reason: str) -> None:
        """The run is cancelled; before it has begun there is nothing to cancel."""
        if self._engine is not None and self._engine.run.active:
            self._feed(happened.CancelRequested(self.now, reason))

    def started(self, invocation: int) -> None:
        """A step was started, which must be what is known here.

        Raises:
            UnreadableError: it is not.
        """
        assert self._engine is not None
        known = self._engine.run.invocations.get(invocation)
        if known is not None and not known.running and self._draining:
            self._resume()  # it could not leave this execution: what it would have carried was too large
        if known is None or not known.running:
            raise UnreadableError(f"invocation {invocation} was started, and is not known to be due")

    def _feed(self, what: happened.Input) -> None:
        engine, watch = self._engine, self._watch
        assert engine is not None
        assert watch is not None
        waiting = [what]
        if isinstance(what, happened.MessageReceived) and what.key is not None:
            self._waited_for.add(engine.run.next_message)
        for one in waiting:
            commands = engine.apply(one)
            watch.saw(one, commands)
            for command in commands:
                if isinstance(command, do.JudgeMessage):
                    if refused := self._cannot_judge(engine, command):
                        waiting.append(refused)
                    else:
                        self._judging += 1
                elif isinstance(command, do.ReplyToMessage):
                    self._waited_for.discard(command.message)
                elif isinstance(command, do.StartChild):
                    raise UnreadableError("the run has children, which are not followed here")
                elif isinstance(command, do.RunStep) and (end := self._cannot_run(engine, command)):
                    waiting.append(end)
        if engine.run.active and not isinstance(what, happened.Paused):
            self._look(engine, by_message=isinstance(what, BY_MESSAGE))

    def _cannot_run(self, engine: Engine, command: do.RunStep) -> happened.Input | None:
        limit = self._limits.payload
        if limit is None:
            return None
        _, data = step_input(engine, command, self._run_id)
        return too_large(command, self.now, len(data), limit) if len(data) > limit else None

    def _cannot_judge(self, engine: Engine, command: do.JudgeMessage) -> happened.Input | None:
        if engine.run.protocol < 3:
            return None
        return unjudgeable(command, self.now, len(judgement(command)), self._limits.payload)

    def _look(self, engine: Engine, *, by_message: bool) -> None:
        """What the boundary does after every input."""
        length, limits = self._length, self._limits
        if self._crossed:
            return
        if not self._draining and length >= self._try_at and due(limits, length, self._size, self._suggested):
            self._draining = True
            self._feed(happened.Paused(self.now))
        if self._draining and (not by_message or engine.run.protocol < 3):
            self._crossed = self._quiet(engine)

    def _quiet(self, engine: Engine) -> bool:
        busy = self._judging or (self._waited_for and engine.run.protocol >= 3)
        return not busy and (engine.run.scheduler.in_flight == 0 or self._must_move(engine))

    def _must_move(self, engine: Engine) -> bool:
        where = self._limits, self._length, self._size
        return overdue(*where) and (engine.run.protocol < 3 or self._drained or far_overdue(*where))

    @property
    def _closed(self) -> bool:
        """Whether verdicts and timers are no longer taken: up to protocol 2, once the run is about to leave."""
        return self._crossed and self._engine is not None and self._engine.run.protocol < 3

    def _resume(self) -> None:
        self._draining = self._drained = self._crossed = False
        self._try_at = next_try(self._limits, self._length)
        self._feed(happened.Resumed(self.now))
