"""Text from and for people: `key=value` arguments, JSON input, times, and commands to copy."""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from everstep.errors import EverstepError
from everstep.events import HumanResponseEvent

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 100 * 365 * 86400.0


BRIEF = 300
"""How many characters of a structure stand in a table."""


class InputError(EverstepError):
    """What was given on the command line is no input; the text says what one looks like."""


def clean(text: str) -> str:
    """Text that a terminal may show: control characters, which could move its cursor or worse, are made visible."""
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)


def parse_fields(pairs: Sequence[str], given: str | None = None) -> dict[str, Any]:
    """Fields from `key=value` arguments, on top of a JSON object if one is given.

    Args:
        pairs: `key=value`; the value is JSON where it parses as JSON, else text; dots in the key nest.
        given: a JSON object, `@file` that holds one, or `-` for stdin.

    Raises:
        InputError: it is no such thing; names the argument.

    Example: `parse_fields(["n=3", "user.name=Ann"])` gives `{"n": 3, "user": {"name": "Ann"}}`
    """
    fields = {} if given is None else read_object(given)
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InputError(
                f"{pair!r} is no key=value. Write fields as key=value, or give one JSON object by --input."
            )
        _put(fields, key, _value(value))
    return fields


def nearly_json(pairs: Sequence[str]) -> list[str]:
    """A line for each `key=value` whose value begins like a JSON list or object and is none: it is taken as text."""
    out: list[str] = []
    for pair in pairs:
        key, _, text = pair.partition("=")
        if text[:1] in ("[", "{") and isinstance(_value(text), str):
            out.append(f"{key} is taken as text: {text[:60]!r} begins like JSON and is none. Mind the shell's quotes.")
    return out


def read_object(given: str) -> dict[str, Any]:
    """A JSON object written out, in a file (`@file`) or on stdin (`-`).

    Raises:
        InputError: it cannot be read, or is no JSON object.
    """
    text, where = _read(given)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f'{where} is not JSON: {error}. Give one object, such as \'{{"topic": "tides"}}\'.') from None
    if not isinstance(value, dict):
        raise InputError(f'{where} must be one JSON object, such as \'{{"topic": "tides"}}\'; it is {text[:60]!r}.')
    return cast("dict[str, Any]", value)


def _read(given: str) -> tuple[str, str]:
    if given == "-":
        return sys.stdin.read(), "stdin"
    if not given.startswith("@"):
        return given, "--input"
    try:
        return Path(given[1:]).read_text(encoding="utf-8"), given[1:]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"--input {given}: the file cannot be read: {reason}.") from None


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text


def _refuse(constant: str) -> Any:
    raise ValueError(constant)  # NaN and Infinity are no JSON: text


def _put(fields: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    if not all((*path, last)):
        raise InputError(f"{key!r} is no key: it has an empty part. Write nested keys as user.name=Ann.")
    at = fields
    for part in path:
        inner = at.setdefault(part, {})
        if not isinstance(inner, dict):
            raise InputError(f"{key!r} cannot be set: {part!r} is {json.dumps(inner)} already, and no object.")
        at = cast("dict[str, Any]", inner)
    at[last] = value


def compact(value: Any) -> str:
    """A value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, default=str)


def shown(value: Any) -> str:
    """A value for people: text as it is, everything else as JSON."""
    return clean(value) if isinstance(value, str) else compact(value)


def brief(value: Any) -> str:
    """A value for tables: text as it is, the beginning of a long structure; `-o json` has all of it."""
    text = shown(value)
    return text if isinstance(value, str) or len(text) <= BRIEF else f"{text[:BRIEF]} …"


def by_fields(value: Any) -> str:
    """A value for a cell of a table: of a long object, each field that is set on a line of its own."""
    whole = shown(value)
    if not isinstance(value, dict) or len(whole) <= BRIEF:
        return whole
    fields = cast("dict[str, Any]", value)
    return "\n".join(f"{key}={brief(one)}" for key, one in fields.items() if one not in (None, "", [], {}))


def moment(value: datetime | str | None) -> str:
    """A time in the machine's own time zone, to the second; empty for none."""
    if value is None:
        return ""
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def ago(value: datetime, now: datetime | None = None) -> str:
    """How long ago something was, in its largest unit."""
    return span(((now or datetime.now(UTC)) - value).total_seconds()) + " ago"


def span(seconds: float) -> str:
    """A length of time in its largest unit: `42 s`, `5 min`, `3 h`, `2 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def seconds_of(text: str, option: str) -> float:
    """The seconds of a length of time as people write it: `90`, `30s`, `15m`, `1h30m`, `1d`.

    Raises:
        InputError: it is no such thing; names the option.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip().lower())
    whole = re.fullmatch(r"(?:\d+(?:\.\d+)?\s*[smhd]\s*)+|\d+(?:\.\d+)?", text.strip().lower())
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts) if whole else 0.0
    if not (math.isfinite(seconds) and 0 < seconds <= _LONGEST):
        raise InputError(f"{option} {text}: that is no length of time. Write it as 30s, 15m, 1h30m or 1d.")
    return seconds


def answer_command(program: str, run_id: str, request: Mapping[str, Any], *, name_it: bool) -> str:
    """The command that answers a request, with a value of the right type for each field the answer needs.

    Args:
        program: how the program was called, such as `python starter.py`.
        run_id: the run that asks.
        request: the request's record, with `id` and `answer_schemas`.
        name_it: give the request's id, which is needed while the run has several open.
    """
    schemas = cast("dict[str, dict[str, Any]]", request.get("answer_schemas") or {})
    schema = next(iter(schemas.values()), dict[str, Any]())
    properties = cast("dict[str, dict[str, Any]]", schema.get("properties", {}))
    # Where no field is needed, the first that is the type's own.
    own = [name for name in properties if name not in HumanResponseEvent.model_fields]
    needed = cast("list[str]", schema.get("required", [])) or own[:1]
    fields = [f"{name}={_example(properties.get(name, {}))}" for name in needed] or ["response=…"]
    which = f" --request {shlex.quote(str(request['id']))}" if name_it else ""
    return f"{program} respond {shlex.quote(run_id)}{which} {' '.join(fields)}"


def _example(schema: Mapping[str, Any]) -> str:
    choices = schema.get("enum")
    if choices:
        return shlex.quote(shown(choices[0]))
    kinds = {"boolean": "true", "integer": "1", "number": "1.0", "array": "'[…]'", "object": "'{…}'"}
    return kinds.get(str(schema.get("type")), "…")
