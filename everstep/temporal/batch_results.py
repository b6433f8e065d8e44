"""The results of a batch as a JSON Lines file: written as runs end, put in the order of the input when all is seen.

The file is the batch's memory: what stands there as ended is not asked of the server again. A line that was torn by the
end of the process is dropped.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, cast, get_args

from everstep.errors import EverstepError
from everstep.temporal.batch_lines import Line

try:
    import fcntl
except ImportError:  # not on this system: nothing keeps two processes from writing one file
    fcntl = None

Status = Literal[
    "completed",
    "failed",
    "cancelled",
    "terminated",
    "timed_out",
    "unread",
    "waiting",
    "running",
    "not_started",
    "refused",
    "bad",
]
"""How a line stands. `unread`: its run has ended, and what it says cannot be read here, such as without its key;
`waiting`: for a person; `refused`: by the server; `bad`: no run can be started from it."""

UNSUCCESSFUL: tuple[Status, ...] = ("failed", "cancelled", "terminated", "timed_out")
"""How runs end that have not completed."""

ENDED: tuple[Status, ...] = ("completed", *UNSUCCESSFUL)


class ResultsFileError(EverstepError):
    """The file of a batch's results cannot be used."""


@dataclass(frozen=True, slots=True)
class Record:
    """How one line stands; `result` of a completed one, `error` of others."""

    line: int
    run_id: str | None
    status: Status
    result: Any = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form: a line of the file."""
        out: dict[str, Any] = {"line": self.line, "run": self.run_id, "status": self.status}
        if self.status == "completed":
            out["result"] = self.result
        return out if self.error is None else out | {"error": self.error}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a record stands in the file, and the line that it names."""

    offset: int
    line: int | None
    status: Status


class ResultsFile:
    """The file that a batch's results are collected in; use `ResultsFile.open`.

    What is kept in memory is a place for each line, no results.
    """

    def __init__(self, path: Path, file: BinaryIO, batch: str) -> None:
        self.path = path
        self._file = file
        self._batch = batch
        self._known: dict[str, _Place] = {}
        self._places: dict[int, _Place] = {}
        self._end = self._load()

    @classmethod
    @contextmanager
    def open(cls, path: Path, batch: str) -> Generator[Self]:
        """The file, made where it is missing, and kept from other processes meanwhile.

        Raises:
            ResultsFileError: it cannot be written, holds something else, or another process uses it.
        """
        try:
            file = path.open("a+b")
        except OSError as error:
            raise ResultsFileError(f"Results cannot be written to {path}: {error.strerror}. Give another.") from error
        with file:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ResultsFileError(
                    f"Another process collects results in {path}: wait for its end, or give another file."
                ) from None
            yield cls(path, file, batch)

    def ended(self, line: Line, *, retry: bool = False) -> Status | None:
        """How a line's run ended, if the file tells that it did; the record then stands for the line.

        With `retry` one that has not completed is taken as not ended.
        """
        place = self._known.pop(line.run_id, None)
        if place is None or (retry and place.status in UNSUCCESSFUL):
            return None
        self._places[line.number] = place
        return place.status

    def add(self, record: Record) -> None:
        """Write a record, at once."""
        written = _dump(record.to_json())
        self._file.write(written)
        self._file.flush()
        self._places[record.line] = _Place(self._end, record.line, record.status)
        self._end += len(written)

    def put_in_order(self) -> None:
        """Write the file anew: one record for each line, in their order, then runs of lines that are gone, without one.

        Raises:
            ResultsFileError: there is no room for it; the file is as it was.
        """
        beside = self.path.with_name(f"{self.path.name}.new")
        try:
            with beside.open("wb") as new:
                beside.chmod(stat.S_IMODE(self.path.stat().st_mode))  # results that are kept from others stay so
                for number in sorted(self._places):
                    new.write(self._read(self._places[number], number))
                for place in self._known.values():
                    new.write(self._read(place, None))
                new.flush()
                os.fsync(new.fileno())
            beside.replace(self.path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise ResultsFileError(
                f"The results in {self.path} cannot be put in order: {error.strerror}. They are all there."
            ) from error

    def _read(self, place: _Place, line: int | None) -> bytes:
        self._file.seek(place.offset)
        text = self._file.readline()
        return text if place.line == line else _dump(json.loads(text) | {"line": line})

    def _load(self) -> int:
        """Read what is there; gives where it ends."""
        self._file.seek(0)
        end = 0
        for text in self._file:
            record = _record(text)
            if record is None and not text.endswith(b"\n"):
                break  # torn
            run = None if record is None else record["run"]
            if record is None or not (run is None or run.startswith(f"{self._batch}-")):
                raise ResultsFileError(
                    f"{self.path} holds something else than results of batch {self._batch!r}: give another file."
                )
            if run is not None and record["status"] in ENDED:
                self._known[run] = _Place(end, record["line"], record["status"])
            elif run is not None:
                self._known.pop(run, None)
            end += len(text)
        self._file.truncate(end)
        return end


def _record(text: bytes) -> dict[str, Any] | None:
    """A line of the file; None where it is none of ours, or torn."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict) or not text.endswith(b"\n"):
        return None
    record = cast("dict[str, Any]", found)
    ours = record.get("status") in get_args(Status) and "line" in record and isinstance(record.get("run"), str | None)
    return record if ours else None


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
