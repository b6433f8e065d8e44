"""The files of a batch: which run a line stands for, and results that outlive the process that writes them."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest

from everstep.temporal.batch_lines import BadLine, Line, read_lines
from everstep.temporal.batch_results import Record, ResultsFile, ResultsFileError


def ids(*lines: str, flow: str = "Flow", key: str | None = None) -> list[str]:
    """The run ids of lines, or why a line has none."""
    read = read_lines((line.encode() for line in lines), "b", flow, key)
    return [one.run_id if isinstance(one, Line) else f"{one.number}: {one.reason}" for one in read]


def test_a_line_s_run_is_told_by_what_the_line_says() -> None:
    """Not by its place, its spaces or the order of its keys; a line that comes again is one more run."""
    first, second = ids('{"a": 1, "b": 2}', '{"a": 2}')
    assert first != second
    assert ids('{"a": 2}', "", '{"b":2,"a":1}\r\n', '{"a": 2}') == [second, first, f"{second}-2"]
    assert ids('{"a": 2}', flow="Other") != [second]


def test_a_field_may_name_the_runs() -> None:
    """Each value once; what is no name is told."""
    assert ids('{"n": "A-7", "x": 1}', '{"n": 8}', key="n") == ["b-A-7", "b-8"]
    told = ids('{"n": "A"}', '{"n": "A"}', '{"n": true}', '{"m": 1}', '{"n": ""}', '{"n": "a\\u0000"}', key="n")
    assert told[1] == "2: its 'n' is that of line 1: 'A'"
    assert all("names its run" in one for one in told[2:])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "not JSON"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b"[1]", "no JSON object"),
        (b'"\xff"', "not UTF-8"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "not JSON"),
    ],
)
def test_a_bad_line_is_told_by_its_number(line: bytes, told: str) -> None:
    """And those behind it are read."""
    bad, good = read_lines([line, b'\xef\xbb\xbf{"a": 1}'], "b", "Flow")
    assert isinstance(bad, BadLine)
    assert (bad.number, told in bad.reason) == (1, True), bad.reason
    assert isinstance(good, Line)


def lines_of(count: int) -> Iterable[Line]:
    """So many lines."""
    texts = (json.dumps({"number": number, "text": "x" * 100}).encode() for number in range(count))
    return (line for line in read_lines(texts, "b", "Flow") if isinstance(line, Line))


def test_results_are_kept_over_processes_and_put_in_order(tmp_path: Path) -> None:
    """What has ended need not be asked again, wherever its line stands now; what was open has to be."""
    path = tmp_path / "results"
    one, two, three = lines_of(3)
    with ResultsFile.open(path, "b") as file:
        file.add(Record(3, three.run_id, "completed", "c"))
        file.add(Record(1, one.run_id, "waiting"))
        file.add(Record(2, two.run_id, "failed", error="why"))
    with path.open("ab") as torn:
        torn.write(b'{"line": 1, "run"')
    with ResultsFile.open(path, "b") as file:
        moved = Line(1, three.run_id, three.start)
        assert (file.ended(moved), file.ended(two, retry=True), file.ended(one)) == ("completed", None, None)
        file.add(Record(3, one.run_id, "completed", "a"))
        file.put_in_order()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"line": 1, "run": three.run_id, "status": "completed", "result": "c"},
        {"line": 3, "run": one.run_id, "status": "completed", "result": "a"},
    ]


def test_results_that_others_must_not_read_stay_so(tmp_path: Path) -> None:
    """The file that is put in order has the mode of the one before."""
    path = tmp_path / "results"
    path.touch(0o600)
    with ResultsFile.open(path, "b") as file:
        file.add(Record(1, "b-1", "completed", "secret"))
        file.put_in_order()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """And one that another process writes."""
    path = tmp_path / "results"
    for text in ('{"a": 1}\n', '{"line": 1, "run": "other-1", "status": "completed"}\n', "words\n"):
        path.write_text(text)
        with pytest.raises(ResultsFileError, match="something else"), ResultsFile.open(path, "b"):
            pass
        assert path.read_text() == text
    with (
        ResultsFile.open(tmp_path / "mine", "b"),
        pytest.raises(ResultsFileError, match="Another process"),
        ResultsFile.open(tmp_path / "mine", "b"),
    ):
        pass


def _cost(path: Path, count: int) -> tuple[float, int]:
    """CPU seconds, and bytes of memory at most, of reading lines, writing results, and doing so again."""
    tracemalloc.start()
    begun = time.process_time()
    for _ in range(2):
        with ResultsFile.open(path, "b") as file:
            for line in lines_of(count):
                if file.ended(line) is None:
                    file.add(Record(line.number, line.run_id, "completed", "y" * 1000))
            file.put_in_order()
    spent, (_, peak) = time.process_time() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return spent, peak


def test_cost_grows_with_the_lines_and_not_with_the_results(tmp_path: Path) -> None:
    """Ten times the lines: some ten times the time and memory; of the results none stays in memory."""
    (few_spent, few), (many_spent, many) = _cost(tmp_path / "few", 200), _cost(tmp_path / "many", 2_000)
    assert many_spent < 25 * few_spent
    assert many < 15 * few
    assert many < 2_000 * 1_000
