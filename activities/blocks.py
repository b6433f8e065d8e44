"""The structure of a document: sections under headings, and in them paragraphs, lists, tables and code.

Rule: blocks are runs of the document's own lines, named by their indexes; nothing is rewritten, nothing overlaps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["prose", "list", "table", "code"]

_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*$")
_UNDERLINE = re.compile(r"(=+|-{3,})\s*$")
_RULE = re.compile(r"\s{0,3}([-*_])(?:\s*\1){2,}\s*$")
FENCE = re.compile(r"\s*(`{3,}|~{3,})")
"""The line that begins or ends a block of code."""
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)]|\[\^?[^\]]+\]:)\s")
_FRONT_MATTER_LINES = 100


@dataclass(frozen=True)
class Block:
    """Lines that belong together: from `start` up to but without `end`."""

    kind: Kind
    start: int
    end: int


@dataclass
class Section:
    """What stands under a heading. `path` is that heading and those above it; `line` is where the section begins."""

    path: list[str]
    line: int
    blocks: list[Block] = field(default_factory=list[Block])


def sections(lines: Sequence[str], breaks: Collection[int] = ()) -> list[Section]:
    """The sections of a text, in order; those without a block are left out.

    Args:
        lines: the text, headings in Markdown's form.
        breaks: indexes of lines that are no text and where a section ends: those that begin a page.
    """
    found = [Section([], 0)]
    levels: list[tuple[int, str]] = []
    at = 0
    while at < len(lines):
        heading = _heading(lines, at)
        if at in breaks:
            found.append(Section([title for _, title in levels], at))
            at += 1
        elif heading:
            level, title, height = heading
            levels = [*(entry for entry in levels if entry[0] < level), (level, title)]
            found.append(Section([title for _, title in levels], at))
            at += height
        elif not lines[at].strip():
            at += 1
        elif _RULE.match(lines[at]) and not _is_front_matter(lines, at):
            at += 1
            found.append(Section(found[-1].path, at))
        else:
            block = _block(lines, at, breaks)
            found[-1].blocks.append(block)
            at = block.end
    return [section for section in found if section.blocks]


def items(lines: Sequence[str], block: Block) -> Iterator[tuple[int, int]]:
    """A list's items with all that is nested in them, each from its first line up to but without its end."""
    starts: list[int] = []
    fence = ""
    indent = _indent(lines[block.start])
    for at in range(block.start, block.end):
        mark = FENCE.match(lines[at])
        if not fence and _ITEM.match(lines[at]) and _indent(lines[at]) <= indent:
            starts.append(at)
        if mark and (not fence or mark.group(1).startswith(fence)):
            fence = "" if fence else mark.group(1)
    if not starts or starts[0] != block.start:
        starts.insert(0, block.start)
    yield from zip(starts, [*starts[1:], block.end], strict=True)


def _heading(lines: Sequence[str], at: int) -> tuple[int, str, int] | None:
    """The heading at a line: its level, its title, and how many lines it takes."""
    mark = _HEADING.match(lines[at])
    if mark:
        return len(mark.group(1)), mark.group(2), 1
    text, below = lines[at], lines[at + 1] if at + 1 < len(lines) else ""
    underline = _UNDERLINE.match(below)
    if not underline or not text.strip() or (at and lines[at - 1].strip()) or text[0] in " \t|>" or _ITEM.match(text):
        return None
    if _RULE.match(text) or FENCE.match(text):
        return None
    return (1 if underline.group(1)[0] == "=" else 2), text.strip(), 2


def _is_front_matter(lines: Sequence[str], at: int) -> bool:
    return at == 0 and lines[0].rstrip() == "---" and _front_matter_end(lines) > 0


def _front_matter_end(lines: Sequence[str]) -> int:
    for at in range(1, min(len(lines), _FRONT_MATTER_LINES)):
        if lines[at].rstrip() == "---":
            return at + 1
        if not lines[at].strip():
            return 0
    return 0


def _block(lines: Sequence[str], at: int, breaks: Collection[int]) -> Block:
    """The block that begins at a line, which is neither blank nor a heading."""
    if _is_front_matter(lines, at):
        return Block("code", at, _front_matter_end(lines))
    if FENCE.match(lines[at]):
        return Block("code", at, _fence_end(lines, at))
    if _is_row(lines[at]):
        return Block("table", at, _run_end(lines, at, _is_row))
    if _ITEM.match(lines[at]):
        return Block("list", at, _list_end(lines, at, breaks))
    if _is_indented(lines[at]):
        end = _run_end(lines, at, lambda line: not line.strip() or _is_indented(line))
        while not lines[end - 1].strip():
            end -= 1
        return Block("code", at, end)
    end = at + 1
    while end < len(lines) and end not in breaks and not _interrupts(lines, end):
        end += 1
    return Block("prose", at, end)


def _interrupts(lines: Sequence[str], at: int) -> bool:
    """Whether a line ends the paragraph before it."""
    line = lines[at]
    return not line.strip() or bool(
        _HEADING.match(line) or FENCE.match(line) or _RULE.match(line) or _ITEM.match(line) or _is_row(line)
    )


def _fence_end(lines: Sequence[str], at: int) -> int:
    opening = FENCE.match(lines[at])
    assert opening
    for end in range(at + 1, len(lines)):
        mark = FENCE.match(lines[end])
        if mark and mark.group(1).startswith(opening.group(1)) and lines[end].strip() == mark.group(1):
            return end + 1
    return len(lines)


def _list_end(lines: Sequence[str], at: int, breaks: Collection[int]) -> int:
    """Where a list ends: its items, what is indented below them, and lines that go on without being indented."""
    end = at + 1
    while end < len(lines) and end not in breaks:
        line = lines[end]
        if FENCE.match(line) and _indent(line):
            end = _fence_end(lines, end)
        elif not line.strip():
            following = next((below for below in lines[end:] if below.strip()), "")
            if not (_ITEM.match(following) or _indent(following) >= 2):
                return end
            end += 1
        elif _ITEM.match(line) or _indent(line) >= 2 or (lines[end - 1].strip() and not _interrupts(lines, end)):
            end += 1
        else:
            return end
    return end


def _run_end(lines: Sequence[str], at: int, belongs: Callable[[str], bool]) -> int:
    end = at + 1
    while end < len(lines) and belongs(lines[end]):
        end += 1
    return end


def _is_row(line: str) -> bool:
    return line.lstrip().startswith("|")


def _is_indented(line: str) -> bool:
    return _indent(line) >= 4


def _indent(line: str) -> int:
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip())
