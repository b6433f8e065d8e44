"""Documents of a folder: found, and read to text with line numbers. activities.chunking cuts them.

Rule: every line can be traced to its file. What cannot be read raises DocumentUnreadable; half a document is never
returned.
"""

from __future__ import annotations

import hashlib
import os
import re
from bisect import bisect_right
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from activities.errors import DocumentUnreadable

DocumentType = Literal["markdown", "text", "html", "pdf"]

TYPES: dict[str, DocumentType] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
}
SUFFIXES = frozenset(TYPES)

_LINE_END = re.compile(r"\r\n|\r|\n")
"""What editors count as one: form feeds, as in RFCs, and the like are not among them, but are for `splitlines`."""

_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "site-packages", "venv"})


class Line(NamedTuple):
    """A line of a document's text. `number` counts from 1, in the file on disk where that has lines."""

    number: int
    text: str


class Page(NamedTuple):
    """A page of a document, counted from 1. Its first line is a heading that only names the page."""

    number: int
    first_line: int


class Document(BaseModel):
    """A document as text.

    `source` is its path below the folder it was found in, with forward slashes; `content_hash` the SHA-256
    of the file's bytes; `lines` its text, with headings in Markdown's form whatever the file's type; `pages` where its
    pages begin, if it has any.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    content_hash: str
    lines: list[Line]
    pages: list[Page] = []

    @property
    def type(self) -> DocumentType:
        """What kind of file it is."""
        return TYPES.get(PurePosixPath(self.source).suffix.lower(), "text")

    def page_of(self, line: int) -> int | None:
        """The page that a line is on; None where there are no pages."""
        at = bisect_right(self.pages, line, key=lambda page: page.first_line)
        return self.pages[at - 1].number if at else None

    @property
    def text(self) -> str:
        """The whole text."""
        return "\n".join(line.text for line in self.lines)


def find_documents(folder: Path | str) -> list[Path]:
    """The readable documents below a folder, sorted; hidden folders and installed packages are passed over.

    Raises:
        DocumentUnreadable: the folder does not exist or is no folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DocumentUnreadable(root, "it is not a folder; give the folder that holds the documents.")
    found: list[Path] = []
    for place, folders, files in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in _SKIPPED_FOLDERS]
        found += [Path(place, f) for f in files if Path(f).suffix.lower() in SUFFIXES and not f.startswith(".")]
    return sorted(found)


def source_name(path: Path | str, folder: Path | str) -> str:
    """How a document is called in the index: its path below the folder, with forward slashes."""
    return Path(path).relative_to(folder).as_posix()


def content_hash(path: Path | str) -> str:
    """SHA-256 of the file's bytes, in hex. Raises DocumentUnreadable."""
    return hashlib.sha256(_bytes_of(Path(path))).hexdigest()


def read_document(path: Path | str, folder: Path | str | None = None, *, whole: bool = False) -> Document:
    """Reads a Markdown, text, HTML or PDF file to text.

    Args:
        path: The file.
        folder: Where it was found; the document's `source` is relative to it. Default: the file's own folder.
        whole: As it is wanted to read values from, not to search in: all that an HTML page shows, not only its
            article, and the text of a PDF where it stands on the page, so that columns are columns.

    Raises:
        DocumentUnreadable: missing, not allowed, of another type, encrypted, broken, not text, or empty.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise DocumentUnreadable(file, f"its type is none of {', '.join(sorted(SUFFIXES))}.")
    content = _bytes_of(file)
    pages: list[Page] = []
    if suffix == ".pdf":
        lines, pages = _pdf_lines(file, content, whole)
    elif suffix in (".html", ".htm"):
        lines = _html_lines(file, content, whole)
    else:
        lines = list(enumerate(_LINE_END.split(_decoded(file, content).rstrip()), 1))
    if not any(text.strip() for _, text in lines):
        raise DocumentUnreadable(file, "it holds no text. A scanned document needs text recognition first.")
    return Document(
        source=source_name(file, folder if folder is not None else file.parent),
        content_hash=hashlib.sha256(content).hexdigest(),
        lines=[Line(number, text.rstrip()) for number, text in lines],
        pages=pages,
    )


def _pdf_lines(file: Path, content: bytes, whole: bool) -> tuple[list[tuple[int, str]], list[Page]]:
    try:
        from activities.pdf_text import pdf_lines
    except ImportError as error:
        raise DocumentUnreadable(file, f"PDF needs a package ({error}); install everstep[documents].") from error
    lines, pages = pdf_lines(file, content, placed=whole)
    return lines, [Page(number, first) for number, first in pages]


def _html_lines(file: Path, content: bytes, whole: bool) -> list[tuple[int, str]]:
    try:
        from activities.html_text import html_lines
    except ImportError as error:
        raise DocumentUnreadable(file, f"HTML needs a package ({error}); install everstep[documents].") from error
    return html_lines(file, content, whole=whole)


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DocumentUnreadable(file, f"{error.strerror or error}.") from error


def _decoded(file: Path, content: bytes) -> str:
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DocumentUnreadable(
            file,
            f"it is not {encoding.removesuffix('-sig').upper()} text (byte {error.start}); save it as UTF-8.",
        ) from error
    if "\0" in text:
        raise DocumentUnreadable(file, "it holds NUL bytes, so it is not a text file.")
    return text
