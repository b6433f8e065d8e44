"""Measures both sides in interleaved rounds (A B, B A, …) and compares them within each round.

The ratio is the median of the rounds' own ratios: what else the machine does at the time hits both sides of a round
alike.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.cases import Case, Sides

PASS_LIMIT = 300.0
"""Seconds after which a pass is given up: then something is broken, and no number would say what."""


@dataclass(frozen=True)
class Cost:
    """What one pass took, in seconds: on the clock, and of this process's CPUs (workers and client; not the server)."""

    wall: float
    cpu: float


@dataclass
class Comparison:
    """All rounds of one case."""

    name: str
    rounds: list[tuple[Cost, Cost]] = field(default_factory=list[tuple[Cost, Cost]])

    def ratios(self) -> list[float]:
        """Ours to the other's time, round by round."""
        return [ours.wall / other.wall for ours, other in self.rounds]

    def to_json(self) -> dict[str, Any]:
        """Medians in seconds, the median ratio with its spread, the number of rounds, and the same of CPU time."""
        ratios = self.ratios()
        return {
            "ours": round(median(ours.wall for ours, _ in self.rounds), 4),
            "other": round(median(other.wall for _, other in self.rounds), 4),
            "ratio": round(median(ratios), 3),
            "spread": [round(min(ratios), 3), round(max(ratios), 3)],
            "rounds": len(self.rounds),
            "cpu": {
                "ours": round(median(ours.cpu for ours, _ in self.rounds), 4),
                "other": round(median(other.cpu for _, other in self.rounds), 4),
                "ratio": round(median(ours.cpu / other.cpu for ours, other in self.rounds), 3),
            },
        }


async def compare(case: Case, sides: Sides, rounds: int, report: Callable[[str], None]) -> Comparison:
    """Measure a case; the side that goes first alternates.

    Args:
        report: is told of each round.
    """
    found = Comparison(case.name)
    for number in range(rounds):
        if number % 2 == 0:
            ours = await _pass(case.ours, sides)
            other = await _pass(case.other, sides)
        else:
            other = await _pass(case.other, sides)
            ours = await _pass(case.ours, sides)
        found.rounds.append((ours, other))
        report(
            f"{case.name} round {number + 1}/{rounds}: ours {ours.wall:.2f} s, other {other.wall:.2f} s, "
            f"ratio {ours.wall / other.wall:.2f}, CPU {ours.cpu / other.cpu:.2f}"
        )
    return found


async def _pass(work: Callable[[Sides], Awaitable[None]], sides: Sides) -> Cost:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    async with asyncio.timeout(PASS_LIMIT):
        await work(sides)
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)
