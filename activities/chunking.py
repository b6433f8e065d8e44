"""Documents cut into chunks that are indexed and cited on their own: by structure, with sizes in tokens.

Rule: a chunk is a run of the document's own text within one section, so that its lines can be cited; only what a
reader of the piece needs is added, the header of a table or the fence of code. Paragraphs, lists, tables and code that
fit stay whole; what is too long is cut between items, rows, lines and sentences, and only a longer one of those within.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from activities.blocks import Section, sections
from activities.documents import Document
from activities.pieces import Pieces, TokenCounter, Unit, size_of

CUTTING = 1
"""Counts changes of this module that cut documents otherwise: what is indexed is then indexed again."""

_SPECIAL_TOKENS = 2
"""Tokens that embedding models put around a text."""


class Chunking(BaseModel):
    """How documents are cut. All sizes are tokens, as the embedding model counts them.

    Attributes:
        max_tokens: the most that a chunk holds, with the headings above it; never more than the embedding model reads.
        min_tokens: a section that is smaller is put together with small sections beside or below it, and a rest that is
            smaller with a part of the chunk before it.
        overlap_tokens: how much of the end of a chunk, in whole sentences, is said again at the beginning of the next
            one of the same section.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int = Field(default=192, ge=32)
    min_tokens: int = Field(default=16, ge=0)
    overlap_tokens: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("min_tokens", "overlap_tokens"):
            if getattr(self, name) > self.max_tokens // 2:
                raise ValueError(f"{name} may be at most half of max_tokens, which is {self.max_tokens}.")
        return self

    @property
    def recipe(self) -> str:
        """These sizes as text that is stored with each chunk; it changes when the way of cutting does."""
        return f"{CUTTING}:{self.max_tokens}/{self.min_tokens}/{self.overlap_tokens}"

    def within(self, most: int) -> Chunking:
        """These sizes for an embedding model that reads so many tokens."""
        if self.max_tokens <= most:
            return self
        half = most // 2
        return Chunking(
            max_tokens=most,
            min_tokens=min(self.min_tokens, half),
            overlap_tokens=min(self.overlap_tokens, half),
        )


class Chunk(BaseModel):
    """A piece of a document that is indexed and cited on its own.

    `position` counts the document's chunks from 0, `heading` is the path of headings above it, outermost first, and
    `start_line` to `end_line` are where it stands in the document, `page` on which page, where there are pages. `type`
    is the document's, `recipe` how it was cut.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    content_hash: str
    position: int
    text: str
    heading: list[str] = []
    start_line: int
    end_line: int
    page: int | None = None
    type: str = "text"
    recipe: str = ""

    @property
    def indexed_text(self) -> str:
        """What to embed and index: the headings, often the words asked for, and the text."""
        return under_headings(self.heading, self.text)


def under_headings(heading: Sequence[str], text: str) -> str:
    """A text with the headings above it, outermost first, as it is embedded and indexed."""
    return " > ".join(heading) + "\n" + text if heading else text


def chunk_document(document: Document, count: TokenCounter, chunking: Chunking | None = None) -> list[Chunk]:
    """Cuts a document into chunks.

    Args:
        document: see `read_document`.
        count: how many tokens a text has, without special ones: `embedder.count_tokens`.
        chunking: the sizes. Default: those of `Chunking`.

    Example:
        chunk_document(read_document("guide.md"), embedder.count_tokens, Chunking(max_tokens=200))
    """
    return list(_Cutter(document, count, chunking or Chunking()).chunks())


class _Cutter:
    def __init__(self, document: Document, count: TokenCounter, chunking: Chunking) -> None:
        self._document = document
        self._count = count
        self._sizes = chunking
        self._lines = [line.text for line in document.lines]
        self._pieces = Pieces(self._lines, count)
        self._text, self._offsets = self._pieces.text, self._pieces.offsets

    def chunks(self) -> Iterator[Chunk]:
        position = 0
        for path, units_of in self._sections():
            for units in units_of:
                yield self._chunk(path, units, position)
                position += 1

    def _chunk(self, path: list[str], units: Sequence[Unit], position: int) -> Chunk:
        first, last = units[0], units[-1]
        text = self._text[first.start : last.end].strip("\n")
        if first.head:
            text = f"{first.head}\n{text}"
        if last.tail:
            text = f"{text}\n{last.tail}"
        lines = self._document.lines
        start = lines[bisect_right(self._offsets, first.start) - 1].number
        end = lines[bisect_right(self._offsets, max(first.start, last.end - 1)) - 1].number
        return Chunk(
            source=self._document.source,
            content_hash=self._document.content_hash,
            position=position,
            text=text,
            heading=path,
            start_line=start,
            end_line=max(start, end),
            page=self._document.page_of(start),
            type=self._document.type,
            recipe=self._sizes.recipe,
        )

    # --- Sections -----------------------------------------------------------------------------------------------------

    def _sections(self) -> Iterator[tuple[list[str], list[list[Unit]]]]:
        """Heading paths, each with the chunks below it."""
        starts = {page.first_line for page in self._document.pages}
        breaks = {at for at, line in enumerate(self._document.lines) if line.number in starts}
        found = sections(self._lines, breaks)
        at = 0
        while at < len(found):
            taken, path, whole = self._together(found, at)
            path = self._shortened(path)
            budget = self._budget(path)
            yield (
                path,
                [[whole]]
                if whole
                else self._packed([self._pieces.of_block(block, budget) for block in found[at].blocks], budget),
            )
            at += taken

    def _shortened(self, path: list[str]) -> list[str]:
        """Headings that leave half of the size to the text: without the outermost, and at last without an end."""
        most = self._sizes.max_tokens // 2 - _SPECIAL_TOKENS
        while len(path) > 1 and self._count(" > ".join(path)) > most:
            path = path[1:]
        words = path[0].split() if path else []
        while len(words) > 1 and self._count(" ".join(words)) > most:
            words = words[: len(words) * 3 // 4]
        return path if not path or words == path[0].split() else [f"{' '.join(words)} …"]

    def _budget(self, path: Sequence[str]) -> int:
        """How many tokens are left for the text under these headings."""
        headings = self._count(" > ".join(path)) if path else 0
        return max(self._sizes.max_tokens - headings - _SPECIAL_TOKENS, self._sizes.max_tokens // 2)

    def _together(self, found: Sequence[Section], at: int) -> tuple[int, list[str], Unit | None]:
        """How many sections from here on make one chunk because they are small: their common path, and all of them."""
        first = found[at]
        path, taken, whole = first.path, 1, None
        while at + taken < len(found) and self._is_small(found[at + taken - 1]) and self._is_small(found[at + taken]):
            following = found[at + taken]
            if self._page(following) != self._page(first) or following.path[: len(path) - 1] != path[:-1]:
                break
            common = path if following.path[: len(path)] == path else path[:-1]
            if path and not common:
                break
            start = first.blocks[0].start if common == first.path else first.line
            unit = self._pieces.unit(self._offsets[start], self._offsets[following.blocks[-1].end] - 1)
            if unit.tokens > self._budget(common):
                break
            path, whole, taken = common, unit, taken + 1
        return taken, path, whole

    def _page(self, section: Section) -> int | None:
        return self._document.page_of(self._document.lines[section.blocks[0].start].number)

    def _is_small(self, section: Section) -> bool:
        start, end = self._offsets[section.blocks[0].start], self._offsets[section.blocks[-1].end]
        # A token has a letter at least, and seldom more than eight.
        return end - start < 16 * self._sizes.min_tokens and (
            self._count(self._text[start:end]) < self._sizes.min_tokens
        )

    # --- Packing ------------------------------------------------------------------------------------------------------

    def _packed(self, parts: Sequence[list[Unit]], budget: int) -> list[list[Unit]]:
        """The blocks of a section, put together up to the size."""
        chunks: list[list[Unit]] = []
        current: list[Unit] = []
        before: list[Unit] = []
        for part in parts:
            if size_of([*current, *part]) <= budget:
                current = [*current, *part]
            elif size_of(part) <= budget and size_of(current) >= self._sizes.min_tokens:
                kept = self._announcing(before, current, part, budget)
                chunks.append(current[: len(current) - len(kept)])
                current = [*(kept or self._repeated(current, part, budget)), *part]
            else:
                current = self._filled(chunks, current, part, budget)
            before = part
        if current:
            chunks.append(current)
        return self._evened(chunks, budget)

    def _filled(self, chunks: list[list[Unit]], current: list[Unit], part: Sequence[Unit], budget: int) -> list[Unit]:
        """Adds a block that does not fit piece by piece; gives the chunk that is not full yet."""
        for unit in part:
            if current and size_of([*current, unit]) > budget:
                chunks.append(current)
                current = self._repeated(current, [unit], budget)
            current = [*current, unit]
        return current

    def _announcing(self, before: list[Unit], current: list[Unit], part: list[Unit], budget: int) -> list[Unit]:
        """What belongs to the block that follows, as in "These are the steps:": all of the paragraph, or its end."""
        if not before or not self._text[before[-1].start : before[-1].end].rstrip().endswith(":"):
            return []
        for kept in (before, before[-1:]):
            if len(kept) < len(current) and current[-len(kept) :] == kept and size_of([*kept, *part]) <= budget:
                return kept
        return []

    def _repeated(self, current: Sequence[Unit], following: Sequence[Unit], budget: int) -> list[Unit]:
        """The last sentences of a chunk, which the next one begins with."""
        kept: list[Unit] = []
        for unit in reversed(current[1:]):
            wider = [unit, *kept]
            if not unit.prose or size_of(wider) > self._sizes.overlap_tokens or size_of([*wider, *following]) > budget:
                break
            kept = wider
        return kept

    def _evened(self, chunks: list[list[Unit]], budget: int) -> list[list[Unit]]:
        """A last chunk that is too small gets something of the one before it."""
        if len(chunks) < 2 or size_of(chunks[-1]) >= self._sizes.min_tokens:
            return chunks
        *rest, longer, short = chunks
        while len(longer) > 1 and size_of(short) < self._sizes.min_tokens:
            unit = longer[-1]
            wider = short if unit in short else [unit, *short]
            if size_of(wider) > budget or size_of(longer[:-1]) < self._sizes.min_tokens:
                break
            longer, short = longer[:-1], wider
        return [*rest, longer, short]
