"""Documents cut into chunks that are indexed and cited on their own: by structure, with sizes in tokens.

Rule: a chunk is a run of the document's own text within one section, so that its lines can be cited; only what a
reader of the piece needs is added, the header of a table or the fence of code. Paragraphs, lists, tables and code that
fit stay whole; what is too long is cut between items, rows, lines and sentences, and only a longer one of those within.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from activities.blocks import Block, Section, items, sections
from activities.documents import Document

TokenCounter = Callable[[str], int]

CUTTING = 1
"""Counts changes of this module that cut documents otherwise: what is indexed is then indexed again."""

_SPECIAL_TOKENS = 2
"""Tokens that embedding models put around a text."""

_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]])|(?<=[.!?]\*\*))\s+(?=[\"'(\[`*_]*[A-Z0-9])|(?<=[。！？])")
_TABLE_LINE = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")


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
        return " > ".join(self.heading) + "\n" + self.text if self.heading else self.text


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


@dataclass(frozen=True)
class _Unit:
    """The smallest piece that is moved as a whole; `start` and `end` are offsets into the text.

    `head` is what a chunk needs before it that begins with this unit, `tail` what one needs after it that ends with it.
    """

    start: int
    end: int
    tokens: int
    prose: bool = False
    head: str = ""
    tail: str = ""
    around: int = 0  # tokens of head and tail


class _Cutter:
    def __init__(self, document: Document, count: TokenCounter, chunking: Chunking) -> None:
        self._document = document
        self._count = count
        self._sizes = chunking
        self._lines = [line.text for line in document.lines]
        self._text = "\n".join(self._lines)
        self._offsets = [0]
        for line in self._lines:
            self._offsets.append(self._offsets[-1] + len(line) + 1)

    def chunks(self) -> Iterator[Chunk]:
        position = 0
        for path, units_of in self._sections():
            for units in units_of:
                yield self._chunk(path, units, position)
                position += 1

    def _chunk(self, path: list[str], units: Sequence[_Unit], position: int) -> Chunk:
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

    def _sections(self) -> Iterator[tuple[list[str], list[list[_Unit]]]]:
        """Heading paths, each with the chunks below it."""
        starts = {page.first_line for page in self._document.pages}
        breaks = {at for at, line in enumerate(self._document.lines) if line.number in starts}
        found = sections(self._lines, breaks)
        at = 0
        while at < len(found):
            taken, path, whole = self._together(found, at)
            budget = self._budget(path)
            yield path, [[whole]] if whole else self._packed(self._parts(found[at], budget), budget)
            at += taken

    def _budget(self, path: Sequence[str]) -> int:
        """How many tokens are left for the text under these headings."""
        headings = self._count(" > ".join(path)) if path else 0
        return max(self._sizes.max_tokens - headings - _SPECIAL_TOKENS, self._sizes.max_tokens // 2)

    def _together(self, found: Sequence[Section], at: int) -> tuple[int, list[str], _Unit | None]:
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
            unit = self._unit(self._offsets[start], self._offsets[following.blocks[-1].end] - 1)
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

    def _packed(self, parts: Sequence[list[_Unit]], budget: int) -> list[list[_Unit]]:
        """The blocks of a section, put together up to the size."""
        chunks: list[list[_Unit]] = []
        current: list[_Unit] = []
        before: list[_Unit] = []
        for part in parts:
            if _size([*current, *part]) <= budget:
                current = [*current, *part]
            elif _size(part) <= budget and _size(current) >= self._sizes.min_tokens:
                kept = self._announcing(before, current, part, budget)
                chunks.append(current[: len(current) - len(kept)])
                current = [*(kept or self._repeated(current, part, budget)), *part]
            else:
                current = self._filled(chunks, current, part, budget)
            before = part
        if current:
            chunks.append(current)
        return self._evened(chunks, budget)

    def _filled(
        self, chunks: list[list[_Unit]], current: list[_Unit], part: Sequence[_Unit], budget: int
    ) -> list[_Unit]:
        """Adds a block that does not fit piece by piece; gives the chunk that is not full yet."""
        for unit in part:
            if current and _size([*current, unit]) > budget:
                chunks.append(current)
                current = self._repeated(current, [unit], budget)
            current = [*current, unit]
        return current

    def _announcing(self, before: list[_Unit], current: list[_Unit], part: list[_Unit], budget: int) -> list[_Unit]:
        """What belongs to the block that follows, as in "These are the steps:": all of the paragraph, or its end."""
        if not before or not self._text[before[-1].start : before[-1].end].rstrip().endswith(":"):
            return []
        for kept in (before, before[-1:]):
            if len(kept) < len(current) and current[-len(kept) :] == kept and _size([*kept, *part]) <= budget:
                return kept
        return []

    def _repeated(self, current: Sequence[_Unit], following: Sequence[_Unit], budget: int) -> list[_Unit]:
        """The last sentences of a chunk, which the next one begins with."""
        kept: list[_Unit] = []
        for unit in reversed(current[1:]):
            wider = [unit, *kept]
            if not unit.prose or _size(wider) > self._sizes.overlap_tokens or _size([*wider, *following]) > budget:
                break
            kept = wider
        return kept

    def _evened(self, chunks: list[list[_Unit]], budget: int) -> list[list[_Unit]]:
        """A last chunk that is too small gets something of the one before it."""
        if len(chunks) < 2 or _size(chunks[-1]) >= self._sizes.min_tokens:
            return chunks
        *rest, longer, short = chunks
        while len(longer) > 1 and _size(short) < self._sizes.min_tokens:
            unit = longer[-1]
            wider = short if unit in short else [unit, *short]
            if _size(wider) > budget or _size(longer[:-1]) < self._sizes.min_tokens:
                break
            longer, short = longer[:-1], wider
        return [*rest, longer, short]

    # --- Units --------------------------------------------------------------------------------------------------------

    def _parts(self, section: Section, budget: int) -> list[list[_Unit]]:
        return [self._units(block, budget) for block in section.blocks]

    def _units(self, block: Block, budget: int) -> list[_Unit]:
        if block.kind == "code":
            return self._code(block, budget)
        if block.kind == "table":
            return self._table(block, budget)
        if block.kind == "list":
            return [
                unit
                for start, end in items(self._lines, block)
                for unit in self._whole_or_sentences(*self._span(start, end), budget)
            ]
        return list(self._sentences(*self._span(block.start, block.end), budget))

    def _whole_or_sentences(self, start: int, end: int, budget: int) -> Iterator[_Unit]:
        unit = self._unit(start, end, prose=True)
        if unit.tokens <= budget:
            yield unit
        else:
            yield from self._sentences(start, end, budget)

    def _sentences(self, start: int, end: int, budget: int) -> Iterator[_Unit]:
        ends = [match.end() for match in _SENTENCE_END.finditer(self._text, start, end)]
        for first, last in pairwise([start, *ends, end]):
            if self._text[first:last].strip():
                yield from self._fitting(self._unit(first, last, prose=True), budget)

    def _code(self, block: Block, budget: int) -> list[_Unit]:
        """Code by its own paragraphs, or by lines where one is too long; each piece fenced."""
        first, last = self._lines[block.start], self._lines[block.end - 1]
        fence = _FENCE.match(first)
        closed = bool(fence) and block.end - block.start > 1 and bool(_FENCE.match(last))
        mark = fence.group(1) if fence else ""
        around = (first, last if closed else mark) if fence else ("", "")
        inner = range(block.start + bool(fence), block.end - closed)
        groups = _runs(inner, [not self._lines[at].strip() for at in inner])
        spans: list[tuple[int, int]] = []
        for start, end in groups:
            whole = self._unit(*self._span(start, end))
            spans += [(start, end)] if whole.tokens <= budget else [(at, at + 1) for at in range(start, end)]
        return self._framed(block, spans, around, budget)

    def _table(self, block: Block, budget: int) -> list[_Unit]:
        """A table by its rows, each piece under the table's header."""
        headed = block.end - block.start > 1 and bool(_TABLE_LINE.match(self._lines[block.start + 1]))
        head = "\n".join(self._lines[block.start : block.start + 2]) if headed else ""
        spans = [(at, at + 1) for at in range(block.start + (2 if headed else 0), block.end)]
        return self._framed(block, spans, (head, ""), budget)

    def _framed(
        self, block: Block, spans: Sequence[tuple[int, int]], around: tuple[str, str], budget: int
    ) -> list[_Unit]:
        """Units of a block whose first and last lines are needed around each piece of it."""
        cost = sum(self._count(text) for text in around)
        if cost > budget // 2:
            around, cost = ("", ""), 0
        if not spans:
            return [self._unit(*self._span(block.start, block.end))]
        units: list[_Unit] = []
        for start, end in spans:
            unit = replace(self._unit(*self._span(start, end)), head=around[0], tail=around[1], around=cost)
            units += self._fitting(unit, budget - cost)
        # The first piece begins with the block's own beginning, and the last one ends with its own end.
        opening = replace(self._unit(self._offsets[block.start], units[0].end), tail=units[0].tail)
        units[0] = opening if opening.tokens <= budget else units[0]
        ending = self._unit(units[-1].start, self._offsets[block.end] - 1)
        units[-1] = replace(ending, head=units[-1].head, around=units[-1].around)
        return units

    def _fitting(self, unit: _Unit, budget: int) -> Iterator[_Unit]:
        """A unit, cut between words where it is too long, and anywhere where there are no spaces."""
        if unit.tokens <= budget:
            yield unit
            return
        middle = (unit.start + unit.end) // 2
        cut = self._text.rfind(" ", unit.start + 1, middle)
        cut = middle if cut < 0 or cut - unit.start < (unit.end - unit.start) // 4 else cut + 1
        for start, end in ((unit.start, cut), (cut, unit.end)):
            piece = replace(unit, start=start, end=end, tokens=self._count(self._text[start:end]))
            yield from self._fitting(piece, budget) if end - start > 1 else [piece]

    def _span(self, start: int, end: int) -> tuple[int, int]:
        """Offsets of lines, without the last one's line break."""
        return self._offsets[start], self._offsets[end] - 1

    def _unit(self, start: int, end: int, *, prose: bool = False) -> _Unit:
        return _Unit(start, end, self._count(self._text[start:end]), prose)


def _size(units: Sequence[_Unit]) -> int:
    """Tokens of a chunk of these units."""
    if not units:
        return 0
    around = max(units[0].around if units[0].head else 0, units[-1].around if units[-1].tail else 0)
    return sum(unit.tokens for unit in units) + around


def _runs(numbers: range, ends: Sequence[bool]) -> list[tuple[int, int]]:
    """Runs of numbers, cut behind those that end one."""
    found: list[tuple[int, int]] = []
    start = numbers.start
    for number, last in zip(numbers, ends, strict=True):
        if last or number == numbers.stop - 1:
            found.append((start, number + 1))
            start = number + 1
    return found
