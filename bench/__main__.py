"""`python -m bench`: everstep against hand-written Temporal code. Ratios above 1 mean that everstep is slower."""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import itertools
import json
import signal
import sys
from collections.abc import Sequence

from temporalio.client import Client

from bench.cases import Case, Sides, both_sides, cases
from bench.measure import Comparison, compare
from everstep.temporal.devserver import DevServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for and print it; 2 when nothing has such a name, 130 when stopped."""
    options = _parser().parse_args(arguments)
    chosen = [case for case in cases(quick=options.quick) if _matches(case.name, options.only)]
    if options.list:
        print("\n".join(case.name for case in chosen))
        return 0
    if not chosen:
        print(f"no case is named like {options.only!r}; see --list", file=sys.stderr)
        return 2
    try:
        found = asyncio.run(_measure(chosen, options.rounds or (2 if options.quick else 5)))
    except asyncio.CancelledError:
        print("stopped", file=sys.stderr)
        return 130
    print(_table(found))
    if options.json:
        print(json.dumps({one.name: one.to_json() for one in found}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--only", metavar="PATTERN", help="cases with this in their name, or that match it as a glob")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="rounds per case: 5, with --quick 2")
    parser.add_argument("--quick", action="store_true", help="smaller cases: shows that all works, not the speed")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--list", action="store_true", help="print the names and measure nothing")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one round is needed")
    return number


def _matches(name: str, pattern: str | None) -> bool:
    return pattern is None or pattern in name or fnmatch.fnmatchcase(name, pattern)


async def _measure(chosen: Sequence[Case], rounds: int) -> list[Comparison]:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):  # the servers are detached: nobody else would end them
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    found: list[Comparison] = []
    for (stock, in_flight), group in itertools.groupby(chosen, lambda case: (case.stock, case.in_flight)):
        async with DevServer.private(stock=stock, synced=True) as server:
            client = await Client.connect(server.address)
            async with both_sides(client, in_flight) as sides:
                await _warm_up(sides, stock=stock)
                for case in group:
                    found.append(await compare(case, sides, rounds, _report))
    return found


async def _warm_up(sides: Sides, *, stock: bool) -> None:
    case = next(case for case in cases(quick=True) if (case.stock, case.in_flight) == (stock, sides.in_flight))
    await case.ours(sides)
    await case.other(sides)


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _table(found: Sequence[Comparison]) -> str:
    lines = [f"{'':36}{'ours':>9}{'other':>9}{'ratio':>8}{'spread':>14}{'CPU':>7}{'rounds':>8}"]
    for one in found:
        data = one.to_json()
        low, high = data["spread"]
        lines.append(
            f"{one.name:36}{data['ours']:>7.2f} s{data['other']:>7.2f} s{data['ratio']:>8.2f}{low:>8.2f}–{high:.2f}"
            f"{data['cpu']['ratio']:>8.2f}{data['rounds']:>8}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
