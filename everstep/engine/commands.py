"""What the driver shall do: the closed union of the engine's commands, carried out in the order given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from everstep.engine.calls import ChildCall
from everstep.engine.messages import Envelope, Failure
from everstep.engine.passes import Record


@dataclass(frozen=True, slots=True)
class RunStep:
    """Run one invocation of a step, with one event or, for a join, with a batch; `record` if it ran before.

    `unjudged`: the event came from outside, and nobody has held it against the flow's types; see `Outcome.unfit`.
    """

    invocation: int
    step: str
    event: Envelope | None
    batch: Sequence[Envelope] | None = None
    record: Record | None = None
    unjudged: bool = False


@dataclass(frozen=True, slots=True)
class CancelStep:
    """Stop an invocation; whatever it still reports is ignored."""

    invocation: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Wake the engine at `at` (epoch seconds)."""

    timer: str
    at: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """A timer is no longer needed."""

    timer: str


@dataclass(frozen=True, slots=True)
class JudgeMessage:
    """Have the user's types judge a message: one of `types` (the first that fits is meant), built from `data`.

    `waited`: a step of the flow waits for an event of this type; no step needs to name it in its signature.
    `question`: what it answers, where the flow holds answers against that. `outside`: somebody sent it; the engine made
    an answer that says that nobody answered in time.
    """

    message: int
    types: Sequence[str]
    data: Mapping[str, Any]
    waited: bool = False
    question: Envelope | None = None
    outside: bool = True


@dataclass(frozen=True, slots=True)
class ReplyToMessage:
    """Tell the sender what became of a message."""

    message: int
    accepted: bool
    reason: str = ""
    request: str | None = None


@dataclass(frozen=True, slots=True)
class GrantLock:
    """An `edit_state` block has the run's lock; `applied`: an earlier attempt has committed it, it holds nothing.

    `also` are the later blocks of the invocation that were committed too, with the states that they saw.
    """

    invocation: int
    edit: int
    token: int
    state: Mapping[str, Any]
    applied: bool = False
    also: Mapping[int, Mapping[str, Any]] = field(default_factory=dict[int, Mapping[str, Any]])


@dataclass(frozen=True, slots=True)
class RefuseLock:
    """An `edit_state` block will not have the lock."""

    invocation: int
    edit: int
    token: int
    reason: str


@dataclass(frozen=True, slots=True)
class StartChild:
    """Run a flow as a child, under the id `run`: the `number`-th (from 0) of the invocation that began as `origin`.

    `again`: it was started before the engine was saved. Where it goes on, hear of its end; else start it once more.
    """

    run: str
    call: ChildCall
    origin: int
    number: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class CancelChild:
    """Ask a child to end."""

    run: str


@dataclass(frozen=True, slots=True)
class RequestChanged:
    """A request, of this run or of one below it, was `opened`, or has changed: a run above this one wants to know."""

    request: str
    opened: bool = False


@dataclass(frozen=True, slots=True)
class ForwardAnswer:
    """A message answers `request` of the run `run`, below this one: pass it on, and its sender gets that run's verdict.

    `child` is the child of this run that leads there; it knows the request by ``run/request``, if it is not its own.
    """

    message: int
    child: str
    run: str
    request: str
    data: Mapping[str, Any]
    type: str | None
    by: str | None


@dataclass(frozen=True, slots=True)
class Publish:
    """An event that is the engine's own decision, for whoever watches the run."""

    event: Envelope


@dataclass(frozen=True, slots=True)
class CompleteRun:
    """The run ends with this stop event."""

    event: Envelope


@dataclass(frozen=True, slots=True)
class FailRun:
    """The run ends in failure. `kind`: ``step``, ``timeout``, ``stuck``, ``expired`` or ``start``.

    For a timeout, `timeout` is the run's, in seconds, and `active_steps` were running.
    """

    kind: str
    message: str
    failure: Failure | None = None
    step: str | None = None
    event: str | None = None
    active_steps: Sequence[str] = ()
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class CancelRun:
    """The run ends as cancelled."""

    reason: str


Command = (
    RunStep
    | CancelStep
    | SetTimer
    | CancelTimer
    | JudgeMessage
    | ReplyToMessage
    | GrantLock
    | RefuseLock
    | StartChild
    | CancelChild
    | RequestChanged
    | ForwardAnswer
    | Publish
    | CompleteRun
    | FailRun
    | CancelRun
)
