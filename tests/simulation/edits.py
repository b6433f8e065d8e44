"""Random `edit_state` blocks in a random life of a run: each adds one to a counter; an account is kept of them.

Blocks come in any order from any attempt: asked twice, given up, fenced, silent for too long, committed too late.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from everstep.engine.commands import GrantLock, RefuseLock
from everstep.engine.core import Engine
from everstep.engine.inputs import Input, LockReleased, LockRenewed, LockRequested

Key = tuple[int, int, int]


class Edits:
    """The blocks of one run.

    `asked` wait for a verdict, `granted` were given the counter; `applied` counts commits by the invocation's
    first number and their own.
    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.tokens: Counter[int] = Counter()
        self.asked: set[Key] = set()
        self.granted: dict[Key, int] = {}
        self.applied: Counter[tuple[int, int]] = Counter()

    def next(self, engine: Engine, running: list[int], now: float) -> Input | None:
        """Something that a block does, right or wrong."""
        rng = self.rng
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

    def before(self, what: Input, engine: Engine) -> None:
        """Keep account of what the engine is about to be given."""
        if isinstance(what, LockRequested):
            self.asked.add((what.invocation, what.edit, what.token))
        holder = engine.run.lock.holder
        if isinstance(what, LockReleased) and what.changes is not None and holder is not None:
            key = (what.invocation, what.edit, what.token)
            if key == (holder.invocation, holder.edit, holder.token):
                self.applied[engine.run.invocations[what.invocation].origin, what.edit] += 1

    def told(self, command: GrantLock | RefuseLock, engine: Engine) -> None:
        """A block was given the lock, or told that it was applied before, or that it will not have the lock."""
        key = (command.invocation, command.edit, command.token)
        self.asked.remove(key)
        if isinstance(command, RefuseLock):
            return
        invocation = engine.run.invocations.get(command.invocation)
        if invocation is None:  # it was granted just before the run has ended
            return
        block = (invocation.origin, command.edit)
        if command.applied:
            assert self.applied[block] == 1
        else:
            assert not self.applied[block], "applied blocks do not hold the lock"
            assert command.state.get("edited", 0) == self.applied.total(), "it sees all that was done before"
            self.granted[key] = self.applied.total()

    def crashed(self) -> None:
        """Everybody who asked or held is gone."""
        self.asked.clear()
        self.granted.clear()
        self.tokens.clear()

    def settled(self, engine: Engine) -> None:
        """Assert what must hold at rest: every block was told, none counted twice, none lost."""
        assert not self.asked
        assert all(count == 1 for count in self.applied.values()), "a block was applied twice"
        assert engine.run.state.get("edited", 0) == self.applied.total(), "a block was lost"
        lock = engine.run.lock
        assert (lock.holder, lock.waiting, lock.tokens) == (None, {}, {})
        waiting = {one.invocation.origin for one in engine.run.waiters.all.values()}
        assert lock.applied.keys() <= waiting, "remembered for nobody"
