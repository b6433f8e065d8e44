"""Vectors of the texts that were embedded last, kept: several strategies look at the same sentences."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Sequence

from activities.embeddings import Embedder


class RememberingEmbedder:
    """An embedder that asks another one only for texts that it has not seen lately.

    Args:
        embedder: Makes the vectors.
        texts: How many are kept; 2,000 vectors of 384 numbers take 3 MB.
    """

    def __init__(self, embedder: Embedder, *, texts: int = 2_000) -> None:
        self._embedder = embedder
        self._limit = texts
        self._kept: OrderedDict[str, array[float]] = OrderedDict()
        self._using = threading.Lock()

    @property
    def name(self) -> str:
        """Which model this is."""
        return self._embedder.name

    @property
    def dimension(self) -> int:
        """Numbers in each vector."""
        return self._embedder.dimension

    @property
    def max_tokens(self) -> int:
        """How much of a text counts."""
        return self._embedder.max_tokens

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has. Raises ModelError."""
        return self._embedder.count_tokens(text)

    def describe(self) -> str:
        """One line for people: which model, and where it runs."""
        return self._embedder.describe()

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector per text, in order, to the precision of 32 bits. Raises ModelError."""
        with self._using:
            known = {text: self._kept[text] for text in texts if text in self._kept}
            for text in known:
                self._kept.move_to_end(text)
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known |= {
                text: array("f", vector) for text, vector in zip(new, await self._embedder.embed(new), strict=True)
            }
            with self._using:
                self._kept |= {text: known[text] for text in new}
                while len(self._kept) > self._limit:
                    self._kept.popitem(last=False)
        return [known[text].tolist() for text in texts]
