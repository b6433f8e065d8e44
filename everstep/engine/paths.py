"""Reading and changing nested dicts and lists by dotted path: ``"cart.items.0.price"``.

`read` and `write` raise LookupError for what is not there. `change` is for the commit of recorded changes and never
raises: another invocation may have reshaped the state meanwhile, and then the change that commits last wins.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any, cast

State = dict[str, Any]

_MISSING: Any = object()


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
    """Set the value at `path`, making the dicts on the way; LookupError where the way is barred.

    The index behind the last one of a list adds to it.
    """
    *way, last = split(path)
    node: Any = state
    for part in way:
        if isinstance(node, dict) and part not in node:
            node[part] = {}
        node = _child(node, part, path)
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list):
        if last == str(len(cast("list[Any]", node))):
            cast("list[Any]", node).append(value)
            return
        _child(node, last, path)
        node[int(last)] = value
    else:
        raise LookupError(f"the state cannot be set at {path!r}: what is above it is neither a dict nor a list")


def remove(state: State, path: str) -> None:
    """Delete what stands at `path`; LookupError if there is nothing."""
    *way, last = split(path)
    node: Any = state
    for part in way:
        node = _child(node, part, path)
    _child(node, last, path)
    del node[int(last) if isinstance(node, list) else last]


def problem(operation: Any) -> str | None:
    """Why something is no change that `change` can apply, or None."""
    match operation:
        case ["set", str(path), _] | ["delete", str(path)] if all(path.split(".")):
            return None
        case ["clear"]:
            return None
        case _:
            return (
                f"{operation!r} is no change of state; it must be ['set', path, value], ['delete', path] or ['clear']"
            )


def change(state: State, operation: Sequence[Any]) -> int:
    """Apply one recorded change (see `StateChange`); gives by how many characters the state's JSON grew.

    What bars the way is replaced by a dict; an index past the end of a list adds to it. The value is copied, so that
    later changes inside it leave the recorded operation as it was.
    """
    if operation[0] == "clear":
        gone = size(state)
        state.clear()
        return size(state) - gone
    parts = split(operation[1])
    if operation[0] == "delete":
        return _drop(state, parts)
    text = dumps(operation[2])
    node: Any = state
    grown = 0
    for part, below in itertools.pairwise(parts):
        child = _get(node, part)
        if not _takes(child, below):
            child = cast("State", {})
            grown += _put(node, part, child, 2)
        node = child
    return grown + _put(node, parts[-1], json.loads(text), len(text))


def dumps(value: Any) -> str:
    """A value's JSON, compact."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def copied(state: State) -> State:
    """A copy of a state that shares nothing with it."""
    return json.loads(dumps(state))


def size_in_bytes(value: Any) -> int:
    """The length of a value's JSON, in bytes of UTF-8."""
    text = dumps(value)
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def size(value: Any) -> int:
    """The length of a value's JSON, in characters."""
    return len(dumps(value))


def _get(node: Any, part: str) -> Any:
    """What stands under one segment, or _MISSING."""
    if isinstance(node, dict):
        return cast("State", node).get(part, _MISSING)
    if isinstance(node, list) and _is_index(part):
        items = cast("list[Any]", node)
        return items[int(part)] if int(part) < len(items) else _MISSING
    return _MISSING


def _child(node: Any, part: str, path: str) -> Any:
    value = _get(node, part)
    if value is _MISSING:
        raise LookupError(f"the state has nothing at {path!r}: {part!r} is missing")
    return value


def _is_index(part: str) -> bool:
    return part.isdecimal() and len(part) < 10


def _takes(node: Any, part: str) -> bool:
    return isinstance(node, dict) or (isinstance(node, list) and _is_index(part))


def _put(node: State | list[Any], part: str, value: Any, length: int) -> int:
    """Set one member of a container that takes it; `length` is the value's, the growth is given back."""
    comma = 1 if node else 0
    if isinstance(node, list):
        index = int(part)
        if index >= len(node):
            node.append(value)
            return length + comma
        old, node[index] = node[index], value
        return length - size(old)
    old = node.get(part, _MISSING)
    node[part] = value
    return length + comma + size(part) + 1 if old is _MISSING else length - size(old)


def _drop(state: State, parts: list[str]) -> int:
    """Delete what is there, if anything is; gives the growth, which is negative."""
    node: Any = state
    for part in parts[:-1]:
        node = _get(node, part)
    last = parts[-1]
    old = _get(node, last)
    if old is _MISSING:
        return 0
    comma = 1 if len(node) > 1 else 0
    if isinstance(node, list):
        del node[int(last)]
        return -size(old) - comma
    del node[last]
    return -size(old) - comma - size(last) - 1
