"""Random flows under random schedules: the promises hold after every input, and no fault of the engine goes unseen."""

from __future__ import annotations

import shlex

import pytest

from tests.simulation.__main__ import COMMAND, main
from tests.simulation.cases import Case, live
from tests.simulation.faults import FAULTS
from tests.simulation.report import report
from tests.simulation.schedules import live_all
from tests.simulation.shrinking import shrunk

SCHEDULES = 2000
PART = 250
SMALL = 25
"""Inputs of a small case, its start and the way to its rest included; most are below ten."""


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SCHEDULES, PART))
def test_the_promises_hold(first: int) -> None:
    """Whatever happens: failures, crashes, late and double messages, waits, edits, ends in any order."""
    broken = live_all(range(first, first + PART)).broken
    if broken is not None:
        small = shrunk(live(broken))
        pytest.fail(report(small, f"with seed {broken.seed}", shlex.join([*COMMAND, "--case", str(small.case)])))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_made_small(fault: str) -> None:
    """An engine with this fault breaks a promise in a few inputs, again and again; one without it does not."""
    with FAULTS[fault].made():
        broken = live_all(range(400)).broken
        assert broken is not None, f"nobody noticed that {fault}"
        small = shrunk(live(broken), tries=400)
        again = live(Case.parse(str(small.case)))
    assert again.broken == small.broken
    assert len(small.world.log) <= SMALL
    assert live(small.case).broken is None


def test_the_command_prints_a_small_case_and_how_to_see_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    """The command at the end of the report prints the same again."""
    assert main(["--fault", "failures leak slots", "--schedules", "100"]) == 1
    first = capsys.readouterr().out.splitlines()
    again = shlex.split(first[-1].removeprefix("again"))
    assert again[: len(COMMAND)] == list(COMMAND)
    assert main(again[len(COMMAND) :]) == 1
    second = capsys.readouterr().out.splitlines()
    assert second[0] == first[0]
    assert second[2:] == first[2:]


def test_the_command_tells_that_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """On several processes as on one; how the runs ended is told too."""
    assert main(["--schedules", "60", "--seed", "7", "--jobs", "2"]) == 0
    assert capsys.readouterr().out.startswith("all promises hold: 60 schedules")


def test_runs_come_to_every_kind_of_end() -> None:
    """The promises are not held by runs in which nothing happens."""
    ends: set[str] = set()
    joins = requests = streams = answered = batches = edits = children = pairs = 0
    for seed in range(200):
        life = live(Case.drawn(seed))
        run, account = life.world.engine.run, life.world.account
        ends.add(f"{getattr(account.ends[0], 'kind', run.status) if account.ends else 'at rest'}")
        joins += sum(account.events.fired.values())
        pairs += sum(queue.done for name, queue in run.scheduler.queues.items() if name.startswith("pair"))
        requests += sum(one.status == "answered" for one in run.requests.values())
        streams += run.next_stream - 1
        answered += len(account.events.taken)
        batches += len(account.events.collected)
        edits += account.edits.applied.total()
        children += len(account.children.ends)
    assert ends == {"at rest", "completed", "cancelled", "step", "timeout", "stuck", "expired"}
    assert min(joins, requests, streams, answered, batches, edits, children, pairs) > 10
