"""Living many cases, one after the other or on several processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from everstep.engine.commands import FailRun
from tests.simulation.cases import Case, Life, live

TOGETHER = 250
"""How many cases one process takes at a time."""


@dataclass
class Tally:
    """What became of some cases. `broken` is the first that broke a promise, at which it ended."""

    cases: int = 0
    inputs: int = 0
    ends: Counter[str] = field(default_factory=Counter[str])
    broken: Case | None = None

    def add(self, other: Tally) -> None:
        """Take in what became of others."""
        self.cases += other.cases
        self.inputs += other.inputs
        self.ends += other.ends
        self.broken = self.broken or other.broken


def live_all(seeds: Iterable[int]) -> Tally:
    """Live the cases of these seeds, up to the first that is broken."""
    tally = Tally()
    for seed in seeds:
        life = live(Case.drawn(seed))
        tally.cases += 1
        tally.inputs += len(life.world.log)
        tally.ends[end_of(life)] += 1
        if life.broken is not None:
            tally.broken = life.case
            break
    return tally


def tallies(seeds: range, jobs: int) -> Iterator[Tally]:
    """What became of the cases of these seeds, part by part, on so many processes."""
    parts = [seeds[start : start + TOGETHER] for start in range(0, len(seeds), TOGETHER)]
    if jobs == 1:
        yield from map(live_all, parts)
        return
    processes = ProcessPoolExecutor(jobs)
    try:
        yield from processes.map(live_all, parts)
    finally:
        processes.shutdown(cancel_futures=True)


def end_of(life: Life) -> str:
    """How a run ended, or that it rests."""
    for command in life.world.account.ends:
        return f"failed ({command.kind})" if isinstance(command, FailRun) else life.world.engine.run.status
    return "at rest"
