"""What a question asks, part by part, and how far an answer covers each: by words, meaning, and the kind of answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from activities.embeddings import Embedder
from activities.evaluations import QuestionPart
from activities.evidence import cosine
from activities.facts import numbers, stem
from activities.text import terms

COVERED = 0.5
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


async def covered_parts(
    embedder: Embedder, parts: Sequence[str], statements: Sequence[str], *, headings: str = ""
) -> list[QuestionPart]:
    """How far an answer covers each part of a question.

    Args:
        embedder: Measures nearness in meaning.
        parts: What is asked.
        statements: What the answer says.
        headings: Those that its sources stand under: what they name is said too.

    Raises:
        ModelError: the embedder failed.
    """
    vectors = dict(zip((*parts, *statements), await embedder.embed([*parts, *statements]), strict=True))
    said = {stem(term) for text in (headings, *statements) for term in terms(text)}
    found: list[QuestionPart] = []
    for part in parts:
        near = {text: cosine(vectors[part], vectors[text]) for text in statements}
        score = 0.5 * _share(part, said) + 0.5 * min(max([*near.values(), 0.0]) / _NEAR, 1.0)
        if _ASKS_FOR_A_NUMBER.search(part) and not any(numbers(text) for text in statements if near[text] >= 0.3):
            score /= 2  # it may be on the matter, but the number that was asked for is not there
        found.append(QuestionPart(question=part, covered=score >= COVERED, score=round(score, 3)))
    return found


def _share(part: str, said: set[str]) -> float:
    asked = {stem(term) for term in terms(part)}
    return len(asked & said) / len(asked) if asked else 1.0


def missing_terms(question: str, statements: Sequence[str], headings: str = "") -> list[str]:
    """The question's terms that an answer does not mention."""
    said = {stem(term) for text in (headings, *statements) for term in terms(text)}
    return [term for term in dict.fromkeys(terms(question)) if stem(term) not in said]
