"""The changes that lead from one state to another, and how changes that wait fit together with such that came since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from everstep.engine import paths
from everstep.engine.messages import StateChange

_Path = tuple[str, ...]


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[StateChange]:
    """The fewest changes that make `after` of `before`: only what differs is set or deleted."""
    changes: list[StateChange] = []
    _dicts(before, after, (), changes)
    return changes


def rebase(pending: Sequence[StateChange], applied: Sequence[StateChange]) -> list[StateChange]:
    """What is left to do of changes that wait, when those that were made on top of them are applied before them.

    A change that waits and was changed again since is dropped. One that would undo what was applied, because it is
    about something around it, is followed by that again.
    """
    newer = [change[1] for change in applied]
    kept = [change for change in pending if not any(_within(_path(change), path) for path in newer)]
    around = [_path(change) for change in kept]
    return [*kept, *(change for change in applied if any(_within(_path(change), path) for path in around))]


def _path(change: StateChange) -> str:
    return change[1] if len(change) > 1 else ""


def _within(path: str, other: str) -> bool:
    return not other or path == other or path.startswith(f"{other}.")


def _dicts(before: Mapping[str, Any], after: Mapping[str, Any], way: _Path, changes: list[StateChange]) -> None:
    changes.extend(["delete", ".".join((*way, key))] for key in before if key not in after)
    for key, value in after.items():
        if key in before:
            _values(before[key], value, (*way, key), changes)
        else:
            changes.append(["set", ".".join((*way, key)), value])


def _values(before: Any, after: Any, way: _Path, changes: list[StateChange]) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        old, new = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
        if all(key and "." not in key for key in (*old, *new)):
            _dicts(old, new, way, changes)
            return
    if isinstance(before, list) and isinstance(after, list):
        have, want = cast("list[Any]", before), cast("list[Any]", after)
        if 0 < len(have) <= len(want):
            for index, value in enumerate(want):
                if index < len(have):
                    _values(have[index], value, (*way, str(index)), changes)
                else:
                    changes.append(["set", ".".join((*way, str(index))), value])
            return
    if paths.dumps(before) != paths.dumps(after):  # JSON tells 1, 1.0 and true apart, and Python does not
        changes.append(["set", ".".join(way), after])
