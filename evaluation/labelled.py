"""The labelled set: questions, where the documents answer them, and what a right and a wrong answer say.

Rule: each label is a quote that stands in the named file, on one line. `stale` finds those that no longer do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, model_validator

ROOT = Path(__file__).parents[1]
QUESTIONS = Path(__file__).with_name("questions.jsonl")
DOCUMENTS = Path(__file__).with_name("documents.txt")

WrongKind = Literal["number", "denial", "swap", "name", "invented"]


class Label(BaseModel):
    """Where a question is answered: a file below the project's folder, and words that stand there on one line."""

    model_config = ConfigDict(frozen=True)

    path: str
    quote: str


class WrongAnswer(BaseModel):
    """A false answer that a hasty reader would believe, and what is false about it."""

    model_config = ConfigDict(frozen=True)

    kind: WrongKind
    text: str


class Question(BaseModel):
    """A labelled question. `answer` has a sentence for each part of it, and none if the documents do not answer it."""

    model_config = ConfigDict(frozen=True)

    id: str
    question: str
    answer: list[str]
    sources: list[Label]
    wrong: WrongAnswer | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if bool(self.answer) != bool(self.sources):
            raise ValueError(f"Question {self.id} needs an answer and the sources that say it, or neither.")
        return self

    @property
    def answerable(self) -> bool:
        """Whether the documents hold the answer."""
        return bool(self.answer)


class Spot(NamedTuple):
    """A label's place: a file and a line of it, counted from 1."""

    path: str
    line: int


def load(file: Path = QUESTIONS) -> list[Question]:
    """The questions, in their order.

    Raises:
        ValueError: a line is no question, or two have one id.
    """
    found = [Question.model_validate_json(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    ids = [one.id for one in found]
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise ValueError(f"{file.name} has these ids twice: {', '.join(twice)}. Give each question one of its own.")
    return found


def documents(file: Path = DOCUMENTS) -> list[str]:
    """The files and folders that the questions are about, below the project's folder."""
    return file.read_text(encoding="utf-8").split()


def spots(question: Question, root: Path = ROOT) -> list[Spot]:
    """Where the labels of a question stand; those that stand nowhere are left out."""
    return [Spot(label.path, line) for label in question.sources if (line := _line_of(label, root))]


def stale(questions: Sequence[Question], root: Path = ROOT) -> list[str]:
    """What is to be mended after a change of the documents: a line for each label that stands nowhere any more."""
    return [
        f"{question.id}: {label.path} no longer says {label.quote!r}{_hint(label, root)}"
        for question in questions
        for label in question.sources
        if not _line_of(label, root)
    ]


def _line_of(label: Label, root: Path) -> int:
    """The first line with the quote, counted from 1; 0 where there is none."""
    return next((number for number, line in enumerate(_lines(root / label.path), 1) if label.quote in line), 0)


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").split("\n") if file.is_file() else []


def _hint(label: Label, root: Path) -> str:
    """Where it stands now, or the line that is most like it."""
    others = [*sorted((root / "docs").rglob("*.md")), root / "README.md"]
    moved = [file.relative_to(root).as_posix() for file in others if any(label.quote in one for one in _lines(file))]
    if moved:
        return f"; {', '.join(moved)} does now"
    words = set(re.findall(r"\w+", label.quote.lower()))
    likely = max(
        _lines(root / label.path), key=lambda line: len(words & set(re.findall(r"\w+", line.lower()))), default=""
    )
    return f"; the line most like it: {likely.strip()!r}" if likely else "; there is no such file"
