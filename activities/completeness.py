"""What a question asks, part by part, and how far an answer covers each: by words, meaning, and the kind of answer."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from typing import NamedTuple

from activities.embeddings import Embedder
from activities.evaluations import QuestionPart
from activities.evidence import cosine
from activities.facts import numbers, stem, stems
from activities.text import terms

COVERED = 0.55
"""The score from which a part counts as covered."""

_NEAR = 0.8
"""A sentence that answers is seldom nearer to its question, as it says more than the question does."""

_BETWEEN = re.compile(
    r"\?\s+|;\s+|,?\s+and (?=how|what|why|where|when|which|who|does|do|is|are|can)"
    r"|,\s+(?=how|what|why|where|when|which|who)",
    re.IGNORECASE,
)
_ASKS_FOR_A_NUMBER = re.compile(
    r"\b(?:how (?:long|many|much|often|large|big|wide|far|soon|old|high)|(?:which|what) (?:port|percentage|number))\b",
    re.IGNORECASE,
)


def question_parts(question: str) -> list[str]:
    """The questions that a question is made of; itself, where it is one.

    Example:
        question_parts("How is it kept, and how long?") == ["How is it kept", "how long"]
    """
    whole = " ".join(question.split())
    parts = [part.strip(" ?,") for part in _BETWEEN.split(whole)]
    parts = [part for part in parts if terms(part) or _ASKS_FOR_A_NUMBER.search(part)]
    return parts if len(parts) > 1 else [whole]


class Said(NamedTuple):
    """A statement of an answer, and the headings that its sources stand under: what they name is said too."""

    text: str
    headings: str = ""


async def covered_parts(
    embedder: Embedder, parts: Sequence[str], statements: Sequence[Said], *, known: Set[str] = frozenset()
) -> list[QuestionPart]:
    """How far an answer covers each part of a question: as far as the statement that covers it best.

    Args:
        embedder: Measures nearness in meaning.
        parts: What is asked.
        statements: What the answer says.
        known: The stems of all that the sources say. What is asked in other words is hardly answered by them.

    Raises:
        ModelError: the embedder failed.
    """
    texts = list(dict.fromkeys((*parts, *(one.text for one in statements))))
    vectors = dict(zip(texts, await embedder.embed(texts), strict=True))
    unknown = stems(" ".join(parts)) - known if known else frozenset[str]()
    found = [
        max((_covered(part, one, cosine(vectors[part], vectors[one.text]), unknown) for one in statements), default=0.0)
        for part in parts
    ]
    lacking = _numbers_lacking(parts, statements, found)
    scores = [round(score / 2 if at in lacking else score, 3) for at, score in enumerate(found)]
    return [
        QuestionPart(question=part, covered=score >= COVERED, score=score)
        for part, score in zip(parts, scores, strict=True)
    ]


def _covered(part: str, said: Said, near: float, unknown: Set[str]) -> float:
    asked = stems(part)
    held = len(asked & stems(f"{said.headings} {said.text}"))
    share = held / (len(asked) + len(asked & unknown)) if asked else 1.0
    return 0.5 * share + 0.5 * min(max(near, 0.0) / _NEAR, 1.0)


def _numbers_lacking(parts: Sequence[str], statements: Sequence[Said], scores: Sequence[float]) -> set[int]:
    """Which parts ask for a number that the answer does not have: it may be on the matter, and not say how many."""
    asking = sorted(
        (at for at, part in enumerate(parts) if _ASKS_FOR_A_NUMBER.search(part)), key=lambda at: -scores[at]
    )
    told = {number for one in statements for number in numbers(one.text)}
    return set(asking[len(told) :])


def missing_terms(question: str, statements: Sequence[Said]) -> list[str]:
    """The question's terms that an answer does not mention."""
    said = stems(" ".join(f"{one.headings} {one.text}" for one in statements))
    return [term for term in dict.fromkeys(terms(question)) if stem(term) not in said]
