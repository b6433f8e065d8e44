"""The readable text of an HTML page, in Markdown's form, with the line numbers of the file."""

from __future__ import annotations

from pathlib import Path

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
    for number, text in _pieces(root):
        fence = 1 if text.startswith("```") else 0  # ours, so it has no line in the file
        lines += [(number + max(0, at - fence), line) for at, line in enumerate(text.split("\n"))]
        lines.append((lines[-1][0], ""))
    if soup.title and soup.title.string and not any(text.startswith("# ") for _, text in lines):
        lines.insert(0, (_line_of(soup.title), f"# {soup.title.string.strip()}"))
    return lines


def _pieces(root: Tag) -> list[tuple[int, str]]:
    """The page's blocks in order, and loose text between them, each with its first line's number."""
    pieces: list[tuple[int, str]] = []
    for node in root.descendants:
        if isinstance(node, Tag):
            if node.name in _BLOCKS and not node.find(_BLOCKS) and not _in_pre(node):
                pieces.append((_line_of(node), _rendered(node)))
        elif _is_words(node) and _is_loose(node, root):
            pieces.append((_line_of(node.parent), " ".join(str(node).split())))
    return [(number, text) for number, text in pieces if text.strip()]


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


def _rendered(tag: Tag) -> str:
    if tag.name == "pre":
        return "```\n" + tag.get_text().strip("\n") + "\n```"
    if tag.name == "tr":
        return "| " + " | ".join(_words(cell) for cell in tag.find_all(["td", "th"])) + " |"
    prefix = "#" * int(tag.name[1]) + " " if tag.name[0] == "h" else "- " if tag.name == "li" else ""
    return prefix + _words(tag)


def _words(tag: Tag) -> str:
    return " ".join(tag.get_text().split())
