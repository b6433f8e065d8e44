"""A person's corrections put into a record."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any


class FieldUnknown(ValueError):
    """A correction names an item of a list that is not there."""


def mended(record: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The record with these fields changed; the rest stays.

    Args:
        record: plain JSON; it is not changed.
        fields: new values by the path of the field: `{"total": 12.5}`, `{"lines.2.amount": 3}` or, which is the same,
            `{"lines": {"2": {"amount": 3}}}`. The number behind the last item of a list adds one.

    Raises:
        FieldUnknown: the item before an added one is not there, or a list has names.

    Example:
        mended({"a": 1, "b": [{"c": 2}]}, {"b.0.c": 3}) == {"a": 1, "b": [{"c": 3}]}
    """
    out = copy.deepcopy(dict(record))
    for path, value in fields.items():
        if path in out or "." not in path:
            out[path] = _merged(out.get(path), value, path)
            continue
        nested: Any = value
        for part in reversed(path.split(".")[1:]):
            nested = {part: nested}
        first = path.partition(".")[0]
        out[first] = _merged(out.get(first), nested, first)
    return out


def _merged(old: Any, new: Any, path: str) -> Any:
    if not isinstance(new, Mapping):
        return copy.deepcopy(new)
    if not isinstance(old, list):
        return mended(old if isinstance(old, Mapping) else {}, new)
    items = list(old)
    for key, value in sorted(new.items(), key=lambda pair: (len(pair[0]), pair[0])):
        index, _, rest = key.partition(".")
        at = int(index) if index.isdecimal() else -1
        if not 0 <= at <= len(items):
            raise FieldUnknown(f"there is no {path}.{key}: {path} has {len(items)} items, counted from 0")
        inner = {rest: value} if rest else value
        if at == len(items):
            items.append(_merged(None, inner, f"{path}.{at}"))
        else:
            items[at] = _merged(items[at], inner, f"{path}.{at}")
    return items
