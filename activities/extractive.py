"""Choosing sentences that answer a question, by embeddings and shared words alone."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from activities.completeness import question_parts
from activities.embeddings import Embedder
from activities.evidence import cosine
from activities.text import sentences, terms
from activities.vectors import Passage

_CANDIDATES = 60
_CHOSEN = 4
_LONGEST_WORDS = 80
_NEAR = 0.3
"""Cosine from which a sentence counts as being on the question's matter."""

_WORTH = 0.7
"""The share of the best sentence's score from which another one is worth quoting."""

_OPENING = re.compile(
    r"^(?:(?:please|can|could|would) (?:you )?(?:tell|explain|show|describe)(?: me| to me)?|tell me|explain|"
    r"how (?:do|can|could|should|does|is|are) (?:i|you|we|one|it|a|an|the)?|what (?:is|are|does|do|happens)|"
    r"why (?:is|are|does|do)|where (?:is|are|do|does|can)|when (?:is|are|do|does)|which|who|is there|are there)\s+",
    re.IGNORECASE,
)
_LEANING = re.compile(
    r"(?:so|and|or|thus|hence|therefore|but|however|instead|it|this|that|these|they|both|then)\b", re.IGNORECASE
)
"""How a sentence begins that says little without the one before it."""


class Sentence(NamedTuple):
    """A candidate: its text, its passage's number from 1, and its place in the reading order."""

    text: str
    passage: int
    order: int
    heading: str


def rewritten(question: str, limit: int) -> list[str]:
    """The question, the questions it is made of, its matter without the question words, and its keywords."""
    whole = " ".join(question.split())
    parts = [part for part in question_parts(whole) if part != whole and len(terms(part)) >= 2]
    matter = _OPENING.sub("", whole.rstrip(" ?")).strip()
    keywords = " ".join(dict.fromkeys(word for word in re.findall(r"[\w.\-/]+", whole) if terms(word)))
    found: dict[str, str] = {}
    for query in [whole, *parts, keywords, matter]:
        found.setdefault(query.lower().rstrip("?"), query)
    return [query for query in found.values() if query][:limit]


async def best_sentences(
    embedder: Embedder, question: str, passages: Sequence[Passage], *, limit: int = _CHOSEN
) -> list[Sentence]:
    """The sentences that answer best, in reading order; none when nothing in the passages is on the matter."""
    candidates = _candidates(passages)
    rarity = _rarity([sentence.text for sentence in candidates])
    asked = set(terms(question))
    shared = {s: _share(asked, s.heading + " " + s.text, rarity) for s in candidates}
    # Embedding is what costs: sentences without a shared word, far down, are left out of it.
    candidates = sorted(candidates, key=lambda s: (-shared[s], s.passage, s.order))[:_CANDIDATES]
    if not candidates:
        return []
    texts = [f"{s.heading}: {s.text}" if s.heading else s.text for s in candidates]
    asked_vector, *vectors = await embedder.embed([question, *texts])
    vector_of = dict(zip(candidates, vectors, strict=True))
    near = {s: cosine(asked_vector, vector_of[s]) for s in candidates}
    score = {s: 0.6 * near[s] + 0.35 * shared[s] + 0.05 / s.passage for s in candidates}
    best = max(candidates, key=lambda s: score[s])
    if near[best] < _NEAR and shared[best] < 0.5:
        return []
    worth = [s for s in candidates if score[s] >= _WORTH * score[best] and near[s] >= 0.6 * _NEAR]
    chosen: list[Sentence] = []
    while worth and len(chosen) < limit:
        # What says again what was chosen already is worth less.
        pick = max(
            worth,
            key=lambda s: score[s] - 0.4 * max((cosine(vector_of[s], vector_of[c]) for c in chosen), default=0),
        )
        worth.remove(pick)
        chosen.append(pick)
    return sorted(chosen, key=lambda s: s.order)


def _candidates(passages: Sequence[Passage]) -> list[Sentence]:
    """The passages' sentences, each once, without scraps and with over-long ones cut."""
    found: dict[str, Sentence] = {}
    for number, passage in enumerate(passages, 1):
        heading = passage.heading[-1] if passage.heading else ""
        for text in _standing_alone(sentences(passage.text)):
            text = text.rstrip(" ;")  # as items of a list end
            words = text.split()
            if len(words) > _LONGEST_WORDS:
                text = " ".join(words[:_LONGEST_WORDS]) + " …"
            if len(set(terms(text))) >= 2 and text not in found:
                found[text] = Sentence(text, number, len(found), heading)
    return list(found.values())


def _standing_alone(texts: Sequence[str]) -> list[str]:
    """Sentences, of which those that lean on the one before are joined to it."""
    found: list[str] = []
    for text in texts:
        if found and _LEANING.match(text) and len((found[-1] + text).split()) <= _LONGEST_WORDS:
            found[-1] += f" {text}"
        else:
            found.append(text)
    return found


def _rarity(texts: Sequence[str]) -> dict[str, float]:
    """How much each term tells, by the number of texts that hold it."""
    counts: dict[str, int] = {}
    for text in texts:
        for term in set(terms(text)):
            counts[term] = counts.get(term, 0) + 1
    return {term: math.log(1 + len(texts) / count) for term, count in counts.items()}


def _share(asked: set[str], text: str, rarity: dict[str, float]) -> float:
    """The share of the question's terms that a text holds, weighted by what they tell; 0 to 1."""
    weight = {term: rarity.get(term, 1.0) for term in asked}
    held = sum(weight[term] for term in asked & set(terms(text)))
    return held / sum(weight.values()) if weight else 0.0
