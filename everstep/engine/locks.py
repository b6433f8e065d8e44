"""The run's lock, by which `edit_state` blocks change the state one at a time.

A block is known by its invocation, its number within it, and a token that is higher for later attempts. What a block
has committed is remembered until its invocation ends: when it comes again it sees the state of its first time, and its
commit is dropped. A holder that is silent for longer than its lease loses the lock when one that waits asks after it.
An invocation that reports a block as committed which was not runs again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from everstep.engine import paths
from everstep.engine.commands import GrantLock, RefuseLock
from everstep.engine.inputs import LockReleased, LockRenewed, LockRequested
from everstep.engine.messages import StateChange

if TYPE_CHECKING:
    from everstep.engine.run import Run
    from everstep.engine.scheduling import Invocation


@dataclass(slots=True)
class Claim:
    """A block that waits for the lock or holds it; `granted` is the state it was given, `heard` when it last was."""

    invocation: int
    edit: int
    token: int
    lease: float | None
    heard: float = 0.0
    granted: dict[str, Any] | None = None

    def to_json(self) -> list[Any]:
        """The plain JSON form."""
        return [self.invocation, self.edit, self.token, self.lease, self.heard, self.granted]


@dataclass(slots=True)
class Lock:
    """Who holds the lock, who waits for it in turn, and what was committed by invocations that are under way.

    `waiting` has one claim for each invocation; `tokens` the highest token seen of each. `applied` has for each
    invocation, by its first number, the states that its committed blocks saw, by theirs.
    """

    holder: Claim | None = None
    waiting: dict[int, Claim] = field(default_factory=dict[int, Claim])
    tokens: dict[int, int] = field(default_factory=dict[int, int])
    applied: dict[int, dict[int, Mapping[str, Any]]] = field(default_factory=dict[int, dict[int, Mapping[str, Any]]])

    def snapshot(self) -> dict[str, Any]:
        """The plain JSON form; empty where nothing was edited."""
        out: dict[str, Any] = {}
        if self.holder is not None:
            out["holder"] = self.holder.to_json()
        if self.waiting:
            out["waiting"] = [claim.to_json() for claim in self.waiting.values()]
        if self.tokens:
            out["tokens"] = list(self.tokens.items())
        if self.applied:
            out["applied"] = [[number, list(edits.items())] for number, edits in self.applied.items()]
        return out

    @classmethod
    def restored(cls, data: Mapping[str, Any]) -> Lock:
        """The inverse of `snapshot`."""
        claims = [Claim(*claim) for claim in data.get("waiting", ())]
        return cls(
            Claim(*data["holder"]) if "holder" in data else None,
            {claim.invocation: claim for claim in claims},
            dict(data.get("tokens", ())),
            {number: dict(edits) for number, edits in data.get("applied", ())},
        )


def request(run: Run, asked: LockRequested) -> None:
    """A block wants the lock: it gets it now or in its turn; what an earlier attempt left behind is swept away."""
    lock = run.lock
    claim = Claim(asked.invocation, asked.edit, asked.token, asked.lease)
    invocation = run.invocations.get(asked.invocation)
    if not run.active or invocation is None or not invocation.running:
        _refuse(run, claim, "the run has ended, or the step has")
        return
    if asked.token < lock.tokens.get(asked.invocation, 0):
        _refuse(run, claim, "a later attempt of this step is under way")
        return
    lock.tokens[asked.invocation] = asked.token
    _drop(run, asked.invocation)
    applied = lock.applied.get(invocation.origin, {})
    if asked.edit in applied:
        also = {edit: state for edit, state in applied.items() if edit > asked.edit}
        state = applied[asked.edit]
        run.commands.append(GrantLock(claim.invocation, claim.edit, claim.token, state, applied=True, also=also))
    else:
        lock.waiting[claim.invocation] = claim
    _next(run)


def holds(run: Run, done: LockReleased) -> bool:
    """Whether the block that ends has the lock."""
    return run.lock.holder is not None and _is(run.lock.holder, done)


def release(run: Run, done: LockReleased) -> None:
    """A block has ended, with changes to commit or without; one that does not hold the lock is not listened to."""
    lock = run.lock
    holder = lock.holder
    if holder is not None and _is(holder, done):
        lock.holder = None
        if done.changes is not None:
            for change in done.changes:
                run.state_size += paths.change(run.state, change)
            _remember(run, holder, done.base)
    else:
        claim = lock.waiting.get(done.invocation)
        if claim is None or not _is(claim, done):
            return
        del lock.waiting[done.invocation]
        _refuse(run, claim, "the block waits no more")
    _next(run)


def _remember(run: Run, holder: Claim, base: Sequence[StateChange]) -> None:
    """Keep what a block that was committed has seen: the state that it was given, with its step's own changes."""
    invocation = run.invocations.get(holder.invocation)
    if invocation is None or holder.granted is None:
        return
    seen = paths.copied(holder.granted)
    for change in base:
        paths.change(seen, change)
    run.lock.applied.setdefault(invocation.origin, {})[holder.edit] = seen


def heard(run: Run, alive: LockRenewed) -> None:
    """The holder is still at work; or a block still waits, and wants to know whether the holder is there at all."""
    holder = run.lock.holder
    if holder is None:
        return
    if _is(holder, alive):
        holder.heard = run.now
        return
    claim = run.lock.waiting.get(alive.invocation)
    if claim is not None and _is(claim, alive) and holder.lease is not None and holder.heard + holder.lease <= run.now:
        run.lock.holder = None
        _next(run)


def pass_over(run: Run, invocation: Invocation, *, last: bool = True) -> None:
    """A pass of an invocation has ended: it holds nothing. What it has committed is forgotten with the last."""
    lock = run.lock
    lock.tokens.pop(invocation.id, None)
    _drop(run, invocation.id)
    if last:
        lock.applied.pop(invocation.origin, None)
    _next(run)


def kept(run: Run, invocation: Invocation, edits: Sequence[int]) -> bool:
    """Whether all the blocks that a pass takes for committed are."""
    applied = run.lock.applied.get(invocation.origin, {})
    return all(edit in applied for edit in edits)


def end(run: Run) -> None:
    """The run has ended: nobody gets the lock any more."""
    for invocation in list(run.lock.waiting):
        _drop(run, invocation)
    run.lock = Lock()


def restored(run: Run) -> None:
    """All that ran is lost; what was committed is not."""
    run.lock = Lock(applied=run.lock.applied)


def _is(claim: Claim, other: LockReleased | LockRenewed) -> bool:
    return (claim.invocation, claim.edit, claim.token) == (other.invocation, other.edit, other.token)


def _drop(run: Run, invocation: int) -> None:
    """Take from an invocation what it holds or waits for."""
    lock = run.lock
    if lock.holder is not None and lock.holder.invocation == invocation:
        lock.holder = None
    claim = lock.waiting.pop(invocation, None)
    if claim is not None:
        _refuse(run, claim, "the run has ended, or another attempt of this step is under way")


def _refuse(run: Run, claim: Claim, reason: str) -> None:
    run.commands.append(RefuseLock(claim.invocation, claim.edit, claim.token, reason))


def _next(run: Run) -> None:
    """Give the lock to the first in turn, if it is free."""
    lock = run.lock
    if lock.holder is None and lock.waiting:
        claim = lock.holder = lock.waiting.pop(next(iter(lock.waiting)))
        claim.heard = run.now
        claim.granted = paths.copied(run.state)
        run.commands.append(GrantLock(claim.invocation, claim.edit, claim.token, claim.granted))
