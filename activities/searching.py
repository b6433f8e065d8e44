"""What one strategy finds for several queries: each is searched alone, and the ranks are merged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from activities.packed import unpack
from activities.rank_fusion import merged
from activities.vectors import Passage, VectorStore
from activities.vectors_layout import Where


async def searched(
    store: VectorStore, strategy: str, queries: Sequence[str], vectors: Sequence[str], limit: int, where: Where
) -> list[Passage]:
    """The passages that one strategy finds, best first.

    Args:
        store: The index.
        strategy: `sparse` goes by words, `dense` by meaning, any other by both.
        queries: The question first, which counts twice.
        vectors: Those of the queries, packed; not needed for `sparse`.
        limit: How many passages to give.
        where: In which documents to look.

    Raises:
        VectorStoreError: the store failed.
    """
    if strategy == "sparse":
        searches = [store.search_sparse(query, limit, where=where) for query in queries]
    else:
        pairs = list(zip(queries, map(unpack, vectors), strict=True))
        if strategy == "dense":
            searches = [store.search_dense(vector, limit, where=where) for _, vector in pairs]
        else:
            searches = [store.search_fused(query, vector, limit, where=where) for query, vector in pairs]
    results: Sequence[list[Passage]] = await asyncio.gather(*searches)
    return merged(results, limit)


def places_of(found: Sequence[Passage]) -> str:
    """Where the first passages stand, in a line for people."""
    return ", ".join(passage.place for passage in found[:3]) or "nothing"
