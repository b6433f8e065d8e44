"""Cases: what names one life of a run, so that it can be lived again, and in a smaller form.

A case as text: ``seed``, or ``seed/size/steps left out/what happens``: ``17/3/-step2-help/end.4 end.9+1 crash.2``.
"""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from random import Random

from everstep.engine.commands import RunStep
from tests.simulation.broken import Broken
from tests.simulation.flows import RandomFlow
from tests.simulation.world import ACTIONS, WEIGHTS, Action, World

LONGEST = 100
"""How many things happen in a case at most, beside its start and its way to rest."""


@dataclass(frozen=True, slots=True)
class Case:
    """A flow, by the seed and size it was drawn with and the steps left out, and what happens to a run of it."""

    seed: int
    size: int
    actions: tuple[Action, ...]
    without: tuple[str, ...] = ()

    @classmethod
    def drawn(cls, seed: int) -> Case:
        """The case that a seed names."""
        rng = Random(f"case {seed}")
        kinds = rng.choices(list(ACTIONS), WEIGHTS, k=rng.randint(0, LONGEST))
        kinds.insert(rng.choice((0, 0, 0, 0, 0, 1, 2, 3)), "start")
        return cls(seed, rng.randint(0, 8), tuple(Action(kind, rng.randrange(1000)) for kind in kinds))

    @classmethod
    def parse(cls, text: str) -> Case:
        """The case that a text means.

        Raises:
            ValueError: it means none.
        """
        if "/" not in text:
            return cls.drawn(int(text))
        seed, size, without, actions = text.split("/")
        left_out = tuple(name for name in without.split("-") if name)
        return cls(int(seed), int(size), tuple(map(_action, actions.split())), left_out)

    def __str__(self) -> str:
        actions = [f"{one.kind}.{one.dice}{f'+{one.less}' if one.less else ''}" for one in self.actions]
        return f"{self.seed}/{self.size}/{''.join(f'-{name}' for name in self.without)}/{' '.join(actions)}"

    def flow(self) -> RandomFlow:
        """The flow."""
        return RandomFlow(Random(self.seed), self.size, self.without)


@dataclass(frozen=True, slots=True)
class Life:
    """What became of a case; `broken` says which promise did not hold, and is None if all did."""

    case: Case
    world: World
    broken: str | None = None

    @property
    def steps_run(self) -> set[str]:
        """The steps that were started."""
        return {one.step for commands in self.world.answers for one in commands if isinstance(one, RunStep)}


def live(case: Case) -> Life:
    """Live a case. Whatever an engine raises breaks a promise too: it takes every input."""
    world = World(case.flow())
    try:
        world.live(case.actions)
    except Exception as error:
        return Life(case, world, _said(error))
    return Life(case, world)


def _said(error: Exception) -> str:
    """What is broken: a promise, the line of an assertion, or that the engine has raised something."""
    if isinstance(error, Broken):
        return str(error)
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    assert at is not None
    place = at.tb_frame.f_code
    line = linecache.getline(place.co_filename, at.tb_lineno).strip()
    if isinstance(error, AssertionError):
        return str(error) or f"{line}: does not hold"
    return f"an engine takes every input: {type(error).__name__}: {error} in {place.co_qualname}, at {line!r}"


def _action(text: str) -> Action:
    kind, dot, rest = text.partition(".")
    dice, _, less = rest.partition("+")
    if kind not in ACTIONS or not dot:
        raise ValueError(
            f"{text!r} is nothing that can happen; write one of {', '.join(ACTIONS)}, and its dice: end.17"
        )
    return Action(kind, int(dice), int(less or 0))
