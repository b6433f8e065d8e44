"""What becomes of documents whose records are extracted: one result for each, and the totals of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from everstep.agent import Usage

Outcome = Literal["extracted", "empty", "incomplete", "failed", "skipped"]

DONE: tuple[Outcome, ...] = ("extracted", "empty")
"""What a later run need not do again."""


class WrongRecord(BaseModel):
    """A record that nobody has mended: as it is, and what is wrong with it."""

    record: dict[str, Any]
    faults: dict[str, str]


class Facts(BaseModel):
    """What is known of a document on its way.

    Attributes:
        source: its path below the folder.
        content_hash: SHA-256 of the file; empty where it could not be read.
        corrections: how often the chat model was told what is wrong.
        usage: the tokens of all its calls.
    """

    source: str
    content_hash: str = ""
    corrections: int = 0
    usage: Usage = Usage()


class DocumentOutcome(Facts):
    """What became of a document, without its records.

    Attributes:
        outcome: extracted; empty: it holds no record; incomplete: some of its records are wrong, and nobody mended
            them; failed: `reason` says why; skipped: the run stopped before it.
        mended, dropped: how many records a person has mended, or said to be none.
    """

    outcome: Outcome
    reason: str = ""
    mended: int = 0
    dropped: int = 0


class DocumentResult(DocumentOutcome):
    """What became of a document.

    Attributes:
        records: the sound ones, in their order.
        wrong: the others.
        fingerprint: of what was wanted of it.
        model: what extracted them.
    """

    records: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    wrong: list[WrongRecord] = Field(default_factory=list[WrongRecord])
    fingerprint: str = ""
    model: str = ""

    @classmethod
    def of(cls, facts: Facts, records: Sequence[dict[str, Any]], wrong: Sequence[WrongRecord] = ()) -> Self:
        """The result of a document whose records are settled: extracted, empty or incomplete."""
        outcome: Outcome = "incomplete" if wrong else "extracted" if records else "empty"
        fields = ", ".join(dict.fromkeys(name for each in wrong for name in each.faults))
        reason = f"{len(wrong)} wrong, in {fields}" if wrong else ""
        known = facts.model_dump(include=set(Facts.model_fields))
        return cls(**known, outcome=outcome, reason=reason, records=list(records), wrong=list(wrong))

    @classmethod
    def without(cls, facts: Facts, outcome: Outcome, reason: str) -> Self:
        """The result of a document that has no records, and why."""
        return cls(**facts.model_dump(include=set(Facts.model_fields)), outcome=outcome, reason=reason)


def counted(number: int, noun: str) -> str:
    """A number of things, for people. Example: `counted(2, "record") == "2 records"`"""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class DocumentProblem(BaseModel):
    """A document that has no result, or no whole one, and why."""

    source: str
    outcome: Outcome
    reason: str


class Totals(BaseModel):
    """What an extraction came to.

    Attributes:
        extracted, empty, incomplete, failed, skipped: documents by their outcome.
        unchanged, removed: documents that were done before, and those that are gone since.
        records: how many sound ones there are in all, also of documents done before.
        corrections, mended, dropped: what it took: model calls to correct, records that people mended or dropped.
        problems: the first 50.
        usage: the tokens.
    """

    extracted: int = 0
    empty: int = 0
    incomplete: int = 0
    failed: int = 0
    skipped: int = 0
    unchanged: int = 0
    removed: int = 0
    records: int = 0
    corrections: int = 0
    mended: int = 0
    dropped: int = 0
    problems: list[DocumentProblem] = Field(default_factory=list[DocumentProblem])
    usage: Usage = Usage()

    def add(self, outcomes: Iterable[DocumentOutcome]) -> None:
        """Count documents."""
        for each in outcomes:
            setattr(self, each.outcome, getattr(self, each.outcome) + 1)
            for name in ("corrections", "mended", "dropped"):
                setattr(self, name, getattr(self, name) + getattr(each, name))
            self.usage += each.usage
            if each.reason:
                problem = DocumentProblem(source=each.source, outcome=each.outcome, reason=each.reason)
                self.problems.append(problem)
        self.problems = sorted(self.problems, key=lambda problem: problem.source)[:50]
