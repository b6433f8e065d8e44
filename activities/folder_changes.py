"""What changed in a folder since it was indexed: a walk in the order of names, in batches that a cursor continues."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from activities.documents import SUFFIXES, content_hash, find_documents, source_name
from activities.errors import DocumentUnreadable


@dataclass
class Changes:
    """Sources to index and to take out, and how many are as they were. `cursor` is None at the end of the walk."""

    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0
    cursor: str | None = None


def folder_sources(folder: Path | str, paths: Sequence[str] = (".",)) -> list[str]:
    """The names of the documents at these places below a folder, sorted, each once.

    Args:
        folder: Names are relative to it.
        paths: Files and folders below it. One that does not exist is passed over, like one that is removed later.

    Raises:
        DocumentUnreadable: the folder does not exist, or a path leads out of it.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise DocumentUnreadable(folder, "it is not a folder; give the folder that holds the documents.")
    found: set[str] = set()
    for path in paths:
        place = (root / path).resolve()
        if not place.is_relative_to(root):
            raise DocumentUnreadable(place, f"it is not below {root}; name places inside the folder.")
        if place.is_dir():
            found.update(source_name(file, root) for file in find_documents(place))
        elif place.is_file() and place.suffix.lower() in SUFFIXES:
            found.add(source_name(place, root))
    return sorted(found)


def folder_changes(
    folder: Path | str, paths: Sequence[str], known: Mapping[str, str], *, after: str = "", limit: int = 500
) -> Changes:
    """The next changes behind `after`, at most `limit` of them.

    Args:
        folder, paths: See `folder_sources`.
        known: The content hash of each source that is indexed.
        after: The cursor of the batch before; empty for the first.

    Raises:
        DocumentUnreadable: see `folder_sources`. A file that cannot be read counts as changed: its reader says why.
    """
    present = set(folder_sources(folder, paths))
    names = sorted(present | known.keys())
    changes = Changes()
    for name in names[bisect_right(names, after) :]:
        if len(changes.changed) + len(changes.removed) == limit:
            return changes
        if name not in present:
            changes.removed.append(name)
        elif name in known and known[name] == _hash_of(Path(folder, name)):
            changes.unchanged += 1
        else:
            changes.changed.append(name)
        changes.cursor = name
    changes.cursor = None
    return changes


def _hash_of(file: Path) -> str | None:
    try:
        return content_hash(file)
    except DocumentUnreadable:
        return None
