"""`starter.py schedule …`: flows that the server starts by itself, made, shown, triggered, paused and deleted."""

import re
import uuid
from pathlib import Path

import pytest

from tests.cli.conftest import Shell, eventually


@pytest.fixture
def name() -> str:
    """A schedule's id that is free."""
    return f"s{uuid.uuid4().hex[:8]}"


def test_a_schedule_from_its_making_to_its_end(shell: Shell, name: str) -> None:
    """It is listed and shown as it was given, starts runs that tell their time, is paused, replaced and deleted."""
    at = ("--cron", "0 2 * * *", "--time-zone", "Europe/Berlin", "--jitter", "1m", "--note", "every night")
    made = shell.starter("schedule", "create", name, "Shop", "item=tea", "amount=2", *at)
    assert made.code == 0, made.err
    assert made.json["times"] == ["0 2 * * * Europe/Berlin, put off by up to 1m"]
    assert (made.json["input"], made.json["overlap"]) == ({"item": "tea", "amount": 2}, "skip")
    assert len(made.json["next"]) > 1
    again = shell.starter("schedule", "create", name, "Shop", "--every", "1h")
    assert (again.code, "exists already" in again.err) == (1, True)

    run = shell.starter("schedule", "trigger", name).json["run"]
    assert re.fullmatch(rf"{name}-\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ", run)
    assert shell.starter("result", run).json == {"paid": 4.0}
    other = shell.starter("schedule", "trigger", name).json["run"]
    assert other != run
    assert shell.starter("result", other).json == {"paid": 4.0}
    eventually(lambda: shell.starter("schedule", "show", name).json["recent"][-1]["status"] == "completed")
    shown = shell.starter("schedule", "show", name, "-o", "table").out
    assert run in shown
    assert '{"item": "tea", "amount": 2}' in shown

    assert shell.starter("schedule", "pause", name).json == {"schedule": name, "paused": True}

    def listed() -> bool:
        found = [one for one in shell.starter("schedule", "list").json["schedules"] if one["schedule"] == name]
        return bool(found) and found[0]["paused"] and found[0]["note"] == "every night"

    eventually(listed)
    new = ("--every", "1h30m", "--cron", "30 2 * * *", "--replace")
    replaced = shell.starter("schedule", "create", name, "Shop", "item=milk", *new)
    assert (replaced.json["times"], replaced.json["paused"]) == (["30 2 * * * UTC", "every 1h30m"], True)
    assert shell.starter("schedule", "unpause", name).code == 0
    assert not shell.starter("schedule", "show", name).json["paused"]
    assert shell.starter("schedule", "delete", name).code == 0
    assert shell.starter("schedule", "show", name).code == 4


def test_the_server_starts_runs_by_itself_each_under_its_own_keys(shell: Shell, name: str, tmp_path: Path) -> None:
    """Due times make runs of their own: ids with the time, idempotency keys of the ids."""
    book = tmp_path / "book"
    shell.starter("schedule", "create", name, "Book", f"book={book}", "number=2", "--every", "1s")

    def twice() -> list[str]:
        keys = book.read_text().splitlines() if book.exists() else []
        return keys if len(keys) > 1 else []

    keys = eventually(twice)
    shell.starter("schedule", "delete", name)
    assert len(set(keys)) == len(keys)
    runs = [key.partition("/")[0] for key in keys]
    assert all(re.fullmatch(rf"{name}-\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ", run) for run in runs)


def test_overlap_decides_on_a_run_beside_another(shell: Shell, name: str) -> None:
    """By default a due time is skipped while a run goes on; the exit code says so."""
    shell.starter("schedule", "create", name, "Slow", "seconds=30", "--every", "1d")
    run = shell.starter("schedule", "trigger", name).json["run"]
    skipped = shell.starter("schedule", "trigger", name)
    assert (skipped.code, "goes on" in skipped.err) == (5, True)
    beside = shell.starter("schedule", "trigger", name, "--overlap", "allow-all").json["run"]
    shown = shell.starter("schedule", "show", name).json
    assert (set(shown["running"]) >= {run}, shown["skipped"]) == (True, 1)
    shell.starter("schedule", "delete", name)
    for one in (run, beside):
        shell.starter("cancel", one, "--terminate")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--cron"),
        (("--cron", "often"), "CronString"),
        (("--cron", "0 2 * * *", "--time-zone", "Here/There"), "unknown time zone"),
        (("--every", "soon"), "no length of time"),
        (("--every", "1h", "--overlap", "maybe"), "There are: skip"),
    ],
)
def test_what_is_no_schedule_is_refused(shell: Shell, name: str, arguments: tuple[str, ...], told: str) -> None:
    """With a word on what is wrong, and exit code 2."""
    ended = shell.starter("schedule", "create", name, "Shop", *arguments)
    assert (ended.code, told in ended.err) == (2, True), ended.err


def test_the_commands_of_schedules_have_help_of_their_own(shell: Shell) -> None:
    """The group lists them; each shows its examples as it was called."""
    assert "unpause" in shell.starter("schedule", "--help").out
    assert "starter.py schedule create nightly IndexFlow" in shell.starter("schedule", "create", "--help").out
