"""The lines of a batch: each JSON object of a file is the input of one run, whose id is made of what it says.

The same line in the same batch has the same run id whenever and wherever it is read, and a completed run's id is
refused for ever: so a batch that is started again starts nothing twice. Lines may be moved and added.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from everstep.errors import EverstepError

_HASH_BYTES = 8
"""Of a line's hash, in its run id: among a million lines two are alike by chance once in 30 million batches."""

_ID_LIMIT = 500
"""Characters of a key; servers take run ids of up to 1,000."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)


class _NoLine(EverstepError):
    """Why a line is no input of a run."""


@dataclass(frozen=True, slots=True)
class Line:
    """One run to be: the number of its line, from 1, its id, and the fields of its start event."""

    number: int
    run_id: str
    start: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that no run can be started from, and why."""

    number: int
    reason: str


def read_lines(file: Iterable[bytes], batch: str, flow: str, key: str | None = None) -> Iterator[Line | BadLine]:
    """The lines of a JSON Lines file as runs; empty ones are left out.

    Args:
        file: its lines, such as a file opened for reading bytes.
        batch: the batch's id: what the run ids begin with.
        flow: the flow's name; with the same line another flow has another run.
        key: the field whose value names a line's run, instead of all that the line says.

    Example:
        >>> with open("orders.jsonl", "rb") as file:
        ...     runs = list(read_lines(file, "orders", "OrderFlow"))
    """
    seen: dict[bytes | str, int] = {}
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            start = _fields(text)
            name = _named(start, key, seen, number) if key is not None else _hashed(start, flow, seen)
        except _NoLine as reason:
            yield BadLine(number, str(reason))
        else:
            yield Line(number, f"{batch}-{name}", start)


def _fields(text: bytes) -> dict[str, Any]:
    try:
        value: Any = json.loads(text.decode("utf-8-sig"), parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise _NoLine(f"it is not UTF-8 text: {error.reason} at byte {error.start + 1}") from None
    except RecursionError:
        raise _NoLine("its JSON is nested too deeply") from None
    except ValueError as error:
        raise _NoLine(f"it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise _NoLine(f"it is no JSON object, the fields of a start event: {text.decode().strip()[:60]!r}")
    return cast("dict[str, Any]", value)


def _hashed(start: Mapping[str, Any], flow: str, seen: dict[bytes | str, int]) -> str:
    """By all that the line says, whatever the order of its keys; a line that comes again is one more run."""
    whole = hashlib.blake2b(_ENCODER.encode([flow, start]).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    times = seen[whole] = seen.get(whole, 0) + 1
    name = whole[:_HASH_BYTES].hex()
    return name if times == 1 else f"{name}-{times}"


def _named(start: Mapping[str, Any], key: str, seen: dict[bytes | str, int], number: int) -> str:
    value = start.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise _NoLine(f"its field {key!r} names its run, and is no text or whole number: {json.dumps(value)[:60]}")
    name = str(value)
    if len(name) > _ID_LIMIT or not name.isprintable():
        raise _NoLine(f"its field {key!r} names its run: give at most {_ID_LIMIT} printable characters")
    if name in seen:
        raise _NoLine(f"its {key!r} is that of line {seen[name]}: {name[:60]!r}")
    seen[name] = number
    return name


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
