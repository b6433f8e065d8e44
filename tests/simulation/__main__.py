"""`python -m tests.simulation`: lives any number of random runs; a broken promise is printed as a small case.

Ends with 0 if all promises held, with 1 if one was broken, with 2 if it was called wrongly.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
import time
from collections.abc import Sequence

from tests.simulation.cases import Case, Life, live
from tests.simulation.faults import FAULTS
from tests.simulation.report import report
from tests.simulation.schedules import Tally, end_of, tallies
from tests.simulation.shrinking import shrunk

COMMAND = ("python", "-m", "tests.simulation")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command; gives the exit code."""
    options = _options(arguments)
    with FAULTS[options.fault].made() if options.fault else contextlib.nullcontext():
        return _one(options) if options.case is not None else _many(options)


def _one(options: argparse.Namespace) -> int:
    life = live(options.case)
    if life.broken is None:
        print(f"all promises hold: {len(life.world.log)} inputs, {end_of(life)}")
        return 0
    return _tell(shrunk(life) if options.shrink else life, "by --case", options.fault)


def _many(options: argparse.Namespace) -> int:
    began, total = time.monotonic(), Tally()
    seeds = range(options.seed, options.seed + options.schedules)
    for tally in tallies(seeds, 1 if options.fault else options.jobs):
        total.add(tally)
        if (case := total.broken) is not None:
            return _tell(shrunk(live(case)), f"with seed {case.seed}, {len(case.actions)} actions", options.fault)
    took = time.monotonic() - began
    print(f"all promises hold: {total.cases:,} schedules, {total.inputs:,} inputs, {took:.1f} s")
    print(", ".join(f"{count:,} {end}" for end, count in total.ends.most_common()))
    return 0


def _tell(life: Life, found: str, fault: str | None) -> int:
    words = [*COMMAND, *(["--fault", fault] if fault else []), "--case", str(life.case)]
    print(report(life, found, shlex.join(words)))
    return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=" ".join(COMMAND), description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--schedules", "-n", type=int, default=2000, metavar="N", help="how many (2000)")
    parser.add_argument("--seed", type=int, default=0, metavar="SEED", help="of the first; the next have the next (0)")
    parser.add_argument("--jobs", "-j", type=int, default=1, metavar="N", help="on so many processes (1)")
    parser.add_argument("--case", type=Case.parse, metavar="CASE", help="live this one: a seed, or a case of a report")
    parser.add_argument("--shrink", action="store_true", help="make the --case smaller, if it is broken")
    parser.add_argument(
        "--fault", choices=FAULTS, metavar="FAULT", help=f"put one into the engine: {'; '.join(FAULTS)}"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
