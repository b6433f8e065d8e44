"""Random `edit_state` blocks in a random life of a run: each adds one to a counter; an account is kept of them.

Blocks come in any order from any attempt: asked twice, given up, fenced, silent for too long, committed too late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from everstep.engine.commands import GrantLock, RefuseLock
from everstep.engine.inputs import Input, LockReleased, LockRenewed, LockRequested, StepFailed, StepSucceeded
from everstep.engine.locks import Claim
from everstep.engine.messages import StateChange
from everstep.engine.run import Run
from tests.simulation.broken import hold

Key = tuple[int, int, int]


class Edits:
    """The blocks of one run.

    `asked` wait for a verdict, `granted` were given the counter; `applied` counts commits by the invocation's
    first number and their own.
    """

    def __init__(self) -> None:
        self.tokens: Counter[int] = Counter()
        self.asked: set[Key] = set()
        self.granted: dict[Key, int] = {}
        self.applied: Counter[tuple[int, int]] = Counter()
        self._claims: dict[Key, Claim] = {}
        self._holder: Claim | None = None
        self._now = 0.0

    def next(self, rng: Random, running: list[int], now: float) -> Input | None:
        """Something that a block does, right or wrong."""
        if self.granted and rng.random() < 0.6:
            key = rng.choice(list(self.granted))
            if rng.random() < 0.2:
                return LockRenewed(now, *key)
            saw = self.granted.pop(key)
            if rng.random() < 0.2:
                return LockReleased(now, *key)
            return LockReleased(now, *key, [["set", "edited", saw + 1]])
        if self.asked and rng.random() < 0.3:
            key = rng.choice(sorted(self.asked))
            return rng.choice((LockReleased(now, *key), LockRenewed(now, *key), LockRenewed(now, *key)))
        if not running or rng.random() < 0.1:
            return LockRequested(now, rng.randint(0, 60), 1, 1, 5.0)
        invocation = rng.choice(running)
        if rng.random() < 0.4:
            self.tokens[invocation] += 1  # a new attempt, which repeats its blocks
        key = (invocation, rng.randint(1, 2), max(1, self.tokens[invocation] - rng.choice((0, 0, 0, 1))))
        return None if key in self.asked else LockRequested(now, *key, rng.choice((None, 1.0, 20.0)))

    def before(self, what: Input, run: Run) -> Sequence[StateChange]:
        """Keep account of what the engine is about to be given; gives what it has to commit."""
        self._now = what.now
        if isinstance(what, LockRequested):
            key = (what.invocation, what.edit, what.token)
            self.asked.add(key)
            self._claims[key] = Claim(*key, what.lease)
        if self._holder is not None and self._gives_up(self._holder, what, run):
            self._holder = None
        holder = run.lock.holder
        if isinstance(what, LockReleased) and what.changes is not None and holder is not None:
            key = (what.invocation, what.edit, what.token)
            if key == (holder.invocation, holder.edit, holder.token):
                self.applied[run.invocations[what.invocation].origin, what.edit] += 1
                return what.changes
        return ()

    def _gives_up(self, holder: Claim, what: Input, run: Run) -> bool:
        """Whether the holder may lose the lock by this input."""
        match what:
            case LockReleased(_, invocation, edit, token):
                return (invocation, edit, token) == (holder.invocation, holder.edit, holder.token)
            case LockRequested(_, invocation, _, token):
                return invocation == holder.invocation and token >= run.lock.tokens.get(invocation, 0)
            case StepSucceeded(_, invocation) | StepFailed(_, invocation):
                return invocation == holder.invocation
            case LockRenewed(now, invocation, edit, token):
                if (invocation, edit, token) == (holder.invocation, holder.edit, holder.token):
                    holder.heard = now
                    return False
                waits = (invocation, edit, token) in self.asked
                return waits and holder.lease is not None and holder.heard + holder.lease <= now
            case _:
                return False

    def told(self, command: GrantLock | RefuseLock, run: Run) -> None:
        """A block was given the lock, or told that it was applied before, or that it will not have the lock."""
        key = (command.invocation, command.edit, command.token)
        hold(key in self.asked, f"a block is told once: {key} was told again")
        self.asked.remove(key)
        if isinstance(command, RefuseLock):
            return
        invocation = run.invocations.get(command.invocation)
        if invocation is None:  # it was granted just before the run has ended
            return
        block = (invocation.origin, command.edit)
        if command.applied:
            hold(self.applied[block] == 1, f"only a block that was applied is told so: {block} was not")
        else:
            hold(not self.applied[block], f"applied blocks do not hold the lock: {block} does")
            hold(command.state.get("edited", 0) == self.applied.total(), "a block sees all that was done before it")
            hold(self._holder is None, f"one block holds the lock: {block} does, and another one")
            self._holder = self._claims[key]
            self._holder.heard = self._now
            self.granted[key] = self.applied.total()

    def crashed(self) -> None:
        """Everybody who asked or held is gone."""
        self.asked.clear()
        self.granted.clear()
        self.tokens.clear()
        self._holder = None

    def settled(self, run: Run) -> None:
        """Assert what must hold at rest: every block was told, none counted twice, none lost."""
        hold(not self.asked, f"every block is told: {self.asked} were not")
        hold(all(count == 1 for count in self.applied.values()), "a block is applied once")
        hold(run.state.get("edited", 0) == self.applied.total(), "no block is lost")
        lock = run.lock
        hold((lock.holder, lock.waiting, lock.tokens) == (None, {}, {}), "at rest nobody holds the lock")
        waiting = {one.invocation.origin for one in run.waiters.all.values()}
        hold(lock.applied.keys() <= waiting, "blocks are remembered for nobody")
