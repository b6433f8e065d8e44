"""What is said of answers: statement by statement, part by part of the question, and of several answers together.

Rule: data only, apart from those who judge, so that flows can name these types at no cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from activities.answers import Answer
from activities.vectors import Passage


class Statement(BaseModel):
    """One sentence of an answer, held against the passages that it cites.

    `score` is how well they bear it out, 0 to 1. `place` is the `file:line` of `evidence`, the source's sentence that
    bears it out, or that comes nearest to it; `why` says what is wrong with a statement that is not supported.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    supported: bool
    score: float = Field(ge=0, le=1)
    place: str = ""
    evidence: str = ""
    why: str = ""


class QuestionPart(BaseModel):
    """One of the things that a question asks, and how far an answer covers it, 0 to 1."""

    model_config = ConfigDict(frozen=True)

    question: str
    covered: bool
    score: float = Field(ge=0, le=1)


class Evaluation(BaseModel):
    """How good an answer is, each from 0 to 1: the share of its statements that its sources bear out, and of the
    question that it covers. `judge` says what judged, in one line."""

    model_config = ConfigDict(frozen=True)

    grounded: float = Field(ge=0, le=1)
    complete: float = Field(ge=0, le=1)
    remarks: str = ""
    statements: list[Statement] = []
    parts: list[QuestionPart] = []
    judge: str = ""

    @property
    def score(self) -> float:
        """One number to compare answers by; an answer without ground is worth nothing, however complete."""
        return self.grounded * (0.4 + 0.6 * self.complete)


class Disagreement(BaseModel):
    """A statement of one answer that another contradicts, or that none of the others makes (`alone`).

    `by` and `other` name the answers; `other` and `other_statement` are empty for one that stands alone.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["contradicts", "alone"]
    by: str
    statement: str
    other: str = ""
    other_statement: str = ""
    why: str = ""


class Judge(Protocol):
    """Judges answers. All methods raise ModelError."""

    def describe(self) -> str:
        """One line for people: what judges, and by what means."""
        ...

    async def evaluate(
        self, question: str, answer: Answer, passages: Sequence[Passage], *, parts: Sequence[str] = ()
    ) -> Evaluation:
        """How far the answer is borne out by the passages that it cites, and covers what was asked.

        Args:
            question: As it was asked.
            answer: With citations that count `passages` from 1.
            passages: What the answer was made from.
            parts: What the question asks, one by one; by default as `activities.completeness.question_parts` says.
        """
        ...

    async def compare(self, question: str, answers: Mapping[str, Sequence[str]]) -> list[Disagreement]:
        """Where answers to one question differ.

        Args:
            question: As it was asked.
            answers: The statements of each answer, by the answer's name.
        """
        ...


NOTHING_FOUND = Evaluation(grounded=0, complete=0, remarks="No answer was found.")
