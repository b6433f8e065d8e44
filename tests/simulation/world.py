"""A random life of one run: ends, failures, people, timers, pauses and crashes in any order, all kept in a log.

The world is a driver without I/O. What happens is a list of actions; each has dice of its own, so that any of them can
be left out, and what is left is a life again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from everstep.engine.commands import Command, JudgeMessage, RunStep
from everstep.engine.core import RUN_TIMEOUT, Engine
from everstep.engine.inputs import (
    CancelRequested,
    ChildAsked,
    ChildEnded,
    Input,
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
    Verdict,
)
from everstep.engine.mail import EARLY_TIMER
from everstep.engine.messages import Failure, Outcome
from everstep.engine.passes import ChildEnd
from everstep.engine.requests import REFUSALS_KEPT
from everstep.flow.definition import FlowDefinition
from tests.simulation.account import Account
from tests.simulation.broken import hold
from tests.simulation.flows import RandomFlow
from tests.simulation.invariants import check

RUN = "run"
"""The id of the run."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that happens: its kind, a method of `World`, and its dice.

    `less`: an outcome is 1: without what it sends, changes, collects and waits for; 2: without anything.
    """

    kind: str
    dice: int
    less: int = 0


class World:
    """One run of a random flow. `log` holds the inputs so far, `answers` the commands that each gave.

    A twin of the engine is given the same inputs. The action `save` replaces it by one restored from the engine's
    snapshot: it must go on as the engine does.

    Raises:
        Broken: a promise does not hold.
    """

    def __init__(self, made: RandomFlow) -> None:
        self.made = made
        self.engine = Engine(made.definition, RUN)
        # As it is read from a history.
        text = json.dumps(made.definition.to_json(), sort_keys=True)
        self._definition = FlowDefinition.from_json(json.loads(text))
        self.twin = Engine(self._definition, RUN)
        self.account = Account(made.definition)
        self.now = 0.0
        self.log: list[Input] = []
        self.answers: list[list[Command]] = []
        self.rng = made.rng
        self._less = 0
        self._keys: list[str] = []

    def live(self, actions: Iterable[Action]) -> None:
        """Let these things happen, the start of the run among them; bring it to rest; assert that nothing is owed."""
        for action in actions:
            self.do(action)
        self._rest()
        self.account.settled(self.engine.run)
        self._repeat()

    def do(self, action: Action) -> None:
        """Let one thing happen."""
        self.rng = self.made.rng = Random(action.dice)
        self._less = action.less
        ACTIONS[action.kind](self)

    def apply(self, what: Input) -> list[Command]:
        """Apply an input to the engine and its twin, and hold what they did against the account."""
        run = self.engine.run
        self.account.before(what, run)
        self.log.append(what)
        commands = self.engine.apply(what)
        self.answers.append(commands)
        check(self.engine)
        self.account.after(what, commands, run)
        hold(self.twin.apply(what) == commands, "a run goes on from its snapshot as it would have without")
        return commands

    def save(self) -> None:
        """The twin is made anew from the run's snapshot, as JSON whose keys are sorted."""
        text = _as_text(self.engine)
        self.twin = Engine.restore(self._definition, json.loads(text), RUN)
        hold(_as_text(self.twin) == text, "a snapshot holds all of a run")

    # What may happen

    def start(self) -> None:
        """The run begins, unless it has before."""
        began = self.engine.run.status != "new"
        before = self.engine.snapshot()
        self.apply(StartRun(self.now, self.made.event("StartEvent"), {"a": {"b": 1}}))
        hold(not began or self.engine.snapshot() == before | {"now": self.now}, "a run starts once")

    def end(self) -> None:
        """A running invocation ends, well or badly; any of them, whatever its age."""
        running = self.account.running
        if not running:
            return
        number = self.rng.choice(list(running))
        call = running[number]
        self.now += self.rng.random()
        if self.rng.random() < 0.05:
            claimed = Outcome(state=[["set", "edited", -1]], edits=(7,))
            commands = self.apply(StepSucceeded(self.now, number, claimed))
            again = [one for one in commands if isinstance(one, RunStep)]
            hold(again == [call], "a step that takes for committed what is not runs again")
            return
        result = self.made.perform(call)
        if call.unjudged and self.rng.random() < 0.3:
            self._found_unfit(number)
        elif isinstance(result, Failure):
            self.apply(StepFailed(self.now, number, result))
        else:
            self.apply(StepSucceeded(self.now, number, self._lessened(result)))

    def _found_unfit(self, number: int) -> None:
        """A step finds that what came from outside is no event for it: that is recorded, and is all."""
        run = self.engine.run
        refused = len(run.refused)
        counted = [(queue.done, queue.failed) for queue in run.scheduler.queues.values()]
        self.apply(StepSucceeded(self.now, number, Outcome(unfit="it does not fit")))
        hold(len(run.refused) == min(refused + 1, REFUSALS_KEPT), "a message that does not fit is recorded as refused")
        after = [(queue.done, queue.failed) for queue in run.scheduler.queues.values()]
        hold(counted == after, "what was refused is no work of a step")

    def end_child(self) -> None:
        """A child ends, well or badly; or one that is none."""
        children = self.account.children.running
        name = self.rng.choice([*children, "nobody"])
        good = self.rng.random() < 0.7
        end = ChildEnd(name, self.made.event("StopEvent")) if good else ChildEnd.failed(name, "ValueError", "no")
        ran = name in children
        commands = self.apply(ChildEnded(self.now, end))
        hold(ran or not commands, "a child that is none changes nothing")

    def ask_below(self) -> None:
        """A child tells of a request, its own or one from below it."""
        name = self.rng.choice([*self.account.children.running, "nobody"])
        view: dict[str, Any] = {"id": f"ask-{self.rng.randint(1, 3)}", "type": "Ask", "question": {}}
        view |= {"status": self.rng.choice(("open", "open", "answered", "expired"))}
        if self.rng.random() < 0.3:
            view |= {"run": f"{name}/below-1", "request": view["id"]}
        self.apply(ChildAsked(self.now, name, view))

    def edit(self) -> None:
        """A step asks for the run's lock, holds it, commits, or gives it back."""
        what = self.account.edits.next(self.rng, list(self.account.running), self.now)
        if what is not None:
            self.apply(what)

    def judge(self) -> None:
        """Some of the messages get their verdicts, in order."""
        asked = list(self.account.judging.values())[: self.rng.randint(1, 3)]
        if asked:
            self.apply(MessagesJudged(self.now, [self._verdict(one) for one in asked]))

    def answer(self) -> None:
        """A person answers: rightly, twice, too late, to nothing, in a wrong type or form."""
        known = [*self.engine.run.requests, *self.engine.run.family.requests]
        request = self.rng.choice((None, "nope", *known, *known))
        type_name = self.rng.choice((None, None, None, "Reply", "ShortReply", "StopEvent", "E0", "Nobody"))
        self._message(type_name, answer=True, request=request)

    def send(self) -> None:
        """An event from outside."""
        type_name = self.rng.choice(("Outside", "E0", "E3", "Later", "Reply", "J1", "Nobody", None))
        step = self.rng.choice((None, None, None, "begin", "outside", "gone"))
        self._message(type_name, step=step)

    def malformed(self) -> None:
        """Something that is no message, or not quite."""
        if self.rng.random() < 0.5:
            self.apply(MessageMalformed(self.now, {"x": [1]}, "no message", "eve"))
        else:
            self._message("E0", data=self.rng.choice(([1], None, "text")), by="eve")

    def fire(self) -> None:
        """The next timer fires, perhaps; or one that is none."""
        timers = self.account.timers
        if timers and self.rng.random() < 0.8:
            timer = min(timers, key=lambda name: (timers[name], name))
            if timer == RUN_TIMEOUT and self.rng.random() < 0.8:
                return
            self.now = max(self.now, timers[timer])
            self.apply(TimerFired(self.now, timer))
        else:
            timer = self.rng.choice(("due:begin-1", "due:step0-1", "nonsense"))
            if timer not in timers:
                self.apply(TimerFired(self.now, timer))

    def stale(self) -> None:
        """An invocation that does not run reports something."""
        number = self.rng.randint(0, 40)
        if number in self.account.running:
            return
        before = self.engine.snapshot()
        self.apply(StepSucceeded(self.now, number, self._made_up()))
        hold(self.engine.snapshot() == before | {"now": self.now}, "what is stale changes nothing")

    def pause(self) -> None:
        """The driver wants a quiet point."""
        self.apply(Paused(self.now))

    def resume(self) -> None:
        """The driver goes on."""
        self.apply(Resumed(self.now))

    def crash(self) -> None:
        """All that ran is lost: the engine is restored from its snapshot, and told."""
        self.save()
        self.engine = self.twin
        self.save()
        self.apply(Restored(self.now))

    def cancel(self) -> None:
        """Somebody cancels the run."""
        self.apply(CancelRequested(self.now, "enough"))
        hold(not self.engine.run.active, "a cancelled run ends")

    def _rest(self) -> None:
        """What runs ends with nothing, children fail, and nobody's message fits, at a second look either."""
        self.apply(Resumed(self.now))
        children = self.account.children
        while self.account.running or self.account.judging or children.running or self.engine.run.early:
            for number in list(self.engine.run.early):
                self.apply(TimerFired(self.now, f"{EARLY_TIMER}{number}"))
            if verdicts := [Verdict(one, None, "it does not fit") for one in self.account.judging]:
                self.apply(MessagesJudged(self.now, verdicts))
            for number in list(self.account.running):
                if number in self.account.running:
                    self.apply(StepSucceeded(self.now, number, Outcome()))
            for name in list(children.running):
                if name in children.running:
                    self.apply(ChildEnded(self.now, ChildEnd.failed(name, "ValueError", "at last")))

    def _repeat(self) -> None:
        """The log gives the same again: the same commands, the same snapshot."""
        again = Engine(self.made.definition, RUN)
        for what, commands in zip(self.log, self.answers, strict=True):
            hold(again.apply(what) == commands, "the same inputs give the same commands")
        hold(_as_text(again) == _as_text(self.engine), "the same inputs give the same snapshot")

    def _made_up(self) -> Outcome:
        """An outcome that nobody waits for."""
        while True:
            result = self.made.perform(RunStep(1, "begin", None))
            if isinstance(result, Outcome):
                return result

    def _lessened(self, outcome: Outcome) -> Outcome:
        if self._less == 0:
            return outcome
        if self._less > 1:
            return Outcome()
        return replace(outcome, sent=(), state=(), gathers=(), wait=None, effects=(), calls=())

    def _message(self, type_name: str | None, **options: Any) -> None:
        data = options.pop("data", {"uid": f"message-{self.engine.run.next_message}"})
        key = self.rng.choice((None, None, f"key-{len(self._keys)}", *self._keys[-3:]))
        if key is not None:
            self._keys.append(key)
        unattended = key is None and self.rng.random() < 0.6
        self.apply(MessageReceived(self.now, data, type_name, key=key, unattended=unattended, **options))

    def _verdict(self, command: JudgeMessage) -> Verdict:
        if self.rng.random() < 0.25:
            return Verdict(command.message, None, "it does not fit")
        return Verdict(command.message, self.made.event(self.rng.choice(list(command.types))))


ACTIONS: dict[str, Callable[[World], None]] = {
    action.__name__: action
    for action in (
        World.start,
        World.end,
        World.end_child,
        World.ask_below,
        World.edit,
        World.judge,
        World.answer,
        World.send,
        World.malformed,
        World.fire,
        World.stale,
        World.pause,
        World.resume,
        World.save,
        World.crash,
        World.cancel,
    )
}
_OFTEN = {"end": 30, "judge": 5, "edit": 7, "answer": 4, "send": 3, "save": 3, "fire": 2, "end_child": 2, "resume": 2}
_SELDOM = {"start": 0.2, "pause": 0.5, "stale": 0.5, "malformed": 0.5, "cancel": 0.05}
WEIGHTS: Sequence[float] = [(_OFTEN | _SELDOM).get(kind, 1.0) for kind in ACTIONS]


def _as_text(engine: Engine) -> str:
    return json.dumps(engine.snapshot(), sort_keys=True, allow_nan=False)
