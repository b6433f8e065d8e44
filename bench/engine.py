"""How the engine's cost per event grows with the size of a run: pure Python, no server. `python -m bench.engine`."""

from __future__ import annotations

import gc
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench import flows
from everstep.engine.commands import RunStep
from everstep.engine.core import Engine
from everstep.engine.inputs import StartRun, StepSucceeded
from everstep.engine.messages import Envelope, Outcome
from everstep.flow.compile import compile_flow

SIZES = (1_000, 10_000, 100_000)


@dataclass(frozen=True)
class Growth:
    """CPU time per event in microseconds, by the number of events in one run."""

    shape: str
    microseconds: dict[int, float]

    @property
    def factor(self) -> float:
        """The cost of an event in the largest run to that in the smallest; 1 is linear growth of the whole."""
        return self.microseconds[max(self.microseconds)] / self.microseconds[min(self.microseconds)]


def growth(sizes: tuple[int, ...] = SIZES) -> list[Growth]:
    """Measure both shapes of a run; the median of five passes each."""
    return [
        Growth(shape, {size: median(run(size) for _ in range(5)) for size in sizes})
        for shape, run in (("sequential", sequential), ("fan-out", fan_out))
    ]


def sequential(events: int) -> float:
    """Microseconds per event of a chain of steps."""
    outcome = Outcome(Envelope("Turn", {"number": 1, "count": 2, "text": "x"}))
    return _drive(Engine(compile_flow(flows.Chain)), events, lambda number: outcome)


def fan_out(events: int) -> float:
    """Microseconds per event of one fan-out over all events, and its join."""
    members = [Envelope("Item", {"number": number, "text": "x"}) for number in range(events)]
    counted = Outcome(Envelope("Counted", {"number": 1, "size": 1}))
    stop = Outcome(Envelope("StopEvent", {"result": 1}))
    outcomes = {1: Outcome(members), events + 2: stop}
    return _drive(Engine(compile_flow(flows.FanOut45)), events + 2, lambda number: outcomes.get(number, counted))


def _drive(engine: Engine, events: int, outcome: Callable[[int], Outcome]) -> float:
    gc.collect()
    started = time.process_time()
    waiting: deque[int] = deque()
    commands = engine.apply(StartRun(0.0, Envelope("Begin", {"count": events, "text": "x"})))
    for done in range(events):
        waiting.extend(command.invocation for command in commands if isinstance(command, RunStep))
        number = waiting.popleft()
        commands = engine.apply(StepSucceeded(float(done), number, outcome(number)))
    return (time.process_time() - started) / events * 1e6


def main() -> None:
    """Print the table."""
    for found in growth():
        costs = ", ".join(f"{size:,} events: {cost:.1f} µs" for size, cost in found.microseconds.items())
        sys.stdout.write(f"engine, {found.shape}: {costs} each; the largest costs {found.factor:.2f}× the smallest\n")


if __name__ == "__main__":
    main()
