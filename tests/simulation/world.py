"""A random life of one run: ends, failures, people, timers, pauses and crashes in any order, all kept in a log.

The world is a driver without I/O. It keeps its own account of what the engine owes, so that nothing lost or done twice
goes unseen.
"""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

from everstep.engine.commands import (
    CancelRun,
    CancelStep,
    CancelTimer,
    Command,
    CompleteRun,
    FailRun,
    GrantLock,
    JudgeMessage,
    Publish,
    RefuseLock,
    ReplyToMessage,
    RunStep,
    SetTimer,
)
from everstep.engine.core import RUN_TIMEOUT, Engine
from everstep.engine.inputs import (
    CancelRequested,
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
from everstep.engine.messages import Envelope, Failure, Outcome
from tests.simulation.edits import Edits
from tests.simulation.flows import RandomFlow
from tests.simulation.invariants import check


class World:
    """One run of a random flow. `log` holds the inputs so far, `answers` the commands that each gave.

    Args:
        made: the flow.
        rng: where the schedule comes from.
        saves: whether the engine is now and then replaced by one restored from its snapshot, unseen by the log.
    """

    def __init__(self, made: RandomFlow, rng: Random, *, saves: bool = True) -> None:
        self.made, self.rng, self.saves = made, rng, saves
        self.engine = Engine(made.definition)
        self.now = 0.0
        self.log: list[Input] = []
        self.answers: list[list[Command]] = []
        self.running: dict[int, RunStep] = {}
        self.judging: dict[int, JudgeMessage] = {}
        self.timers: dict[str, float] = {}
        self.ends: list[Command] = []
        self.delivered: Counter[tuple[str, str]] = Counter()
        self.begun: set[int] = set()
        self.taken: dict[str, tuple[str, int]] = {}
        self.collected: dict[tuple[str, str], int] = {}
        self.effective: list[tuple[Envelope, str | None]] = []
        self.unhandled: list[Envelope] = []
        self.sent_messages: list[int] = []
        self.replies: Counter[int] = Counter()
        self.keys: list[str] = []
        self.edits = Edits(rng)

    def live(self, length: int) -> None:
        """Start, let `length` things happen, and bring the run to rest."""
        self.apply(StartRun(self.now, self.made.event("StartEvent"), {"a": {"b": 1}}))
        actions = (
            [self.end_step] * 12
            + [self.judge] * 5
            + [self.answer] * 4
            + [self.send] * 3
            + [self.edit] * 6
            + [self.fire, self.stale, self.pause, self.resume, self.crash, self.malformed]
        )
        for _ in range(length):
            self.rng.choice(actions)()
        if self.rng.random() < 0.1:
            self.apply(CancelRequested(self.now, "enough"))
        self.apply(Resumed(self.now))
        while self.running or self.judging:
            self.end_step()
            self.judge()

    def apply(self, what: Input) -> list[Command]:
        """Apply an input, check the engine, and keep account of its commands."""
        self.edits.before(what, self.engine)
        commands = self.engine.apply(what)
        check(self.engine)
        self.log.append(what)
        self.answers.append(commands)
        for command in commands:
            self._account(command, again=isinstance(what, Restored | StepSucceeded))
        if self.saves and self.rng.random() < 0.1:
            self.save()
        return commands

    def save(self) -> None:
        """Go on with an engine restored from JSON whose keys were sorted."""
        snapshot = self.engine.snapshot()
        text = json.dumps(snapshot, sort_keys=True)
        self.engine = Engine.restore(self.made.definition, json.loads(text))
        check(self.engine)
        assert json.dumps(self.engine.snapshot(), sort_keys=True) == text

    # What may happen

    def end_step(self) -> None:
        """A running invocation ends, well or badly; any of them, whatever its age."""
        if not self.running:
            return
        number = self.rng.choice(list(self.running))
        call = self.running.pop(number)
        self.now += self.rng.random()
        if self.rng.random() < 0.05:
            claimed = Outcome(state=[["set", "edited", -1]], edits=(7,))
            commands = self.apply(StepSucceeded(self.now, number, claimed))
            assert [one for one in commands if isinstance(one, RunStep)] == [call], "it runs again"
            return
        result = self.made.perform(call)
        if isinstance(result, Failure):
            self.apply(StepFailed(self.now, number, result))
            return
        returned = result.returned
        events = returned if isinstance(returned, list) else [returned] if returned else []
        self.apply(StepSucceeded(self.now, number, result))
        if number not in self.running:  # else a batch was complete: the pass runs again, and this one does not count
            self.effective += [(one.event, one.step) for one in result.sent] + [(one, None) for one in events]

    def edit(self) -> None:
        """A step asks for the run's lock, holds it, commits, or gives it back."""
        what = self.edits.next(self.engine, list(self.running), self.now)
        if what is not None:
            self.apply(what)

    def judge(self) -> None:
        """Some of the messages get their verdicts, in order."""
        numbers = list(self.judging)[: self.rng.randint(1, 3)]
        verdicts = [self._verdict(self.judging.pop(number)) for number in numbers]
        if not verdicts:
            return
        messages = dict(self.engine.run.messages)
        commands = self.apply(MessagesJudged(self.now, verdicts))
        taken = {one.message for one in commands if isinstance(one, ReplyToMessage) and one.accepted}
        for verdict in verdicts:
            message = messages[verdict.message]
            request = self.engine.run.requests.get(message.request or "")
            waits = request is not None and request.waiter is not None  # then nobody else gets the answer
            if verdict.event is not None and not waits and (message.expiry or verdict.message in taken):
                self.effective.append((verdict.event, message.step))

    def answer(self) -> None:
        """A person answers: rightly, twice, too late, to nothing, in a wrong type or form."""
        known = list(self.engine.run.requests)
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
        if self.timers and self.rng.random() < 0.8:
            timer = min(self.timers, key=lambda name: (self.timers[name], name))
            if timer == RUN_TIMEOUT and self.rng.random() < 0.8:
                return
            self.now = max(self.now, self.timers.pop(timer))
            self.apply(TimerFired(self.now, timer))
        else:
            timer = self.rng.choice(("due:begin-1", "due:step0-1", "nonsense"))
            if timer not in self.timers:
                self.apply(TimerFired(self.now, timer))

    def stale(self) -> None:
        """An invocation that does not run reports something."""
        number = self.rng.randint(0, 40)
        if number not in self.running:
            before = self.engine.snapshot()
            self.apply(StepSucceeded(self.now, number, self.made_up()))
            assert self.engine.snapshot() == before | {"now": self.now}

    def made_up(self) -> Any:
        """An outcome that nobody waits for."""
        call = RunStep(1, "begin", None)
        result = self.made.perform(call)
        while isinstance(result, Failure):
            result = self.made.perform(call)
        return result

    def pause(self) -> None:
        """The driver wants a quiet point."""
        self.apply(Paused(self.now))

    def resume(self) -> None:
        """The driver goes on."""
        self.apply(Resumed(self.now))

    def crash(self) -> None:
        """All that ran is lost: the engine is saved, restored, and told."""
        self.save()
        lost, timers, judging = self.running, self.timers, self.judging
        self.running, self.timers, self.judging = {}, {}, {}
        self.edits.crashed()
        commands = self.apply(Restored(self.now))
        again = [one.invocation for one in commands if isinstance(one, RunStep)]
        assert again[: len(lost)] == sorted(lost), "what ran runs again first"
        assert all(self.running[number] == call for number, call in lost.items())
        assert self.timers == timers
        assert list(self.judging.items())[: len(judging)] == list(judging.items())

    # Accounts

    def _message(self, type_name: str | None, **options: Any) -> None:
        data = options.pop("data", {"uid": f"message-{len(self.sent_messages)}"})
        key = self.rng.choice((None, None, f"key-{len(self.keys)}", *self.keys[-3:]))
        if key is not None:
            self.keys.append(key)
        self.sent_messages.append(self.engine.run.next_message)
        self.apply(MessageReceived(self.now, data, type_name, key=key, **options))

    def _verdict(self, command: JudgeMessage) -> Verdict:
        if self.rng.random() < 0.25:
            return Verdict(command.message, None, "it does not fit")
        return Verdict(command.message, self.made.event(self.rng.choice(list(command.types))))

    def _account(self, command: Command, *, again: bool) -> None:
        match command:
            case RunStep():
                self._began(command, again=again)
            case CancelStep(number):
                del self.running[number]
            case SetTimer() | CancelTimer():
                self._timer(command)
            case GrantLock() | RefuseLock():
                self.edits.told(command, self.engine)
            case JudgeMessage(number):
                assert number not in self.judging
                self.judging[number] = command
            case ReplyToMessage(number):
                self.replies[number] += 1
            case Publish(event):
                self.unhandled += [event] * (event.type == "UnhandledEvent")
            case CompleteRun() | FailRun() | CancelRun():
                self.ends.append(command)
                assert not self.running
                self.timers.clear()
                self.judging.clear()

    def _timer(self, command: SetTimer | CancelTimer) -> None:
        if isinstance(command, CancelTimer):
            del self.timers[command.timer]
        else:
            assert command.timer not in self.timers
            self.timers[command.timer] = command.at

    def _began(self, command: RunStep, *, again: bool) -> None:
        number = command.invocation
        assert number not in self.running
        self.running[number] = command
        self._told(command)
        if command.record is None and not (again and number in self.begun):
            given = [command.event] if command.event is not None else command.batch or ()
            self.delivered.update((command.step, one.data["uid"]) for one in given if "uid" in one.data)
        self.begun.add(number)

    def _told(self, command: RunStep) -> None:
        """An event answers one wait, and is in one batch of a buffer."""
        record = command.record
        if record is None:
            return
        for event in record.answers:
            if event is not None and "uid" in event.data:
                taker = command.step, record.origin
                assert self.taken.setdefault(event.data["uid"], taker) == taker, "answered two waits"
        for buffer, batch in record.collected:
            for event in batch or ():
                key = f"{command.step}/{buffer}", event.data["uid"]
                assert self.collected.setdefault(key, record.origin) == record.origin, "in two batches"

    def settled(self) -> None:
        """Assert what must hold of a run that rests or has ended: nothing owed, nothing done twice."""
        run = self.engine.run
        assert len(self.ends) == (0 if run.active else 1)
        assert all(count == 1 for count in self.delivered.values()), "delivered twice"
        assert all(self.replies[number] == 1 for number in self.sent_messages), "a sender was not told, or told twice"
        assert self.timers == run.timers
        self.edits.settled(self.engine)
        if run.active:
            self._all_delivered()

    def _all_delivered(self) -> None:
        """At rest, every event that counted was given to every step that takes it, joined, asked, or unhandled."""
        run = self.engine.run
        assert not run.invocations
        assert not any(stream.collected for stream in run.streams.values() if not stream.parent and not stream.open)
        kept = {
            (join, one.data["uid"]) for s in run.streams.values() for join, b in s.collected.items() for one in b.events
        }
        stored = {one.data["uid"] for kept in run.kept.by_type.values() for one, _ in kept if "uid" in one.data}
        asked = {request.question.data["uid"] for request in run.requests.values()}
        unhandled = 0
        for event, target in self.effective:
            uid = event.data["uid"]
            waited = self.taken.get(uid, ("", 0))[0]
            takers = [step for step in run.router.steps_for(event, target) if step.name != waited]
            question = run.router.is_a(event, "InputRequiredEvent")
            assert question == (uid in asked)
            unhandled += not (takers or question or waited or uid in stored)
            for step in takers:
                # A join that takes the first few lets later members of its stream go.
                assert (step.name, uid) in self.delivered or (step.name, uid) in kept or step.take, f"{uid} was lost"
        assert len(self.unhandled) == run.unhandled == unhandled
