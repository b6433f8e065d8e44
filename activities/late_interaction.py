"""Late interaction: each word of a question looks for its like among the words of a passage, in their contexts.

The packaged embedding model gives a vector for each token before it averages them; the average tells what a text is
about, the tokens tell whether it says what was asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from activities.embeddings import token_vectors
from activities.vectors import Passage


def late_scores(question: str, passages: Sequence[Passage]) -> list[float]:
    """How well each passage answers a question, from 0 to 1."""
    _, asked = token_vectors(question)
    return [float((asked @ token_vectors(one.text)[1].T).max(axis=1).mean()) for one in passages]
