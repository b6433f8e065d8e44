"""What can happen to a run: the closed union of the engine's inputs. Every input carries `now`, in epoch seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everstep.engine.messages import Envelope, Failure, Outcome, StateChange
from everstep.engine.passes import ChildEnd


@dataclass(frozen=True, slots=True)
class StartRun:
    """The run begins with its start event and, perhaps, a state carried over from an earlier run."""

    now: float
    event: Envelope
    state: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StepSucceeded:
    """An invocation ended well; its effects commit now."""

    now: float
    invocation: int
    outcome: Outcome

    @classmethod
    def from_json(cls, now: float, invocation: int, outcome: Any) -> StepSucceeded | StepFailed:
        """From an outcome's JSON; one that is malformed is a failure of the step, never an error of the run."""
        try:
            return cls(now, invocation, Outcome.from_json(outcome))
        except ValueError as error:
            return StepFailed(now, invocation, Failure("MalformedOutcome", f"the step's outcome is malformed: {error}"))


@dataclass(frozen=True, slots=True)
class StepFailed:
    """An invocation failed for good: no retry is left."""

    now: float
    invocation: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class LockRequested:
    """An `edit_state` block, the invocation's `edit`-th, wants the run's lock.

    `token` is higher for later attempts. After `lease` seconds of silence the holder counts as gone; None: never.
    """

    now: float
    invocation: int
    edit: int
    token: int
    lease: float | None = None


@dataclass(frozen=True, slots=True)
class LockReleased:
    """An `edit_state` block has ended, or waits no more; with `changes` it commits, with None it does not.

    `base` are changes that its step had made before, not committed yet: the block saw the state with them.
    """

    now: float
    invocation: int
    edit: int
    token: int
    changes: Sequence[StateChange] | None = None
    base: Sequence[StateChange] = ()


@dataclass(frozen=True, slots=True)
class LockRenewed:
    """An `edit_state` block is still there: at work with the lock, or waiting for it."""

    now: float
    invocation: int
    edit: int
    token: int


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """A child has ended, or could not be started."""

    now: float
    end: ChildEnd


@dataclass(frozen=True, slots=True)
class ChildAsked:
    """A request to a person was opened or has changed, in the child `run` or below it.

    `view` is what people see there. For one from below the child it names the run that it is of, as ``run``, and its id
    there, as ``request``.
    """

    now: float
    run: str
    view: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """Something arrived from outside: an event, or a person's answer (`answer` true).

    `type` may be None for an answer; `request` names the request answered, `step` the one step an event is for, `by`
    who sent it, `key` the sender's own id of this message: the same key is taken once. `unattended`: its sender does
    not wait for the verdict.
    """

    now: float
    data: Mapping[str, Any]
    type: str | None = None
    answer: bool = False
    request: str | None = None
    step: str | None = None
    by: str | None = None
    key: str | None = None
    unattended: bool = False


@dataclass(frozen=True, slots=True)
class MessageMalformed:
    """Something arrived that is not a message at all; it is recorded as refused."""

    now: float
    raw: Any
    reason: str
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the user's types say of one message: the event it is, or why it is none."""

    message: int
    event: Envelope | None
    reason: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """From its plain JSON form: ``{"message": …, "event": …, "reason": …}``."""
        event = data.get("event")
        return cls(data["message"], Envelope.from_json(event) if event else None, data.get("reason", ""))


@dataclass(frozen=True, slots=True)
class MessagesJudged:
    """Verdicts, in the order in which the messages arrived."""

    now: float
    verdicts: Sequence[Verdict]


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that the engine had set."""

    now: float
    timer: str


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody wants the run to end."""

    now: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Paused:
    """Start no more steps for now: the driver wants a quiet point."""

    now: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """Go on after a pause."""

    now: float


@dataclass(frozen=True, slots=True)
class Restored:
    """The engine was restored from a snapshot and nothing runs: run, set and ask again what was under way.

    `moved`: the driver does not remember attempts over this; steps that ran were cut off in one, which counts as such.
    """

    now: float
    moved: bool = False


Input = (
    StartRun
    | StepSucceeded
    | StepFailed
    | LockRequested
    | LockReleased
    | LockRenewed
    | ChildEnded
    | ChildAsked
    | MessageReceived
    | MessageMalformed
    | MessagesJudged
    | TimerFired
    | CancelRequested
    | Paused
    | Resumed
    | Restored
)
