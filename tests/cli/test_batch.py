"""`starter.py batch`: a run for each line of a file, started once, seen through, collected; killed and called again."""

import json
import uuid
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from everstep.temporal.devserver import DevServer
from tests.cli.conftest import Ended, Shell, eventually


@pytest.fixture
def batch() -> str:
    """A batch's id that is free."""
    return f"b{uuid.uuid4().hex[:8]}"


def write(path: Path, lines: Iterable[Any]) -> Path:
    """A file of inputs; what is text stands there as it is."""
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def results(path: Path) -> list[Any]:
    """The lines of the file of results."""
    return [json.loads(line) for line in path.with_suffix(".results.jsonl").read_text().splitlines()]


def test_each_line_has_its_result_in_its_place(shell: Shell, tmp_path: Path, batch: str) -> None:
    """Completed, failed, bad and waiting lines are told apart; people hold nobody up, and are collected next time."""
    lines = [{"item": "a", "amount": 1}, {"item": "b", "amount": 300}, "no json", {"amount": 1}, [1], {"item": "c"}]
    inputs = write(tmp_path / "orders.jsonl", [*lines, "", {"item": "a", "amount": 1}])
    ended = shell.starter("batch", "Shop", str(inputs), "--id", batch)
    assert ended.code == 1, ended.err
    told = ended.json
    assert (told["lines"], told["completed"], told["failed"], told["bad"], told["waiting"]) == (7, 3, 1, 2, 1)
    assert told["started"] == 5
    assert "line 3: bad: it is not JSON" in ended.err
    assert "line 5: bad: it is no JSON object" in ended.err
    assert "inbox --flow Shop" in ended.err
    found = results(inputs)
    assert [one["line"] for one in found] == [1, 2, 3, 4, 5, 6, 8]
    assert [one["status"] for one in found] == [
        "completed",
        "waiting",
        "bad",
        "failed",
        "bad",
        "completed",
        "completed",
    ]
    assert [one.get("result") for one in found[::5]] == [{"paid": 2.0}, {"paid": 2.0}]
    assert "item" in found[3]["error"]
    assert found[6]["run"] == f"{found[0]['run']}-2"

    assert shell.starter("respond", found[1]["run"], "approved=true").code == 0
    write(inputs, [lines[0], lines[1], {"item": "mended"}])
    again = shell.starter("batch", "Shop", str(inputs), "--id", batch)
    assert again.code == 0, again.err
    assert (again.json["completed"], again.json["started"], again.json["before"]) == (3, 1, 1)
    found = results(inputs)
    assert [(one["line"], one["status"]) for one in found[:3]] == [(1, "completed"), (2, "completed"), (3, "completed")]
    assert found[1]["result"] == {"approved": True, "item": "b"}
    assert {one["line"] for one in found[3:]} == {None}, "runs of lines that are gone are kept"


@pytest.mark.slow
def test_a_killed_batch_goes_on_where_it_was(shell: Shell, server: DevServer, tmp_path: Path, batch: str) -> None:
    """After kill -9 nothing is started twice and no result is lost, whoever looked; nor when the server is killed."""
    book, count = tmp_path / "book", 40
    inputs = write(tmp_path / "in.jsonl", [{"number": n, "book": str(book), "seconds": 0.2} for n in range(count)])
    command = ("batch", "Book", str(inputs), "--id", batch, "--rate", "40", "--in-flight", "8")
    journal = inputs.with_suffix(".results.jsonl")
    with shell.begin("starter.py", *command) as killed:
        eventually(lambda: journal.exists() and journal.read_text().count("\n") >= 10)
        killed.kill()
    with journal.open("a") as file:
        file.write('{"line": 3, "ru')  # as a process leaves it that dies while it writes
    before = journal.read_text().count("\n")
    with shell.begin("starter.py", *command) as again:
        eventually(lambda: journal.read_text().count("\n") >= before + 5)
        server.kill()
        server.restart()
        out, err = again.communicate(timeout=100)
    assert again.returncode == 0, err
    told = json.loads(out)
    assert told["before"] == before < count
    assert told["found"] > 0
    assert [(one["line"], one["result"]) for one in results(inputs)] == [(n + 1, n) for n in range(count)]
    assert set(Counter(book.read_text().splitlines()).values()) == {1}
    assert len(book.read_text().splitlines()) == count
    once_more = shell.starter(*command)
    assert (once_more.json["before"], once_more.json["started"], once_more.json["found"]) == (count, 0, 0)
    journal.unlink()
    collected = shell.starter(*command)
    assert (collected.json["completed"], collected.json["started"], collected.json["found"]) == (count, 0, count)


def test_failed_runs_are_started_again_when_asked(shell: Shell, tmp_path: Path, batch: str) -> None:
    """Only with --retry-failed; under the idempotency keys that they had."""
    book, stop = tmp_path / "book", tmp_path / "stop"
    stop.touch()
    inputs = write(tmp_path / "in.jsonl", [{"number": n, "book": str(book)} for n in range(4)])

    def call(*more: str) -> Ended:
        return shell.starter("batch", "Book", str(inputs), "--id", batch, "--key", "number", *more)

    first = call()
    assert (first.code, first.json["completed"], first.json["failed"]) == (1, 2, 2)
    assert f"line 2 (run {batch}-1): failed: " in first.err
    assert "--retry-failed" in first.err
    stop.unlink()
    assert (call().code, call().json["started"]) == (1, 0)
    inputs.with_suffix(".results.jsonl").unlink()
    assert (call().json["failed"], call().json["started"]) == (2, 0), "without the file either"
    retried = call("--retry-failed")
    assert (retried.code, retried.json["completed"], retried.json["started"]) == (0, 4, 2)
    keys = Counter(book.read_text().splitlines())
    assert sorted(keys.values()) == [1, 1, 2, 2]


def test_a_batch_need_not_be_waited_for(shell: Shell, tmp_path: Path, batch: str) -> None:
    """--no-wait starts all and ends; --timeout ends the wait; a later call collects."""
    inputs = write(tmp_path / "in.jsonl", [{"seconds": 1.5 + n / 100} for n in range(5)])
    command = ("batch", "Slow", str(inputs), "--id", batch)
    left = shell.starter(*command, "--timeout", "0.7", "--rate", "4")
    assert left.code == 5, left.err
    assert left.json["running"] + left.json["not_started"] == 5
    assert left.json["not_started"] > 0
    started = shell.starter(*command, "--no-wait")
    assert started.code == 0, started.err
    assert (started.json["running"], started.json["found"]) == (5, left.json["running"])
    assert {one["status"] for one in results(inputs)} == {"running"}
    collected = shell.starter(*command, "-o", "table")
    assert (collected.code, "5 lines: 5 completed." in collected.out) == (0, True)
    assert [one["result"] for one in results(inputs)] == ["slept"] * 5


def test_what_cannot_be_is_refused_before_anything_starts(shell: Shell, tmp_path: Path, batch: str) -> None:
    """A file that is not there, results over the inputs or over another batch's; a server that refuses a line."""
    inputs = write(tmp_path / "in.jsonl", [{"seconds": 0}])
    missing = shell.starter("batch", "Slow", str(tmp_path / "none.jsonl"))
    assert (missing.code, "none.jsonl cannot be read" in missing.err) == (2, True)
    same = shell.starter("batch", "Slow", str(inputs), "--out", str(inputs))
    assert (same.code, "is the file of the inputs" in same.err) == (2, True)
    assert shell.starter("batch", "Slow", str(inputs), "--id", batch).code == 0
    other = shell.starter("batch", "Slow", str(inputs), "--id", "other")
    assert (other.code, "something else than results of batch 'other'" in other.err) == (2, True)
    huge = write(tmp_path / "huge.jsonl", [{"seconds": 0, "text": "x" * 3_000_000}, {"seconds": 0}])
    ended = shell.starter("batch", "Slow", str(huge), "--id", batch)
    assert (ended.code, ended.json["refused"], ended.json["completed"]) == (1, 1, 1)
