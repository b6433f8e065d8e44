"""The way that a run took: which steps ran, how often and how long, what they gave to which; counted as it goes.

A driver shows a recorder every input of its engine with the commands that came of it; what is kept does not grow with
the number of events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine import views
from everstep.engine.core import Engine
from everstep.engine.requests import Request, timestamp
from everstep.flow.definition import FlowDefinition

Counts = Counter[tuple[str, str]]


@dataclass(slots=True)
class StepPath:
    """What one step did in a run.

    `invocations` were begun; `done`, `failed` and `cancelled` tell how they ended, `running` and `waiting` (inside the
    step, for an event or for children) what is under way. `attempts` counts all tries. `seconds` is the time that they
    took together, waits between attempts included, waits for events not; `longest` that of the longest. `first_at` and
    `last_at` are epoch seconds: when the first began, and when it was last heard of.
    """

    step: str
    invocations: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    running: int = 0
    waiting: int = 0
    attempts: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    first_at: float | None = None
    last_at: float | None = None
    last_error: str = ""

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form; times in ISO 8601."""
        out = {name: getattr(self, name) for name in self.__slots__}
        out["seconds"], out["longest"] = round(self.seconds, 6), round(self.longest, 6)
        for name in ("first_at", "last_at"):
            out[name] = None if out[name] is None else timestamp(out[name])
        return out


@dataclass(slots=True)
class RunPath:
    """The way of one run, so far; `definition` is the flow as the run has it pinned.

    `status` is ``new``, ``running``, ``waiting`` (for people), ``idle`` (for events from outside), ``completed``,
    ``failed`` or ``cancelled``; `started_at` and `ended_at` are epoch seconds. Of the counts, `taken` is by event and
    step, `given` by step and event, `waited` by event and the step that waited for it, `answered` by question and
    answer, `recovered` by failed step and handler. `open` counts the open requests and `unhandled` the events that no
    step took, by event.
    """

    run_id: str
    definition: FlowDefinition
    status: str = "new"
    started_at: float | None = None
    ended_at: float | None = None
    error: str = ""
    steps: dict[str, StepPath] = field(default_factory=dict[str, StepPath])
    taken: Counts = field(default_factory=Counts)
    given: Counts = field(default_factory=Counts)
    waited: Counts = field(default_factory=Counts)
    answered: Counts = field(default_factory=Counts)
    recovered: Counts = field(default_factory=Counts)
    open: Counter[str] = field(default_factory=Counter[str])
    unhandled: Counter[str] = field(default_factory=Counter[str])

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form, without the definition."""
        pairs: dict[str, Counts] = {
            "taken": self.taken,
            "given": self.given,
            "waited": self.waited,
            "answered": self.answered,
            "recovered": self.recovered,
        }
        return {
            "run": self.run_id,
            "flow": self.definition.name,
            "status": self.status,
            "started_at": None if self.started_at is None else timestamp(self.started_at),
            "ended_at": None if self.ended_at is None else timestamp(self.ended_at),
            "error": self.error,
            "steps": [step.to_json() for step in self.steps.values()],
            **{name: _pairs(counts) for name, counts in pairs.items()},
            "open": dict(self.open),
            "unhandled": dict(self.unhandled),
        }


def _pairs(counts: Counts) -> list[dict[str, Any]]:
    return [{"from": source, "to": target, "count": count} for (source, target), count in counts.items()]


@dataclass(slots=True)
class _Pass:
    step: str
    at: float
    attempts_before: int
    first: bool
    origin: int
    unjudged: str | None = None


class PathRecorder:
    """Counts what an engine does; call it after each input, with the commands that came of it.

    One recorder follows a run over several engines, each restored from the one before.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._engine: Engine | None = None
        self._path: RunPath | None = None
        self._passes: dict[int, _Pass] = {}
        self._suspended: dict[int, bool] = {}  # by the first number of an invocation: whether it waits for an event
        self._again: int | None = None  # whose effects were dropped just now, so that it runs once more

    def __call__(self, engine: Engine, what: happened.Input, commands: Sequence[do.Command]) -> None:
        """Count one input and its commands."""
        path = self._path
        if path is None:
            path = self._path = RunPath(self._run_id, engine.definition)
        self._engine = engine
        self._again = None
        if isinstance(what, happened.StepSucceeded):
            if (what.outcome.gathers or what.outcome.edits) and _runs_again(what.invocation, commands):
                self._again = what.invocation
            self._succeeded(path, what)
        elif isinstance(what, happened.StepFailed):
            self._failed(path, what)
        for command in commands:
            self._command(path, command, what.now)

    def path(self) -> RunPath | None:
        """The way so far, as it is now; None before the run has begun."""
        path, engine = self._path, self._engine
        if path is None or engine is None:
            return None
        run = engine.run
        return replace(
            path,
            status=views.status(run),
            started_at=run.started_at,
            steps={name: replace(step) for name, step in path.steps.items()},
            taken=Counter(path.taken),
            given=Counter(path.given),
            waited=Counter(path.waited),
            answered=Counter(_answers(path, run.requests.values())),
            recovered=Counter(path.recovered),
            open=Counter(run.requests[name].question.type for name in run.open_requests),
            unhandled=Counter(path.unhandled),
        )

    def _command(self, path: RunPath, command: do.Command, now: float) -> None:
        if isinstance(command, do.RunStep):
            self._begun(path, command, now)
        elif isinstance(command, do.CancelStep):
            one = self._passes.pop(command.invocation, None)
            if one is not None:
                path.steps[one.step].cancelled += 1
                self._ended(path.steps[one.step], one, now)
        elif isinstance(command, do.Publish):
            if command.event.type == "UnhandledEvent":
                path.unhandled[str(command.event.data.get("event_type"))] += 1
        elif isinstance(command, do.CompleteRun | do.FailRun | do.CancelRun):
            path.ended_at = now
            path.error = command.message if isinstance(command, do.FailRun) else ""
            for step in path.steps.values():  # what still waited inside a step ended with the run
                step.cancelled, step.waiting = step.cancelled + step.waiting, 0

    def _begun(self, path: RunPath, command: do.RunStep, now: float) -> None:
        record = command.record
        if (moved := self._passes.get(command.invocation)) is not None:
            # It was moved over the boundary between two executions, and runs again: that is no retry.
            moved.attempts_before = record.attempts if record else 0
            return
        step = path.steps.get(command.step)
        if step is None:
            step = path.steps[command.step] = StepPath(command.step)
        if command.invocation == self._again:
            pass
        elif record is None:
            step.invocations += 1
            self._took(path, command)
        else:  # what it waited for has come: an event, or nothing in time, or its children's ends
            step.waiting = max(0, step.waiting - 1)
            answer = record.answers[-1] if record.answers else None
            for_event = self._suspended.pop(record.origin, True)
            if answer is not None and for_event:
                path.waited[answer.type, command.step] += 1
        step.running += 1
        step.first_at = now if step.first_at is None else step.first_at
        self._passes[command.invocation] = _Pass(
            command.step,
            now,
            record.attempts if record else 0,
            record is None,
            record.origin if record else command.invocation,
            command.event.type if command.unjudged and command.event is not None else None,
        )

    def _took(self, path: RunPath, command: do.RunStep) -> None:
        event = command.event
        if event is None:
            for member in command.batch or ():
                path.taken[member.type, command.step] += 1
            return
        path.taken[event.type, command.step] += 1
        if event.type == "StepFailedEvent":
            path.recovered[str(event.data.get("step_name")), command.step] += 1

    def _succeeded(self, path: RunPath, what: happened.StepSucceeded) -> None:
        one = self._passes.pop(what.invocation, None)
        if one is None:
            return
        step, outcome = path.steps[one.step], what.outcome
        if outcome.unfit is not None and one.unjudged is not None:  # a message that was refused leaves no trace here
            step.running, step.invocations = step.running - 1, step.invocations - 1
            path.taken -= Counter({(one.unjudged, one.step): 1})
            return
        step.attempts += max(1, outcome.attempts - one.attempts_before)
        self._ended(step, one, what.now)
        if what.invocation == self._again:
            return
        if outcome.suspended:
            step.waiting += 1
            self._suspended[one.origin] = outcome.wait is not None
        else:
            step.done += 1
        returned, given = outcome.returned, path.given
        if isinstance(returned, list):
            for event in returned:
                given[one.step, event.type] += 1
        elif returned is not None:
            given[one.step, returned.type] += 1
        for item in outcome.sent:
            given[one.step, item.event.type] += 1
        if outcome.wait is not None and outcome.wait.question is not None:
            given[one.step, outcome.wait.question.type] += 1

    def _failed(self, path: RunPath, what: happened.StepFailed) -> None:
        one = self._passes.pop(what.invocation, None)
        if one is None:
            return
        step = path.steps[one.step]
        step.failed += 1
        step.attempts += what.failure.attempts if one.first else 1
        step.last_error = f"{what.failure.type}: {what.failure.message}"
        self._ended(step, one, what.now)

    def _ended(self, step: StepPath, one: _Pass, now: float) -> None:
        took = max(0.0, now - one.at)
        step.running -= 1
        step.seconds += took
        step.longest = max(step.longest, took)
        step.last_at = now


def _runs_again(invocation: int, commands: Sequence[do.Command]) -> bool:
    return any(isinstance(one, do.RunStep) and one.invocation == invocation for one in commands)


def _answers(path: RunPath, requests: Iterable[Request]) -> Iterable[tuple[str, str]]:
    """What became of questions, as the run remembers them; a run forgets the oldest of more than a thousand."""
    expiries = any(name == "InputExpiredEvent" for name, _ in path.taken)
    for request in requests:
        if request.status == "answered" and request.answer is not None:
            yield request.question.type, request.answer.type
        elif request.status == "expired" and request.waiter is None and expiries:
            yield request.question.type, "InputExpiredEvent"


def under_way(path: RunPath, attempts: Mapping[str, tuple[int, str]]) -> None:
    """Add what the server tells of steps that run: the number of the present attempt, and why the last one failed."""
    for name, (tries, error) in attempts.items():
        step = path.steps.get(name)
        if step is not None:
            step.attempts += tries
            step.last_error = error or step.last_error
