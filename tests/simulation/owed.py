"""Which events a run owes to which steps: each that took effect is given once, kept, asked, or told to be unhandled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from everstep.engine.commands import Command, Publish, RunStep
from everstep.engine.messages import Envelope, Outcome
from everstep.engine.run import Run
from everstep.engine.streams import ROOT
from everstep.flow.definition import FlowDefinition, StepDefinition
from tests.simulation.broken import hold


@dataclass(frozen=True, slots=True)
class Effective:
    """An event that took effect. `target` is the one step that it is for; `answer`: it goes to a wait alone."""

    event: Envelope
    target: str | None = None
    answer: bool = False

    @property
    def uid(self) -> str:
        """What tells it from all others of the run."""
        return self.event.data["uid"]


def effects(outcome: Outcome) -> list[Effective]:
    """The events that an outcome gives out."""
    returned = outcome.returned
    events = returned if isinstance(returned, list) else [] if returned is None else [returned]
    if outcome.suspended:
        events = []
    return [Effective(one.event, one.step) for one in outcome.sent] + [Effective(one) for one in events]


class OwedEvents:
    """The events of one run that are still owed, by their `uid`; and how often joins were to fire, and did."""

    def __init__(self, flow: FlowDefinition) -> None:
        self.flow = flow
        self.owed: dict[str, set[str]] = {}
        self.kept: set[str] = set()
        self.answers: set[str] = set()
        self.given: set[tuple[str, str]] = set()
        self.taken: dict[str, tuple[str, int]] = {}
        self.collected: dict[tuple[str, str], int] = {}
        self.opened: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self.fired_empty: Counter[str] = Counter()
        self.unhandled = 0
        self.told_unhandled = 0

    def told(self, command: Command) -> None:
        """The engine says that nobody takes an event."""
        if isinstance(command, Publish):
            self.told_unhandled += command.event.type == "UnhandledEvent"

    def begun(self, call: RunStep) -> None:
        """An invocation starts for the first time: it is given what it is owed, and nothing twice."""
        if call.record is not None:
            return
        if call.batch is not None and self.flow.steps[call.step].join:
            self._joined(call.step, empty=not call.batch)
        for event in [call.event] if call.event is not None else call.batch or ():
            if "uid" in event.data:
                key = (call.step, event.data["uid"])
                hold(key not in self.given, f"an event is given once: {key[1]} came to {key[0]} twice")
                waited = self.taken.get(key[1], ("", 0))[0] == call.step
                hold(not waited, f"who waited for an event is not given it too: {key[0]} was given {key[1]}")
                self.given.add(key)

    def ran(self, call: RunStep) -> None:
        """A pass starts: an event answers one wait, and is in one batch of a buffer."""
        record = call.record
        if record is None:
            return
        for event in record.answers:
            if event is not None and "uid" in event.data:
                taker, uid = (call.step, record.origin), event.data["uid"]
                hold(self.taken.setdefault(uid, taker) == taker, f"an event answers one wait: {uid} answered two")
                given = (call.step, uid) in self.given
                hold(not given, f"who waited for an event is not given it too: {call.step} was given {uid}")
        for buffer, batch in record.collected:
            for event in batch or ():
                key = f"{call.step}/{buffer}", event.data["uid"]
                first = self.collected.setdefault(key, record.origin)
                hold(first == record.origin, f"an event is in one batch: {key[1]} is in two of {key[0]}")

    def committed(self, events: Iterable[Effective], run: Run) -> None:
        """These events took effect by the last input: find out who is owed what."""
        for one in events:
            waited = self._taker(one.uid, run)
            if one.answer:
                hold(waited is not None, f"an answer reaches the step that asked: {one.uid} did not")
                continue
            steps = self._takers(one)
            # A join that takes the first few lets later members of its stream go.
            self.owed[one.uid] = {step.name for step in steps if not step.take} - {waited}
            question = "InputRequiredEvent" in self._ancestors(one.event)
            asked = any(request.question.data.get("uid") == one.uid for request in run.requests.values())
            hold(question == asked, f"a question opens one request: {one.uid} did not, or is none and did")
            if steps or question or waited:
                continue
            if any(uid == one.uid for uid in _kept(run)):
                self.kept.add(one.uid)
            else:
                self.unhandled += 1

    def listed(self, step: str, outcome: Outcome, run: Run) -> None:
        """If this outcome is a list it has opened a stream, whose joins are to fire; those of an empty one at once."""
        if outcome.suspended or not isinstance(outcome.returned, list):
            return
        feeds = self.flow.steps[step].feeds
        self.opened.update(feeds)
        if run.active and not outcome.returned:
            fired = {one.step for one in run.invocations.values() if one.batch == []}
            hold(fired >= set(feeds), f"an empty list fires its joins: that of {step} did not")

    def settled(self, run: Run) -> None:
        """Assert what must hold at rest."""
        for join in self.opened:
            waits = run.streams.keys() != {ROOT}
            hold(waits or self.fired[join], f"a join fires when its stream ends: {join} never did")

    def check(self, run: Run) -> None:
        """Assert that everything owed is still there, after any input."""
        self._look_for_kept(run)
        self._look_for_owed(run)
        hold(
            self.told_unhandled == run.unhandled == self.unhandled,
            f"what nobody takes is told: {self.unhandled} were to be, {self.told_unhandled} were",
        )

    def _look_for_kept(self, run: Run) -> None:
        if self.kept:
            here = set(_kept(run))
            for uid in self.kept - here:
                hold(self._taker(uid, run), f"nothing is lost: {uid} was kept for a later wait, and is gone")
            self.kept &= here

    def _look_for_owed(self, run: Run) -> None:
        there: set[tuple[str, str]] | None = None
        for uid, steps in list(self.owed.items()):
            steps -= {step for step in steps if (step, uid) in self.given}
            if not steps:
                del self.owed[uid]
                continue
            if there is None:
                there = set(_there(run))
            for step in [one for one in steps if (one, uid) not in there]:
                # What lacks its partners when its stream ends is told to be unhandled.
                hold(self.flow.steps[step].parameters, f"nothing is lost: {uid} never came to {step}")
                steps.remove(step)
                self.unhandled += 1

    def _joined(self, join: str, *, empty: bool) -> None:
        self.fired[join] += 1
        self.fired_empty[join] += empty
        hold(self.fired_empty[join] <= self.opened[join], f"a join fires once for each stream: {join} fired again")

    def _takers(self, one: Effective) -> list[StepDefinition]:
        """The steps that are to have an event, told from the definition alone."""
        event, ancestors = one.event, self._ancestors(one.event)
        return [
            step
            for step in self.flow.steps.values()
            if step.role == "step"
            and one.target in (None, step.name)
            and (
                event.type in step.accepts or (step.accept_event_subclasses and not ancestors.isdisjoint(step.accepts))
            )
        ]

    def _ancestors(self, event: Envelope) -> set[str]:
        known = self.flow.events.get(event.type)
        return set(known.ancestors if known is not None else event.ancestors)

    def _taker(self, uid: str, run: Run) -> str | None:
        """The step that took an event by waiting for it."""
        if uid in self.taken:
            return self.taken[uid][0]
        for one in run.invocations.values():
            if one.record is not None and any(a is not None and a.data.get("uid") == uid for a in one.record.answers):
                return one.step
        return None


def _kept(run: Run) -> Iterator[str]:
    for kept in run.kept.by_type.values():
        yield from (event.data["uid"] for event, _ in kept if "uid" in event.data)


def _there(run: Run) -> Iterator[tuple[str, str]]:
    """What is queued or running, collected for joins, or waits for its partners."""
    for one in run.invocations.values():
        for event in [one.event] if one.event is not None else one.batch or ():
            if "uid" in event.data:
                yield one.step, event.data["uid"]
    for stream in run.streams.values():
        for join, batch in stream.collected.items():
            yield from ((join, event.data["uid"]) for event in batch.events)
        for step, slots in stream.slots.items():
            yield from ((step, event.data["uid"]) for event in slots.left())
