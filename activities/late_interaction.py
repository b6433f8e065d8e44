"""Late interaction: each word of a question looks for its like among the words of a passage, in their contexts.

The packaged embedding model gives a vector for each token before it averages them; the average tells what a text is
about, the tokens tell whether it says what was asked. Measured in docs/decisions/retrieval.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from activities.embeddings import token_vectors
from activities.text import STOP_WORDS
from activities.vectors import Passage

_WORD = re.compile(r"(?:##)?\w")


def late_scores(question: str, passages: Sequence[Passage]) -> list[float]:
    """How well each passage answers a question: 1 if it says all of its words, 0 if nothing is like them.

    Words count by how few of the passages hold them. Blocks while the model works, some 20 ms for each passage.

    Raises:
        ModelUnavailable: the packages that hold the model are not installed.
    """
    asked, like = token_vectors(question)
    read = [token_vectors(passage.indexed_text) for passage in passages]
    weights = _weights(asked, [set(tokens) for tokens, _ in read])
    total = sum(weights)
    if not total:
        return [0.0] * len(passages)
    scores: list[float] = []
    for _, vectors in read:
        nearest = (like @ vectors.T).max(axis=1) if len(vectors) else [0.0] * len(asked)
        scores.append(sum(weight * float(one) for weight, one in zip(weights, nearest, strict=True)) / total)
    return scores


def _weights(asked: Sequence[str], held: Sequence[set[str]]) -> list[float]:
    """What each of the question's tokens tells; nothing, if it is a mark or a word that all texts have."""

    def weight(token: str) -> float:
        if token in STOP_WORDS or not _WORD.match(token):
            return 0.0
        return math.log(1 + len(held) / (0.5 + sum(token in tokens for tokens in held)))

    return [weight(token) for token in asked]
