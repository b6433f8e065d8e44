"""Answers and their sources; apart from those who give them, so that flows can name these types at no cost."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from activities.errors import ModelContextOverflow, ModelRefused
from activities.vectors import Passage

OnToken = Callable[[str], None]

NO_ANSWER = "The sources do not answer this question."

_CITATION = re.compile(r"`[^`\n]*`|(\s*)\[(\d+(?:\s*,\s*\d+)*)\]")
"""`[2]`, or `[2, 3]` as chat models like to write; an index in code is none."""


class Answer(BaseModel):
    """An answer with the numbers of the passages it cites, counted from 1. `found` is False when there is none."""

    model_config = ConfigDict(frozen=True)

    text: str
    citations: list[int] = []
    found: bool = True


class Source(BaseModel):
    """A cited passage: `number` is its citation in the answer, `text` what it says.

    `place` is where it stands, for people: `docs/guide.md:120-134`, or `report.pdf#page=3`. The same for programs are
    `path`, below the folder that was indexed, `start_line` to `end_line`, counted from 1, and `page` where there are
    pages. Sources of runs that an older version began have `place` only.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    place: str
    heading: str = ""
    path: str = ""
    start_line: int = 0
    end_line: int = 0
    page: int | None = None
    text: str = ""


class Answerer(Protocol):
    """Rewrites questions, and answers them from passages. All methods raise ModelError."""

    def describe(self) -> str:
        """One line for people: what answers, and where it runs."""
        ...

    async def rewrite(self, question: str, *, limit: int = 3) -> list[str]:
        """The question and other ways to search for its answer, at most `limit`, the question first."""
        ...

    async def answer(self, question: str, passages: Sequence[Passage], *, on_token: OnToken | None = None) -> Answer:
        """An answer from these passages alone, with citations such as `[2]` for the second passage."""
        ...


async def answer_from(
    answerer: Answerer, question: str, passages: Sequence[Passage]
) -> tuple[Answer, Sequence[Passage]]:
    """An answer, and the passages that it was made from: the best half of them, where a model cannot take all.

    A model that declines has found no answer: other passages may find it willing.

    Args:
        answerer: Who answers.
        question: In plain words.
        passages: What to answer from, best first.

    Raises:
        ModelContextOverflow: one passage alone is too long.
        ModelError: the model failed otherwise.
    """
    while True:
        try:
            return await answerer.answer(question, passages), passages
        except ModelContextOverflow:
            if len(passages) <= 1:
                raise
            passages = passages[: len(passages) // 2]
        except ModelRefused as error:
            return Answer(text=str(error), found=False), passages


def with_sources(answer: Answer, passages: Sequence[Passage]) -> tuple[str, list[Source]]:
    """An answer's text with its citations numbered from 1 in order of appearance, and the passages they stand for.

    A citation of a passage that does not exist is left out of the text.

    Example:
        with_sources(Answer(text="Yes [3]. Always [1].", citations=[1, 3]), passages)[0] == "Yes [1]. Always [2]."
    """
    numbers: dict[int, int] = {}

    def renumbered(match: re.Match[str]) -> str:
        if match.group(2) is None:
            return match.group()
        known = [cited for cited in map(int, match.group(2).split(",")) if 1 <= cited <= len(passages)]
        marks = "".join(f"[{numbers.setdefault(cited, len(numbers) + 1)}]" for cited in known)
        return f"{match.group(1)}{marks}" if marks else ""

    text = _CITATION.sub(renumbered, answer.text)
    return text, [source_of(number, passages[cited - 1]) for cited, number in numbers.items()]


def cited_in(text: str) -> list[int]:
    """The numbers that a text cites, in order.

    Example:
        cited_in("It waits [2, 3], as `steps[0]` does [2].") == [2, 3, 2]
    """
    return [int(number) for match in _CITATION.finditer(text) for number in (match.group(2) or "").split(",") if number]


def uncited(text: str) -> str:
    """The text without its citations."""
    return _CITATION.sub(lambda match: match.group() if match.group(2) is None else "", text)


def source_of(number: int, passage: Passage) -> Source:
    """A passage as the source that a citation of this number stands for."""
    return Source(
        number=number,
        place=passage.place,
        heading=" › ".join(passage.heading),
        path=passage.source,
        start_line=passage.start_line,
        end_line=passage.end_line,
        page=passage.page,
        text=passage.text,
    )
