"""Reading and changing nested dicts and lists by dotted path: ``"cart.items.0.price"``.

`read` and `write` raise LookupError for what is not there. `change` is for the commit of recorded changes and never
raises: another invocation may have reshaped the state meanwhile, and then the change that commits last wins.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

State = dict[str, Any]


def split(path: str) -> list[str]:
    """The segments of a dotted path; empty segments are refused with ValueError."""
    parts = path.split(".")
    if not all(parts):
        raise ValueError(f"the state path {path!r} has an empty segment; write it like 'a.b.0'")
    return parts


def read(state: Any, path: str) -> Any:
    """The value at `path`; LookupError names the segment that is missing."""
    value = state
    for part in split(path):
        value = _child(value, part, path)
    return value


def write(state: State, path: str, value: Any) -> None:
    """Set the value at `path`, making the dicts on the way; LookupError where the way is barred."""
    *way, last = split(path)
    node: Any = state
    for part in way:
        if isinstance(node, dict) and part not in node:
            node[part] = {}
        node = _child(node, part, path)
    _assign(node, last, value, path)


def remove(state: State, path: str) -> None:
    """Delete what stands at `path`; LookupError if there is nothing."""
    *way, last = split(path)
    node: Any = state
    for part in way:
        node = _child(node, part, path)
    _child(node, last, path)
    del node[int(last) if isinstance(node, list) else last]


def change(state: State, operation: Sequence[Any]) -> int:
    """Apply one recorded change (see `StateChange`) and give by how many bytes of JSON the state grew."""
    kind, path = operation[0], operation[1]
    try:
        before = size(read(state, path))
    except LookupError:
        before = 0
    if kind == "delete":
        if before:
            remove(state, path)
        return -before
    value = operation[2]
    try:
        write(state, path, value)
    except LookupError:
        _force(state, path, value)
    return size(value) - before


def size(value: Any) -> int:
    """The length of a value's JSON, in characters."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def _child(node: Any, part: str, path: str) -> Any:
    if isinstance(node, dict):
        members = cast("State", node)
        if part in members:
            return members[part]
    elif isinstance(node, list):
        items = cast("list[Any]", node)
        if part.isdecimal() and int(part) < len(items):
            return items[int(part)]
    raise LookupError(f"the state has nothing at {path!r}: {part!r} is missing")


def _assign(node: Any, last: str, value: Any, path: str) -> None:
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list):
        _child(node, last, path)
        node[int(last)] = value
    else:
        raise LookupError(f"the state cannot be set at {path!r}: what is above it is neither a dict nor a list")


def _force(state: State, path: str, value: Any) -> None:
    """Set `value` at `path`, replacing by a dict whatever bars the way."""
    *way, last = split(path)
    node: State = state
    for part in way:
        below = node.get(part)
        if not isinstance(below, dict):
            below = node[part] = {}
        node = cast("State", below)
    node[last] = value
