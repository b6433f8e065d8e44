"""Documents of a folder: found, read to text with line numbers, and cut into chunks by their structure.

Rule: every chunk can be traced to its file and lines. What cannot be read raises DocumentUnreadable;
half a document is never returned.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from activities.errors import DocumentUnreadable

SUFFIXES = frozenset({".md", ".markdown", ".txt", ".html", ".htm", ".pdf"})
DEFAULT_CHUNK_WORDS = 160
"""Fits the 256 tokens that the packaged embedding model reads."""

_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "site-packages", "venv"})
_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*$")
_FENCE = re.compile(r"\s*(```|~~~)")
_LIST_ITEM = re.compile(r"(?:[-*+]|\d+[.)])\s")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class Line(NamedTuple):
    """A line of a document's text. `number` counts from 1, in the file on disk where that has lines."""

    number: int
    text: str


class Document(BaseModel):
    """A document as text.

    `source` is its path below the folder it was found in, with forward slashes; `content_hash` the SHA-256
    of the file's bytes; `lines` its text, with headings in Markdown's form whatever the file's type.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    content_hash: str
    lines: list[Line]

    @property
    def text(self) -> str:
        """The whole text."""
        return "\n".join(line.text for line in self.lines)


class Chunk(BaseModel):
    """A piece of a document that is indexed and cited on its own.

    `position` counts the document's chunks from 0, `heading` is the path of headings above it, outermost
    first, and `start_line` to `end_line` are where it stands in the document.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    content_hash: str
    position: int
    text: str
    heading: list[str] = []
    start_line: int
    end_line: int

    @property
    def indexed_text(self) -> str:
        """What to embed and index: the headings, often the words asked for, and the text."""
        return " > ".join(self.heading) + "\n" + self.text if self.heading else self.text


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


def read_document(path: Path | str, folder: Path | str | None = None) -> Document:
    """Reads a Markdown, text, HTML or PDF file to text.

    Args:
        path: The file.
        folder: Where it was found; the document's `source` is relative to it. Default: the file's own folder.

    Raises:
        DocumentUnreadable: missing, not allowed, of another type, encrypted, broken, not text, or empty.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise DocumentUnreadable(file, f"its type is none of {', '.join(sorted(SUFFIXES))}.")
    content = _bytes_of(file)
    if suffix == ".pdf":
        lines = _pdf_lines(file, content)
    elif suffix in (".html", ".htm"):
        lines = _html_lines(file, content)
    else:
        lines = list(enumerate(_decoded(file, content).splitlines(), 1))
    if not any(text.strip() for _, text in lines):
        raise DocumentUnreadable(file, "it holds no text. A scanned document needs text recognition first.")
    return Document(
        source=source_name(file, folder if folder is not None else file.parent),
        content_hash=hashlib.sha256(content).hexdigest(),
        lines=[Line(number, text.rstrip()) for number, text in lines],
    )


def chunk_document(document: Document, *, max_words: int = DEFAULT_CHUNK_WORDS) -> list[Chunk]:
    """Cuts a document at its headings, then at paragraphs, into chunks of at most `max_words` words.

    A paragraph or code block that is longer by itself is cut at lines, and a longer line at sentences
    and words.
    """
    chunks: list[Chunk] = []
    for heading, blocks in _sections(document.lines):
        for lines in _packed(blocks, max_words):
            chunks.append(
                Chunk(
                    source=document.source,
                    content_hash=document.content_hash,
                    position=len(chunks),
                    text="\n".join(line.text for line in lines).strip("\n"),
                    heading=heading,
                    start_line=lines[0].number,
                    end_line=lines[-1].number,
                )
            )
    return chunks


def _pdf_lines(file: Path, content: bytes) -> list[tuple[int, str]]:
    try:
        from activities.pdf_text import pdf_lines
    except ImportError as error:
        raise DocumentUnreadable(file, f"PDF needs a package ({error}); install everstep[documents].") from error
    return pdf_lines(file, content)


def _html_lines(file: Path, content: bytes) -> list[tuple[int, str]]:
    try:
        from activities.html_text import html_lines
    except ImportError as error:
        raise DocumentUnreadable(file, f"HTML needs a package ({error}); install everstep[documents].") from error
    return html_lines(file, content)


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


def _sections(lines: list[Line]) -> Iterator[tuple[list[str], list[list[Line]]]]:
    """The document's sections: their heading path, and their blocks (paragraphs, code)."""
    path: list[tuple[int, str]] = []
    blocks: list[list[Line]] = [[]]
    fence = ""
    for line in lines:
        mark = _FENCE.match(line.text)
        heading = None if fence else _HEADING.match(line.text)
        if heading:
            if any(blocks):
                yield [title for _, title in path], [block for block in blocks if block]
            level = len(heading.group(1))
            path = [*(entry for entry in path if entry[0] < level), (level, heading.group(2))]
            blocks = [[]]
        elif not line.text.strip() and not fence:
            blocks.append([])
        else:
            if _LIST_ITEM.match(line.text) and not fence:
                blocks.append([])
            blocks[-1].append(line)
            if mark and fence in ("", mark.group(1)):
                fence = "" if fence else mark.group(1)
    if any(blocks):
        yield [title for _, title in path], [block for block in blocks if block]


def _packed(blocks: list[list[Line]], max_words: int) -> Iterator[list[Line]]:
    """Blocks put together up to the size, with a blank line where the document has some."""
    current: list[Line] = []
    size = 0
    for block in blocks:
        for piece in _split(block, max_words):
            words = _words(piece)
            if current and size + words > max_words:
                yield current
                current, size = [], 0
            if current and piece[0].number > current[-1].number + 1:
                current.append(Line(piece[0].number - 1, ""))
            current += piece
            size += words
    if current:
        yield current


def _split(block: list[Line], max_words: int) -> Iterator[list[Line]]:
    """A block in pieces that fit, cut between lines, and within a line only where that is too long."""
    if _words(block) <= max_words:
        yield block
        return
    piece: list[Line] = []
    size = 0
    for line in [short for long in block for short in _split_line(long, max_words)]:
        words = len(line.text.split())
        if piece and size + words > max_words:
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += words
    if piece:
        yield piece


def _split_line(line: Line, max_words: int) -> Iterator[Line]:
    if len(line.text.split()) <= max_words:
        yield line
        return
    for sentence in _SENTENCE_END.split(line.text):
        words = sentence.split()
        for start in range(0, len(words), max_words):
            yield Line(line.number, " ".join(words[start : start + max_words]))


def _words(lines: list[Line]) -> int:
    return sum(len(line.text.split()) for line in lines)
