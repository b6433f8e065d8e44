"""The readable text of an HTML page, in Markdown's form, with the line numbers of the file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString, PageElement, PreformattedString

from activities.errors import DocumentUnreadable

_NOT_TEXT = ["script", "style", "noscript", "template", "svg"]
_FRAME = ["nav", "header", "footer", "aside", "form"]
"""What stands around the text of an article. In an invoice it is where vendor, customer and total are."""

_BLOCKS = ["h1", "h2", "h3", "h4", "h5", "h6", "p", "li", "pre", "tr", "dt", "dd", "blockquote", "figcaption"]
_BEYOND_ROWS = [name for name in _BLOCKS if name != "p"]
_MOST_COLUMNS = 100
# fmt: off
_INLINE = frozenset({
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i", "img", "ins",
    "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr",
})
# fmt: on

_START_TAG = re.compile(r"<(?:[^<>\"']|\"[^\"]*\"|'[^']*')*+>")

Lines = list[tuple[int, str]]


def html_lines(path: Path, content: bytes, *, whole: bool = False) -> Lines:
    """Numbered lines of the page's text; menus, headers, footers and forms are left out unless the `whole` is wanted.

    Raises:
        DocumentUnreadable: the bytes fit neither the encoding the page declares nor UTF-8.
    """
    soup = BeautifulSoup(content, "html.parser")
    if soup.contains_replacement_characters:
        raise DocumentUnreadable(path, f"it is not {soup.original_encoding} text; save it as UTF-8.")
    numbers = _numbers(soup, content.decode(soup.original_encoding or "utf-8", errors="replace").lstrip("\ufeff"))
    for tag in soup.find_all(_NOT_TEXT if whole else _NOT_TEXT + _FRAME):
        tag.decompose()
    article = None if whole else soup.find("main") or soup.find("article")
    root = article or soup.body or soup
    lines: Lines = []
    group: int | None = None
    for piece in _Reader(root, numbers).pieces():
        if lines and (piece.group is None or piece.group != group):
            lines.append((lines[-1][0], ""))
        lines += piece.lines
        group = piece.group
    if soup.title and soup.title.string and not any(text.startswith("# ") for _, text in lines):
        lines.insert(0, (soup.title.sourceline or 1, f"# {soup.title.string.strip()}"))
    return lines


def _numbers(soup: BeautifulSoup, page: str) -> dict[int, int]:
    """The line at which each text of the page begins, by its identity; the parser tells where tags begin only."""
    starts = [0, *(match.end() for match in re.finditer("\n", page))]
    numbers: dict[int, int] = {}
    line = 1
    for node in soup.descendants:
        if isinstance(node, Tag):
            if node.sourceline is not None and node.sourceline <= len(starts):
                tag = _START_TAG.match(page, starts[node.sourceline - 1] + (node.sourcepos or 0))
                # Formatters write attributes below each other; the text stands behind the last one.
                line = max(line, node.sourceline + (tag.group().count("\n") if tag else 0))
        else:
            numbers[id(node)] = line
            line += str(node).count("\n")
    return numbers


class _Piece(NamedTuple):
    """Lines that belong together; those of one `group`, a list or a table, have no blank line between them."""

    lines: Lines
    group: int | None = None


class _Reader:
    """Reads a page's blocks in order, and loose text between them."""

    def __init__(self, root: Tag, numbers: dict[int, int]) -> None:
        self._root = root
        self._numbers = numbers
        # By table and column: in how many of the next rows a cell from above stands.
        self._covered: defaultdict[int, dict[int, int]] = defaultdict(dict)

    def pieces(self) -> Iterator[_Piece]:
        loose: list[NavigableString] = []
        for node in self._root.descendants:
            if isinstance(node, NavigableString):
                if self._is_loose(node):
                    if loose and _container(loose[-1]) is not _container(node):
                        yield from self._paragraph(loose)
                        loose = []
                    loose.append(node)
            elif isinstance(node, Tag) and node.name not in _INLINE:
                yield from self._paragraph(loose)
                loose = []
                if node.name in _BLOCKS and _is_innermost(node) and not _in_pre(node):
                    lines = self._rendered(node)
                    if lines:
                        yield _Piece(lines, _group_of(node))
        yield from self._paragraph(loose)

    def _is_loose(self, text: NavigableString) -> bool:
        """True for text that no innermost block holds: directly in a div, or beside a nested list."""
        if isinstance(text, PreformattedString):  # a comment, a declaration
            return False
        for parent in text.parents:
            if parent is self._root:
                return True
            if parent.name in _BLOCKS:
                return not (_is_innermost(parent) or _in_row(parent) or _in_pre(parent))
        return True

    def _paragraph(self, loose: list[NavigableString]) -> Iterator[_Piece]:
        """Loose text as a paragraph; in an item of a list, beside a nested one, it is the item's."""
        lines = self._lines(loose)
        if not lines:
            return
        item = loose[0].find_parent("li")
        if item is None:
            yield _Piece(lines)
            return
        opens = next(node for node in item.descendants if isinstance(node, NavigableString) and node.strip())
        yield _Piece(_indented(item, lines, opens=any(node is opens for node in loose)), _group_of(item))

    def _rendered(self, tag: Tag) -> Lines:
        """A block's lines, in Markdown's form."""
        if tag.name == "pre":
            return self._code(tag)
        if tag.name == "tr":
            return self._row(tag)
        lines = self._lines(_texts(tag))
        if tag.name[0] == "h" and lines:
            return [(lines[0][0], "#" * int(tag.name[1]) + " " + " ".join(text for _, text in lines))]
        return _indented(tag, lines, opens=True) if tag.name == "li" and lines else lines

    def _code(self, tag: Tag) -> Lines:
        raw = self._raw(_texts(tag))
        numbered = [(number, text.rstrip()) for number, text in raw]
        while numbered and not numbered[0][1]:
            numbered.pop(0)
        while numbered and not numbered[-1][1]:
            numbered.pop()
        # The fences are ours: they have no line in the file.
        return [(numbered[0][0], "```"), *numbered, (numbered[-1][0], "```")] if numbered else []

    def _row(self, tag: Tag) -> Lines:
        cells = tag.find_all(["td", "th"])
        table = tag.find_parent("table")
        covered = self._covered[id(table)]
        columns: list[str] = []
        number: int | None = None
        for cell in cells:
            _pass_covered(columns, covered)
            lines = self._lines(_texts(cell))
            number = number or (lines[0][0] if lines else None)
            wide = _span(cell, "colspan")
            covered.update(dict.fromkeys(range(len(columns), len(columns) + wide), _span(cell, "rowspan") - 1))
            columns += [" ".join(text for _, text in lines), *[""] * (wide - 1)]
        _pass_covered(columns, covered)
        number = number or tag.sourceline or 1
        row = (number, "| " + " | ".join(columns) + " |")
        if cells and all(cell.name == "th" for cell in cells) and table is not None and table.find("tr") is tag:
            return [row, (number, "|" + " --- |" * len(columns))]
        return [row]

    def _lines(self, texts: Iterable[NavigableString]) -> Lines:
        """Running text by the lines of the file, without white space that means nothing."""
        return [(number, " ".join(text.split())) for number, text in self._raw(texts, apart=True) if text.strip()]

    def _raw(self, texts: Iterable[NavigableString], *, apart: bool = False) -> Lines:
        """The texts by their lines; `apart`: with a space between those that a browser shows on lines of their own."""
        lines: dict[int, str] = {}
        last: NavigableString | None = None
        for node in texts:
            if apart and last is not None and _are_apart(last, node):
                lines[self._numbers[id(node)]] = lines.get(self._numbers[id(node)], "") + " "
            last = node
            for number, text in enumerate(str(node).split("\n"), self._numbers[id(node)]):
                lines[number] = lines.get(number, "") + text
        return sorted(lines.items())


def _texts(tag: Tag) -> list[NavigableString]:
    return [
        node
        for node in tag.descendants
        if isinstance(node, NavigableString) and not isinstance(node, PreformattedString)
    ]


def _is_innermost(block: Tag) -> bool:
    """Whether a block is shown as one; a row is, whose cells hold only paragraphs, and they are not."""
    if block.name == "tr":
        return block.find(_BEYOND_ROWS) is None
    return block.find(_BLOCKS) is None and not _in_row(block)


def _in_row(block: Tag) -> bool:
    row = block.find_parent("tr") if block.name == "p" else None
    return row is not None and _is_innermost(row)


def _pass_covered(columns: list[str], covered: dict[int, int]) -> None:
    """Leaves empty the next columns of a row that cells from above reach down into."""
    while covered.get(len(columns), 0) > 0:
        covered[len(columns)] -= 1
        columns.append("")


def _span(cell: Tag, name: str) -> int:
    told = str(cell.get(name, ""))
    return max(1, min(int(told), _MOST_COLUMNS)) if told.isdecimal() else 1


def _are_apart(one: NavigableString, other: NavigableString) -> bool:
    if _container(one) is not _container(other):
        return True
    between = takewhile(lambda node: node is not one, other.previous_elements)
    return any(isinstance(node, Tag) and node.name == "br" for node in between)


def _container(text: NavigableString) -> PageElement | None:
    """The element whose text it is part of."""
    return next((parent for parent in text.parents if parent.name not in _INLINE), None)


def _group_of(tag: Tag) -> int | None:
    """Which list or table an item or a row is of."""
    parents = tag.find_parents(["ul", "ol", "dl", "table"])
    return id(parents[-1]) if parents and tag.name in ("li", "tr", "dt", "dd") else None


def _indented(item: Tag, lines: Lines, *, opens: bool) -> Lines:
    """The lines of an item of a list, as deep as it is nested."""
    indent = "  " * (len(item.find_parents(["ul", "ol"])) - 1)
    return [(number, f"{indent}{'- ' if opens and at == 0 else '  '}{text}") for at, (number, text) in enumerate(lines)]


def _in_pre(tag: Tag) -> bool:
    return tag.find_parent("pre") is not None
