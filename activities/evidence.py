"""Whether sources bear out a statement: nearness in meaning, shared words, and facts that must not differ.

Rule: it is evidence, not understanding. A statement that says the source's own words is borne out; another one must be
near to a sentence, share its words, and have no number, name or denial that this one lacks. A paraphrase in all other
words is not recognised, and neither is a false conclusion from true words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from activities.embeddings import Embedder
from activities.excerpts import Excerpt, Unit
from activities.facts import denied_otherwise, listed, names, numbers, opposite_words, shared_words, stems

SUPPORT = 0.6
"""The score from which a statement counts as borne out."""

_NEAR = 0.85
"""A cosine that counts as the same: paraphrases are seldom nearer."""
_CANDIDATES = 8
"""How many sentences, by shared words, are held against a statement; embedding more would cost more than it finds."""
_FALSE = 0.2
"""What is left of a score where a fact differs."""
_UNKNOWN_NAME = 0.5
_STRANGE = 0.7
"""How much of its score a statement loses if no word of it is in the passage: it says something else then."""


class Finding(NamedTuple):
    """What the sources say to a statement: a score from 0 to 1, the sentence that comes nearest, and what is wrong."""

    score: float
    unit: Unit | None
    why: str = ""

    @property
    def supported(self) -> bool:
        """Whether the statement counts as borne out."""
        return self.score >= SUPPORT


async def find_evidence(
    embedder: Embedder, statements: Sequence[str], sources: Sequence[Sequence[Excerpt]], *, whole: bool = True
) -> list[Finding]:
    """What the sources say to each statement.

    Args:
        embedder: Measures nearness in meaning.
        statements: One sentence each, without citations.
        sources: For each statement, where to look.
        whole: They are all that is known, so that words which they do not have count against a statement.

    Raises:
        ModelError: the embedder failed.
    """
    candidates = [_candidates(text, where) for text, where in zip(statements, sources, strict=True)]
    open_ones = [at for at, units in enumerate(candidates) if units]
    texts = list(dict.fromkeys(t for at in open_ones for t in (statements[at], *(u.text for u in candidates[at]))))
    vectors = dict(zip(texts, await embedder.embed(texts), strict=True)) if texts else {}
    found: list[Finding] = []
    for text, where, units in zip(statements, sources, candidates, strict=True):
        said = next((excerpt for excerpt in where if excerpt.says(text)), None)
        if said is not None:
            found.append(Finding(1.0, Unit(text, said)))
        elif not where:
            found.append(Finding(0.0, None, "it cites no source"))
        elif not units:
            found.append(Finding(0.0, None, "the sources say nothing of it"))
        else:
            found.append(_best(text, units, vectors, whole=whole))
    return found


def _candidates(statement: str, where: Sequence[Excerpt]) -> list[Unit]:
    """The sentences to hold a statement against; none where the sources say it word by word."""
    if any(excerpt.says(statement) for excerpt in where):
        return []
    said = stems(statement)
    units = [unit for excerpt in where for unit in excerpt.units]
    shared = [(len(said & stems(f"{unit.excerpt.heading} {unit.text}")), unit) for unit in units]
    shared.sort(key=lambda pair: -pair[0])
    return [unit for count, unit in shared[:_CANDIDATES] if count]


def _best(statement: str, units: Sequence[Unit], vectors: dict[str, list[float]], *, whole: bool) -> Finding:
    weighed = [_weighed(statement, unit, cosine(vectors[statement], vectors[unit.text]), whole=whole) for unit in units]
    best = max(weighed, key=lambda one: one.finding.score)
    # What is wrong is told of the sentence that is nearest, not of the one that happens to lack it.
    nearest = max(weighed, key=lambda one: one.likeness)
    return nearest.finding if nearest.reversed or not best.finding.supported else best.finding


class _Weighed(NamedTuple):
    """What one sentence says to a statement; how near they are, whatever is wrong; whether it says the opposite."""

    finding: Finding
    likeness: float
    reversed: bool = False


def _weighed(statement: str, unit: Unit, near: float, *, whole: bool) -> _Weighed:
    held = stems(f"{unit.excerpt.heading} {unit.text}")
    likeness = 0.55 * shared_words(statement, held) + 0.45 * min(max(near, 0.0) / _NEAR, 1.0)
    invented = numbers(statement) - numbers(f"{unit.excerpt.heading} {unit.text}")
    unknown = {name for name in names(statement) if name not in unit.excerpt.everything}
    opposite = reversal(statement, unit.text, "the source")
    if invented:
        why, factor = f"the source does not say {listed(invented)}", _FALSE
    elif opposite:
        why, factor = opposite, _FALSE
    elif unknown:
        why, factor = f"the source does not name {listed(unknown)}", _UNKNOWN_NAME
    else:
        why, factor = "", 1.0
    if whole:
        factor *= 1 - _STRANGE * (1 - shared_words(statement, unit.excerpt.stems))
    score = likeness * factor
    if not why and score < SUPPORT:
        why = "the source does not say this"
    return _Weighed(Finding(round(score, 3), unit, why), likeness, bool(opposite))


def reversal(statement: str, sentence: str, speaker: str) -> str:
    """How a sentence denies a statement, or says its opposite; nothing where it does neither. `speaker` says it."""
    if denied_otherwise(statement, sentence):
        return f"{speaker} says the opposite"
    opposite = opposite_words(statement, sentence)
    return f"{speaker} says {opposite[1]!r}, not {opposite[0]!r}" if opposite else ""


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """The nearness of two vectors of length 1."""
    return sum(x * y for x, y in zip(a, b, strict=True))
