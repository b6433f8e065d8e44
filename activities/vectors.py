"""Where passages are kept and found again: by meaning (dense), by words (sparse), and by both (fused).

Rule: one layout of points, one set of operations, whatever the engine: Qdrant's server, or Qdrant's engine inside
this process. A source counts as indexed only when all its passages are.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from activities.documents import Chunk
from activities.text import document_weights, query_weights
from activities.vectors_edge import EdgeEngine
from activities.vectors_layout import Hit, Point
from activities.vectors_server import ServerEngine
from everstep.observe.calls import Document, RetrieverCall

DEFAULT_FOLDER = Path(".everstep/vectors")
_NAMESPACE = uuid.UUID("6f0c5a0e-4a1c-5f0b-9a52-2f8d1c6f3b7e")
_BATCH = 128


class Passage(BaseModel):
    """A chunk that was found. `score` is comparable within one search only.

    Dense scores are cosines, sparse scores BM25, fused scores sums of reciprocal ranks.
    """

    model_config = ConfigDict(frozen=True)

    chunk_id: str
    source: str
    text: str
    heading: list[str] = []
    start_line: int
    end_line: int
    page: int | None = None
    score: float

    @property
    def place(self) -> str:
        """Where it stands, as `file:line`."""
        return f"{self.source}:{self.start_line}"


class VectorEngine(Protocol):
    """What a store needs of the machine under it. All methods raise VectorStoreError."""

    def describe(self) -> str:
        """One line for people: which engine, and where."""
        ...

    async def ensure(self, dimension: int) -> None:
        """Makes the collection, or checks that it fits."""
        ...

    async def upsert(self, points: Sequence[Point]) -> None:
        """Writes points; those with a known id are replaced."""
        ...

    async def delete(self, source: str, *, spare: range = range(0)) -> None:
        """Removes a source's points, but for those whose position is in `spare`."""
        ...

    async def search(
        self, *, dense: Sequence[float] | None = None, sparse: dict[int, float] | None = None, limit: int
    ) -> list[Hit]:
        """The best points; with both kinds of vector, fused by rank."""
        ...

    async def heads(self) -> list[dict[str, Any]]:
        """The payload of every source's first point."""
        ...

    async def count(self) -> int:
        """How many points there are."""
        ...

    async def close(self) -> None:
        """Releases files and connections."""
        ...


class VectorStore:
    """Passages with their vectors. Safe to use from many steps, threads and event loops at once.

    Example:
        store = vector_store_from_env(embedder.name)
        await store.ensure(embedder.dimension)
        await store.replace_source(chunks, await embedder.embed([c.indexed_text for c in chunks]))
        found = await store.search_fused("how are steps retried?", vector, limit=5)
    """

    def __init__(self, engine: VectorEngine) -> None:
        self._engine = engine

    def describe(self) -> str:
        """One line for people: which engine, and where."""
        return self._engine.describe()

    async def ensure(self, dimension: int) -> None:
        """Makes the collection when it is missing. Call it before writing.

        Raises:
            VectorStoreMismatch: it exists, for vectors of another size.
            VectorStoreLocked: another process has the embedded store open.
            VectorStoreUnavailable: the server does not answer.
        """
        await self._engine.ensure(dimension)

    async def upsert(self, chunks: Sequence[Chunk], vectors: Sequence[Sequence[float]]) -> None:
        """Writes chunks with their vectors; the same source and position is the same point, however often."""
        points = [
            _point(chunk, [float(number) for number in vector]) for chunk, vector in zip(chunks, vectors, strict=True)
        ]
        for start in range(0, len(points), _BATCH):
            await self._engine.upsert(points[start : start + _BATCH])

    async def replace_source(self, chunks: Sequence[Chunk], vectors: Sequence[Sequence[float]]) -> None:
        """Makes these chunks all there is of their source.

        The first chunk, which carries the content's hash for `source_hashes`, goes first and comes back last: a
        source whose indexing was interrupted does not count as indexed, and is done again.

        Raises:
            ValueError: no chunks, chunks of several sources, or positions that do not count from 0.
        """
        if not chunks or [chunk.position for chunk in chunks] != list(range(len(chunks))):
            raise ValueError("replace_source needs all the chunks of one source, in order, from position 0.")
        source = chunks[0].source
        if any(chunk.source != source for chunk in chunks):
            raise ValueError(f"replace_source was given chunks of {source} and of other sources; call it for each.")
        await self._engine.delete(source, spare=range(1, len(chunks)))
        await self.upsert(chunks[1:], vectors[1:])
        await self.upsert(chunks[:1], vectors[:1])

    async def delete_source(self, source: str) -> None:
        """Removes all of a source; one that is not there is fine."""
        await self._engine.delete(source)

    async def source_hashes(self) -> dict[str, str]:
        """The content hash of every source that is completely indexed."""
        return {head["source"]: head["content_hash"] for head in await self._engine.heads()}

    async def search_dense(self, vector: Sequence[float], limit: int = 5) -> list[Passage]:
        """The passages nearest in meaning to an embedded question, best first."""
        with RetrieverCall("search by meaning") as call:
            return _told(call, await self._engine.search(dense=vector, limit=limit))

    async def search_sparse(self, query: str, limit: int = 5) -> list[Passage]:
        """The passages that share the question's rarest words, best first (BM25)."""
        weights = query_weights(query)
        if not weights:
            return []
        with RetrieverCall("search by words", query) as call:
            return _told(call, await self._engine.search(sparse=weights, limit=limit))

    async def search_fused(self, query: str, vector: Sequence[float], limit: int = 5) -> list[Passage]:
        """The passages that rank well by meaning, by words, or by both, best first (reciprocal ranks)."""
        weights = query_weights(query) or None
        with RetrieverCall("search by meaning and words", query) as call:
            return _told(call, await self._engine.search(dense=vector, sparse=weights, limit=limit))

    async def count(self) -> int:
        """How many chunks are stored."""
        return await self._engine.count()

    async def close(self) -> None:
        """Releases files and connections; the last user of an embedded store in this process closes it."""
        await self._engine.close()


def chunk_id(source: str, position: int) -> str:
    """The id of a chunk's point: the same for the same place in the same source."""
    return str(uuid.uuid5(_NAMESPACE, f"{source}#{position}"))


def _point(chunk: Chunk, vector: list[float]) -> Point:
    return Point(
        id=chunk_id(chunk.source, chunk.position),
        dense=vector,
        sparse=document_weights(chunk.indexed_text),
        payload=chunk.model_dump(),
    )


def _passages(hits: list[Hit]) -> list[Passage]:
    return [Passage.model_validate({**hit.payload, "chunk_id": hit.id, "score": hit.score}) for hit in hits]


def _told(call: RetrieverCall, hits: list[Hit]) -> list[Passage]:
    """What was found, told to the trace too."""
    found = _passages(hits)
    call.found([Document(one.chunk_id, one.score, one.text, one.place) for one in found])
    return found


def vector_store_from_env(space: str) -> VectorStore:
    """The server at QDRANT_URL (with QDRANT_API_KEY), else the embedded engine in EVERSTEP_VECTORS.

    Args:
        space: The embedder's name. Vectors of different embedders live in different collections.
    """
    collection = "everstep-" + re.sub(r"[^a-z0-9]+", "-", space.lower()).strip("-")
    url = os.environ.get("QDRANT_URL")
    if url:
        return VectorStore(ServerEngine(collection, url=url, api_key=os.environ.get("QDRANT_API_KEY")))
    folder = Path(os.environ.get("EVERSTEP_VECTORS") or DEFAULT_FOLDER)
    return VectorStore(EdgeEngine(folder / collection))
