"""The pieces that chunks are made of: sentences, items, rows, lines of code, each a span of the document's text.

Rule: a piece fits into a chunk. Only where a sentence, an item, a row or a line is too long alone is it cut within.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from activities.blocks import FENCE, Block, items

TokenCounter = Callable[[str], int]

_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]])|(?<=[.!?]\*\*))\s+(?=[\"'(\[`*_]*[A-Z0-9])|(?<=[。！？])")
_TABLE_LINE = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")


@dataclass(frozen=True)
class Unit:
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


class Pieces:
    """Cuts blocks of a text into pieces.

    Args:
        lines: the text.
        count: how many tokens a text has.
    """

    def __init__(self, lines: Sequence[str], count: TokenCounter) -> None:
        self._lines = lines
        self._count = count
        self.text = "\n".join(lines)
        self.offsets = [0]
        for line in lines:
            self.offsets.append(self.offsets[-1] + len(line) + 1)

    def of_block(self, block: Block, budget: int) -> list[Unit]:
        if block.kind == "code":
            return self._code(block, budget)
        if block.kind == "table":
            return self._table(block, budget)
        if block.kind == "list":
            return [
                unit
                for start, end in items(self._lines, block)
                for unit in self._whole_or_sentences(*self.span(start, end), budget)
            ]
        return list(self._sentences(*self.span(block.start, block.end), budget))

    def _whole_or_sentences(self, start: int, end: int, budget: int) -> Iterator[Unit]:
        unit = self.unit(start, end, prose=True)
        if unit.tokens <= budget:
            yield unit
        else:
            yield from self._sentences(start, end, budget)

    def _sentences(self, start: int, end: int, budget: int) -> Iterator[Unit]:
        ends = [match.end() for match in _SENTENCE_END.finditer(self.text, start, end)]
        for first, last in pairwise([start, *ends, end]):
            if self.text[first:last].strip():
                yield from self._fitting(self.unit(first, last, prose=True), budget)

    def _code(self, block: Block, budget: int) -> list[Unit]:
        """Code by its own paragraphs, or by lines where one is too long; each piece fenced."""
        first, last = self._lines[block.start], self._lines[block.end - 1]
        fence = FENCE.match(first)
        closed = bool(fence) and block.end - block.start > 1 and bool(FENCE.match(last))
        mark = fence.group(1) if fence else ""
        around = (first, last if closed else mark) if fence else ("", "")
        inner = range(block.start + bool(fence), block.end - closed)
        groups = _runs(inner, [not self._lines[at].strip() for at in inner])
        spans: list[tuple[int, int]] = []
        for start, end in groups:
            whole = self.unit(*self.span(start, end))
            spans += [(start, end)] if whole.tokens <= budget else [(at, at + 1) for at in range(start, end)]
        return self._framed(block, spans, around, budget)

    def _table(self, block: Block, budget: int) -> list[Unit]:
        """A table by its rows, each piece under the table's header."""
        headed = block.end - block.start > 1 and bool(_TABLE_LINE.match(self._lines[block.start + 1]))
        head = "\n".join(self._lines[block.start : block.start + 2]) if headed else ""
        spans = [(at, at + 1) for at in range(block.start + (2 if headed else 0), block.end)]
        return self._framed(block, spans, (head, ""), budget)

    def _framed(
        self, block: Block, spans: Sequence[tuple[int, int]], around: tuple[str, str], budget: int
    ) -> list[Unit]:
        """Units of a block whose first and last lines are needed around each piece of it."""
        cost = sum(self._count(text) for text in around)
        if cost > budget // 2:
            around, cost = ("", ""), 0
        if not spans:
            return [self.unit(*self.span(block.start, block.end))]
        units: list[Unit] = []
        for start, end in spans:
            unit = replace(self.unit(*self.span(start, end)), head=around[0], tail=around[1], around=cost)
            units += self._fitting(unit, budget - cost)
        # The first piece begins with the block's own beginning, and the last one ends with its own end.
        opening = replace(self.unit(self.offsets[block.start], units[0].end), tail=units[0].tail)
        units[0] = opening if opening.tokens <= budget else units[0]
        ending = self.unit(units[-1].start, self.offsets[block.end] - 1)
        units[-1] = replace(ending, head=units[-1].head, around=units[-1].around)
        return units

    def _fitting(self, unit: Unit, budget: int) -> Iterator[Unit]:
        """A unit, cut between words where it is too long, and anywhere where there are no spaces."""
        if unit.tokens <= budget:
            yield unit
            return
        middle = (unit.start + unit.end) // 2
        cut = self.text.rfind(" ", unit.start + 1, middle)
        cut = middle if cut < 0 or cut - unit.start < (unit.end - unit.start) // 4 else cut + 1
        for start, end in ((unit.start, cut), (cut, unit.end)):
            piece = replace(unit, start=start, end=end, tokens=self._count(self.text[start:end]))
            yield from self._fitting(piece, budget) if end - start > 1 else [piece]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Offsets of lines, without the last one's line break."""
        return self.offsets[start], self.offsets[end] - 1

    def unit(self, start: int, end: int, *, prose: bool = False) -> Unit:
        return Unit(start, end, self._count(self.text[start:end]), prose)


def size_of(units: Sequence[Unit]) -> int:
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
