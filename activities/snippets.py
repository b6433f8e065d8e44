"""The places of a document where a person finds what a record's wrong fields should say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from activities.documents import Document, Line

_WORD = re.compile(r"[^\W\d_]+|\d+")
_LONGEST = 300


def snippets(document: Document, record: Mapping[str, Any], fields: Iterable[str], *, limit: int = 5) -> list[str]:
    """For each field the line that is most about it, as `file:line: text`; the beginning where no line is.

    Args:
        document: what the record was extracted from.
        record: the record as it is; its wrong values are looked for too.
        fields: paths, such as `lines.2.amount`.
        limit: how many there are at most.
    """
    found: dict[int, Line] = {}
    for path in fields:
        best = _best_line(document.lines, path, _value_at(record, path))
        if best is not None:
            found[best.number] = best
    lines = sorted(found.values()) or [line for line in document.lines if line.text.strip()]
    return [f"{document.source}:{line.number}: {line.text.strip()[:_LONGEST]}" for line in lines[:limit]]


def _best_line(lines: list[Line], path: str, value: Any) -> Line | None:
    """The first of the lines that share most with the field's name and value; a value counts more than a name."""
    name = _words(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path.rpartition(".")[2]))
    said = _words(str(value)) if isinstance(value, str | int | float) else set[str]()
    best, most = None, 0
    for line in lines:
        words = _words(line.text)
        score = 2 * len(words & said) + len(words & name)
        if score > most:
            best, most = line, score
    return best


def _words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.casefold()) if len(word) > 1}


def _value_at(record: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(record, Mapping):
            record = record.get(part)
        elif isinstance(record, list) and part.isdecimal() and int(part) < len(record):
            record = record[int(part)]
        else:
            return None
    return record
