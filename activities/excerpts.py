"""A text that evidence is looked for in: its sentences with their lines, and whether it says a thing word by word."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from activities.facts import stems
from activities.places import place_of
from activities.text import FENCE, FOOTNOTE, sentences
from activities.vectors import Passage

_WORD = re.compile(r"\w+(?:[.\-/:'_]\w+)*")
_SHORT_WORDS = 12


class Unit(NamedTuple):
    """A sentence, or two in a row."""

    text: str
    excerpt: Excerpt


class Excerpt:
    """A passage, or any other text, as evidence.

    Args:
        text: What it says.
        source: The file that it is from; empty for a text that has none.
        heading: The headings that it stands under.
        start_line: The line in the file that it begins with.
        lines: How many lines of the file it is; by default as many as it has.
        page: The page, of files that have pages.
    """

    def __init__(
        self,
        text: str,
        *,
        source: str = "",
        heading: Sequence[str] = (),
        start_line: int = 1,
        lines: int | None = None,
        page: int | None = None,
    ) -> None:
        self.text = FOOTNOTE.sub("", text)
        self.source = source
        self.heading = " › ".join(heading)
        self._start = start_line
        # A piece of a table or of code begins with lines that stand further above: its header, its fence.
        count = self.text.count("\n") + 1
        self._added = max(count - (lines or count), 0)
        self._page = page

    @classmethod
    def of(cls, passage: Passage) -> Excerpt:
        """A passage that was found."""
        return cls(
            passage.text,
            source=passage.source,
            heading=passage.heading,
            start_line=passage.start_line,
            lines=passage.end_line - passage.start_line + 1,
            page=passage.page,
        )

    def says(self, text: str) -> bool:
        """Whether it says this, word by word; marks and capital letters apart."""
        wanted = words_of(text)
        return bool(wanted) and f" {wanted} " in f" {self._words} "

    def place(self, text: str) -> str:
        """Where it says this, as `file:line`, or by its page; where the text begins if it does not say it."""
        if not self.source:
            return ""
        beginning = " ".join(words_of(text).split()[:_SHORT_WORDS])
        at = f" {self._words} ".find(f" {beginning} ") if beginning else -1
        line = bisect_right(self._line_starts, at) - 1 if at >= 0 else 0
        number = self._start + max(line - self._added, 0)
        return place_of(self.source, number, number, self._page)

    @cached_property
    def units(self) -> list[Unit]:
        """Its sentences, and each two that follow each other."""
        each = [text.rstrip(" ;") for text in sentences(self.text)]
        return [Unit(text, self) for text in (*each, *(" ".join(pair) for pair in pairwise(each)))]

    @cached_property
    def everything(self) -> str:
        """All of it in lower case, with its headings and the name of its file."""
        return f"{self.source} {self.heading} {self.text}".lower()

    @cached_property
    def stems(self) -> frozenset[str]:
        """The stems of all its words, headings too."""
        return stems(f"{self.heading} {self.text}")

    @cached_property
    def _lines(self) -> list[str]:
        return ["" if FENCE.match(line) else words_of(line) for line in self.text.split("\n")]

    @cached_property
    def _words(self) -> str:
        return " ".join(filter(None, self._lines))

    @cached_property
    def _line_starts(self) -> list[int]:
        """Where each line begins in `_words`; an empty one where the next one does."""
        starts: list[int] = []
        at = 0
        for line in self._lines:
            starts.append(at)
            at += len(line) + 1 if line else 0
        return starts


def words_of(text: str) -> str:
    """The words of a text in lower case, one space between them, without any marks."""
    return " ".join(_WORD.findall(text.lower()))
