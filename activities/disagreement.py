"""Where several answers to one question differ: statements that contradict each other, and those that stand alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from activities.embeddings import Embedder
from activities.evaluations import Disagreement
from activities.evidence import cosine, reversal
from activities.excerpts import words_of
from activities.facts import listed, names, numbers, shared_words, stems

_SAME = 0.8
"""Cosine from which two statements say the same."""
_SAME_MATTER = 0.5
"""Cosine from which two statements are on the same matter, if they share most of their words too."""

_FEW = 4
"""More names or numbers than that are a list, and lists may differ."""

_SAME_WORDS = 0.5
"""The share of either's words that the other has."""


async def disagreements(embedder: Embedder, answers: Mapping[str, Sequence[str]]) -> list[Disagreement]:
    """Where answers differ, as far as numbers, denials and opposite words tell; contradictions first.

    Args:
        embedder: Measures nearness in meaning.
        answers: The statements of each answer, by the answer's name.

    Raises:
        ModelError: the embedder failed.
    """
    texts = list(makers(answers))
    if len(answers) < 2 or all(len(names) == len(answers) for names in makers(answers).values()):
        return []
    vectors = dict(zip(texts, await embedder.embed(texts), strict=True))
    near = {frozenset((one, other)): cosine(vectors[one], vectors[other]) for one, other in combinations(texts, 2)}
    return [*_contradictions(answers, near), *alone(answers, near)]


def makers(answers: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Each statement once, with the names of the answers that make it in the same words."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, statements in answers.items():
        for text in statements:
            found.setdefault(words_of(text), (text, []))[1].append(name)
    return dict(found.values())


def alone(answers: Mapping[str, Sequence[str]], near: Mapping[frozenset[str], float]) -> list[Disagreement]:
    """Statements that no other answer makes, in these words or near ones."""
    found: list[Disagreement] = []
    for name, statements in answers.items():
        others = [text for other, theirs in answers.items() if other != name for text in theirs]
        found += [
            Disagreement(kind="alone", by=name, statement=text)
            for text in statements
            if not any(_says(text, other, near) for other in others)
        ]
    return found


def _contradictions(answers: Mapping[str, Sequence[str]], near: Mapping[frozenset[str], float]) -> list[Disagreement]:
    found: list[Disagreement] = []
    for one, other in combinations(answers, 2):
        for ours in answers[one]:
            for theirs in answers[other]:
                why = _against(ours, theirs, near)
                if why:
                    told = Disagreement(
                        kind="contradicts", by=one, statement=ours, other=other, other_statement=theirs, why=why
                    )
                    found.append(told)
    return found


def _against(one: str, other: str, near: Mapping[frozenset[str], float]) -> str:
    """Why two statements cannot both be true; nothing where they may."""
    if words_of(one) == words_of(other) or near[frozenset((one, other))] < _SAME_MATTER:
        return ""
    if min(shared_words(one, stems(other)), shared_words(other, stems(one))) < _SAME_WORDS:
        return ""
    for found in (numbers, names):
        ours, theirs = found(one) - found(other), found(other) - found(one)
        if ours and theirs and len(ours | theirs) <= _FEW:
            return f"one says {listed(ours)}, the other {listed(theirs)}"
    return reversal(one, other, "the other")


def _says(text: str, other: str, near: Mapping[frozenset[str], float]) -> bool:
    if words_of(text) in words_of(other) or words_of(other) in words_of(text):
        return True
    return near[frozenset((text, other))] >= _SAME
