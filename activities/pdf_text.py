"""The text of a PDF, with a heading for each page, and for lines in larger type that stand above others."""

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from pypdf import PageObject, PdfReader
from pypdf.errors import PyPdfError

from activities.errors import DocumentUnreadable

# Its notes on slightly broken files are no use to someone who indexes a folder; real failures raise.
logging.getLogger("pypdf").setLevel(logging.ERROR)

_LARGER = 1.15
"""How much larger than most of the text a heading is, at least."""

_HEADING_WORDS = 15
_LEADERS = re.compile(r"\.\s?\.\s?\.|\.$")


class _Line(NamedTuple):
    """A line of a page, and the size of its type in points, to a tenth."""

    text: str
    size: float


def pdf_lines(
    path: Path, content: bytes, *, placed: bool = False
) -> tuple[list[tuple[int, str]], list[tuple[int, int]]]:
    """Numbered lines of the extracted text, and the pages with their first lines; each opens with `# Page N`.

    Args:
        path: for messages.
        content: the file's bytes.
        placed: spaces keep the text where it stands on the page, so that empty cells of tables are seen. Otherwise it
            comes in the order in which it was drawn, with headings.

    Raises:
        DocumentUnreadable: encrypted with a password, or not a sound PDF.
    """
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentUnreadable(path, "it is encrypted; save a copy without a password.")
        pages = [(_placed_lines(page) if placed else None) or _page_lines(page) for page in reader.pages]
    except DocumentUnreadable:
        raise
    except PyPdfError as error:
        raise DocumentUnreadable(path, f"it is not a sound PDF ({error}).") from error
    except Exception as error:  # pypdf meets damaged objects with whatever Python raises there
        raise DocumentUnreadable(path, f"it is a damaged PDF ({type(error).__name__}: {error}).") from error
    sizes = Counter[float]()
    for line in (line for page in pages for line in page):
        sizes[line.size] += len(line.text)
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    lines: list[str] = []
    starts: list[tuple[int, int]] = []
    for number, page in enumerate(pages, 1):
        if any(line.text.strip() for line in page):
            starts.append((number, len(lines) + 1))
            lines += [f"# Page {number}", "", *_with_headings(page, body), ""]
    return list(enumerate(lines, 1)), starts


def _page_lines(page: PageObject) -> list[_Line]:
    """A page's lines, each in the size that most of it is set in."""
    parts: list[tuple[str, float]] = []

    def visit(text: str, user: Sequence[float], place: Sequence[float], font: Any, size: float) -> None:
        # Both matrices may scale: down the page, or across it where the text is turned.
        scale = (abs(place[3]) or abs(place[1])) * (abs(user[3]) or abs(user[1]))
        parts.append((text, round(size * scale, 1)))

    text = page.extract_text(visitor_text=visit)
    if "".join(part for part, _ in parts).strip() != text.strip():
        return [_Line(line, 0.0) for line in text.splitlines()]
    letters = [(letter, size) for part, size in parts for letter in part]
    found: list[_Line] = []
    for ends, line in groupby(letters, lambda one: one[0] == "\n"):
        row = list(line)
        if ends:
            found += [_Line("", 0.0)] * (len(row) - 1)
        else:
            counts = Counter(size for letter, size in row if not letter.isspace())
            found.append(_Line("".join(letter for letter, _ in row), counts.most_common(1)[0][0] if counts else 0.0))
    return found


def _placed_lines(page: PageObject) -> list[_Line] | None:
    """A page's lines, with spaces where it has none; None where pypdf does not bring all letters to their places."""
    try:
        text = page.extract_text(extraction_mode="layout", layout_mode_strip_rotated=False)
    except Exception:  # as above; the other way of reading does without what this one stumbles over
        return None
    if _letters(text) != _letters(page.extract_text()):
        return None
    lines = [line.rstrip() for line in text.splitlines()]
    return [_Line(line, 0.0) for line, above in zip(lines, ["", *lines], strict=False) if line or above]


def _letters(text: str) -> Counter[str]:
    return Counter("".join(text.split()))


def _with_headings(page: Sequence[_Line], body: float) -> list[str]:
    """The page's text; a line or two in larger type that stand above others are a heading."""
    lines: list[str] = []
    runs = [(size, [line.text for line in run]) for size, run in groupby(page, lambda line: line.size)]
    for (size, run), (following, _) in zip(runs, [*runs[1:], (0.0, [])], strict=True):
        title = " ".join(" ".join(run).split())
        is_title = 0 < len(title.split()) <= _HEADING_WORDS and len(run) <= 2 and not _LEADERS.search(title)
        if is_title and size >= _LARGER * body > 0 and 0 < following < size:
            # The larger, the higher: twice the body's size and more is of the first order below the page.
            level = 2 if size >= 1.8 * body else 3 if size >= 1.4 * body else 4
            lines += ["", f"{'#' * level} {title}", ""]
        else:
            lines += run
    return lines
