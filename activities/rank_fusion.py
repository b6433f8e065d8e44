"""Several ranked lists of passages as one, by reciprocal ranks: scores of different searches need not compare."""

from __future__ import annotations

from collections.abc import Sequence

from activities.vectors import Passage
from activities.vectors_layout import RRF_K


def merged(results: Sequence[Sequence[Passage]], limit: int) -> list[Passage]:
    """The best passages of several searches, best first; the first search counts twice.

    Args:
        results: One list for each search, best first; the first is that of the question as it was asked.
        limit: How many to give.

    Returns:
        Passages with the sum of their reciprocal ranks as the score; a lone search's as they are.
    """
    if len(results) == 1:
        return list(results[0][:limit])
    scores: dict[str, float] = {}
    passages: dict[str, Passage] = {}
    for number, found in enumerate(results):
        weight = 2.0 if number == 0 else 1.0
        for rank, passage in enumerate(found, 1):
            passages.setdefault(passage.chunk_id, passage)
            scores[passage.chunk_id] = scores.get(passage.chunk_id, 0.0) + weight / (RRF_K + rank)
    best = sorted(scores, key=lambda key: (-scores[key], key))[:limit]
    return [passages[key].model_copy(update={"score": scores[key]}) for key in best]
