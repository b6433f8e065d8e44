"""The readable text of an HTML page, in Markdown's form, with the line numbers of the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString, PageElement, PreformattedString

from activities.errors import DocumentUnreadable

_LEFT_OUT = ["script", "style", "noscript", "template", "svg", "nav", "header", "footer", "aside", "form"]
_BLOCKS = ["h1", "h2", "h3", "h4", "h5", "h6", "p", "li", "pre", "tr", "dt", "dd", "blockquote", "figcaption"]


def html_lines(path: Path, content: bytes) -> list[tuple[int, str]]:
    """Numbered lines of the page's text; menus, scripts and footers are left out.

    Raises:
        DocumentUnreadable: the bytes fit neither the encoding the page declares nor UTF-8.
    """
    soup = BeautifulSoup(content, "html.parser")
    if soup.contains_replacement_characters:
        raise DocumentUnreadable(path, f"it is not {soup.original_encoding} text; save it as UTF-8.")
    for tag in soup.find_all(_LEFT_OUT):
        tag.decompose()
    root = soup.find("main") or soup.find("article") or soup.body or soup
    lines: list[tuple[int, str]] = []
    group: int | None = None
    for piece in _pieces(root):
        if lines and (piece.group is None or piece.group != group):
            lines.append((lines[-1][0], ""))
        lines += piece.lines
        group = piece.group
    if soup.title and soup.title.string and not any(text.startswith("# ") for _, text in lines):
        lines.insert(0, (_line_of(soup.title), f"# {soup.title.string.strip()}"))
    return lines


class _Piece(NamedTuple):
    """Lines that belong together; those of one `group`, a list or a table, have no blank line between them."""

    lines: list[tuple[int, str]]
    group: int | None = None


def _pieces(root: Tag) -> Iterator[_Piece]:
    """The page's blocks in order, and loose text between them."""
    for node in root.descendants:
        if isinstance(node, Tag):
            if node.name in _BLOCKS and not node.find(_BLOCKS) and not _in_pre(node):
                lines = _rendered(node)
                if lines:
                    yield _Piece(lines, _group_of(node))
        elif _is_words(node) and _is_loose(node, root):
            yield _loose(node)


def _loose(text: PageElement) -> _Piece:
    """Text that no innermost block holds; in an item of a list, beside a nested one, it is the item's."""
    line, words = _line_of(text.parent), " ".join(text.get_text().split())
    item = text.find_parent("li")
    if item is None:
        return _Piece([(line, words)])
    first = next(node for node in item.descendants if _is_words(node))
    return _Piece([(line, f"{_indent(item)}{'- ' if first is text else '  '}{words}")], _group_of(item))


def _indent(item: Tag) -> str:
    return "  " * (len(item.find_parents(["ul", "ol"])) - 1)


def _group_of(tag: Tag) -> int | None:
    """Which list or table an item or a row is of."""
    parents = tag.find_parents(["ul", "ol", "dl", "table"])
    return id(parents[-1]) if parents and tag.name in ("li", "tr", "dt", "dd") else None


def _line_of(tag: Tag | None) -> int:
    line = tag.sourceline if tag else None
    return line if isinstance(line, int) else 1


def _is_words(node: PageElement) -> bool:
    """True for text, and not for comments, declarations and white space."""
    return isinstance(node, NavigableString) and not isinstance(node, PreformattedString) and bool(node.strip())


def _is_loose(text: PageElement, root: Tag) -> bool:
    """True for text that no innermost block holds: directly in a div, or beside a nested list."""
    for parent in text.parents:
        if parent is root:
            return True
        if parent.name in _BLOCKS:
            return parent.find(_BLOCKS) is not None and not _in_pre(parent)
    return True


def _in_pre(tag: Tag) -> bool:
    return tag.find_parent("pre") is not None


def _rendered(tag: Tag) -> list[tuple[int, str]]:
    """A block's lines, in Markdown's form."""
    line = _line_of(tag)
    if tag.name == "pre":
        code = tag.get_text().split("\n")
        # A line break right behind the tag is not shown. The fences are ours: they have no line in the file.
        skipped = 1 if not code[0].strip() else 0
        code = [text.rstrip() for text in code[skipped:]]
        while code and not code[-1]:
            code.pop()
        numbered = list(enumerate(code, line + skipped))
        return [(numbered[0][0], "```"), *numbered, (numbered[-1][0], "```")] if numbered else []
    if tag.name == "tr":
        return _row(tag, line)
    if tag.name[0] == "h":
        words = _words(tag)
        return [(line, "#" * int(tag.name[1]) + " " + words)] if words else []
    texts = enumerate(tag.get_text().split("\n"), line)
    numbered = [(number, " ".join(text.split())) for number, text in texts if text.strip()]
    if tag.name != "li" or not numbered:
        return numbered
    indent = _indent(tag)
    (first, words), *rest = numbered
    return [(first, f"{indent}- {words}"), *((number, f"{indent}  {words}") for number, words in rest)]


def _row(tag: Tag, line: int) -> list[tuple[int, str]]:
    cells = tag.find_all(["td", "th"])
    row = (line, "| " + " | ".join(_words(cell) for cell in cells) + " |")
    table = tag.find_parent("table")
    if all(cell.name == "th" for cell in cells) and table is not None and table.find("tr") is tag:
        return [row, (line, "|" + " --- |" * len(cells))]
    return [row]


def _words(tag: Tag) -> str:
    return " ".join(tag.get_text().split())
