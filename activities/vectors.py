"""Where passages are kept and found again: by meaning (dense), by words (sparse), and by both (fused).

Rule: one layout of points, one set of operations, whatever the engine: Qdrant's server, or Qdrant's engine inside
this process. A source counts as indexed only when all its passages are.
"""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from activities.chunking import Chunk, under_headings
from activities.errors import VectorStoreMismatch, VectorStoreOutdated
from activities.per_loop import PerLoop
from activities.places import place_of
from activities.text import document_weights, query_weights
from activities.vectors_edge import EdgeEngine
from activities.vectors_layout import LAYOUT, LAYOUT_FIELD, SOURCE, UNDER, Hit, Point, Where, places_above
from activities.vectors_server import ServerEngine
from activities.vectors_writing import IN_FLIGHT, BatchWriter
from everstep.observe.calls import Document, RetrieverCall

DEFAULT_FOLDER = Path(".everstep/vectors")
_NAMESPACE = uuid.UUID("6f0c5a0e-4a1c-5f0b-9a52-2f8d1c6f3b7e")
_EMBEDDED_AT_ONCE = 128

Embed = Callable[[Sequence[str]], Awaitable[list[list[float]]]]


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
    def indexed_text(self) -> str:
        """What was embedded of it: the headings and the text."""
        return under_headings(self.heading, self.text)

    @property
    def place(self) -> str:
        """Where it stands: `docs/guide.md:120-134`, or `report.pdf#page=3`."""
        return place_of(self.source, self.start_line, self.end_line, self.page)


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
        self,
        *,
        dense: Sequence[float] | None = None,
        sparse: dict[int, float] | None = None,
        limit: int,
        where: Where | None = None,
    ) -> list[Hit]:
        """The best points; with both kinds of vector, fused by rank."""
        ...

    async def heads(self) -> list[dict[str, Any]]:
        """The HEAD_FIELDS of every source's first point."""
        ...

    async def count(self, *, outdated: bool = False) -> int:
        """How many points there are; or how many of another layout."""
        ...

    async def close(self) -> None:
        """Releases files and connections."""
        ...


class VectorStore:
    """Passages with their vectors. Safe to use from many steps, threads and event loops at once.

    Args:
        engine: where the points are.
        in_flight: how many requests that write there are at a time, over all sources.

    Example:
        store = vector_store_from_env(embedder.name)
        await store.ensure(embedder.dimension)
        await store.index_source(chunks, embedder.embed)
        found = await store.search_fused("how are steps retried?", vector, limit=5, where=Where(under=("docs",)))
    """

    def __init__(self, engine: VectorEngine, *, in_flight: int = IN_FLIGHT) -> None:
        self._engine = engine
        self._room = PerLoop(lambda: asyncio.Semaphore(in_flight))
        self._is_current = False

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
        await self._write([_point(chunk, vector) for chunk, vector in zip(chunks, vectors, strict=True)])

    async def index_source(self, chunks: Sequence[Chunk], embed: Embed) -> None:
        """Makes these chunks all there is of their source: embeds them and writes them, batch by batch.

        The first chunk, which carries the content's hash for `source_hashes`, gets it last: a source whose indexing was
        interrupted does not count as indexed, and is done again.

        Args:
            chunks: all of one source, in order.
            embed: gives the vectors of texts. What it has given is written before much more is asked for.

        Raises:
            ValueError: no chunks, chunks of several sources, or positions that do not count from 0.
            VectorStoreError: the store refuses, or is still busy after some tries.
        """
        if not chunks or [chunk.position for chunk in chunks] != list(range(len(chunks))):
            raise ValueError("index_source needs all the chunks of one source, in order, from position 0.")
        source = chunks[0].source
        if any(chunk.source != source for chunk in chunks):
            raise ValueError(f"index_source was given chunks of {source} and of other sources; call it for each.")
        head: list[Point] = []
        async with BatchWriter(self._engine, self._room.get()) as writer:
            for start in range(0, len(chunks), _EMBEDDED_AT_ONCE):
                batch = chunks[start : start + _EMBEDDED_AT_ONCE]
                vectors = await embed([chunk.indexed_text for chunk in batch])
                points = [_point(chunk, vector) for chunk, vector in zip(batch, vectors, strict=True)]
                if not head:
                    head = [points.pop(0)]
                    await self._begin(head[0], len(chunks))
                await writer.put(points)
        await self._write(head)

    async def _begin(self, head: Point, count: int) -> None:
        """Takes out a source's old passages, now that the model has answered for the new ones, and not before.

        A source of several passages stays known, without a hash: if its file is gone when an interrupted run is made
        again, nobody else would take out what was written of it.
        """
        if count > 1:
            await self._write([replace(head, payload={**head.payload, "content_hash": ""})])
        await self._engine.delete(head.payload[SOURCE], spare=range(count if count > 1 else 0))

    async def replace_source(self, chunks: Sequence[Chunk], vectors: Sequence[Sequence[float]]) -> None:
        """`index_source` with vectors that are there already."""
        rest = iter(vectors)

        async def given(texts: Sequence[str]) -> list[list[float]]:
            return [list(next(rest)) for _ in texts]

        await self.index_source(chunks, given)

    async def _write(self, points: list[Point]) -> None:
        async with BatchWriter(self._engine, self._room.get()) as writer:
            await writer.put(points)

    async def delete_source(self, source: str) -> None:
        """Removes all of a source; one that is not there is fine."""
        await self._engine.delete(source)

    async def source_hashes(self, recipe: str | None = None) -> dict[str, str]:
        """The content hash of every source; an empty one where it is to be indexed again.

        That is so where indexing was interrupted.

        Args:
            recipe: how sources are to be cut. It is so too where one was cut otherwise, or stored in an older layout.

        Raises:
            VectorStoreMismatch: the index was made by a newer version.
        """
        hashes: dict[str, str] = {}
        for head in await self._engine.heads():
            layout = int(head.get(LAYOUT_FIELD) or 1)
            if layout > LAYOUT:
                raise VectorStoreMismatch(
                    f"{self.describe()} was made by a newer version of everstep (layout {layout}, this one knows "
                    f"{LAYOUT}). Upgrade this worker, or use another index."
                )
            current = recipe is None or (layout == LAYOUT and head.get("recipe") == recipe)
            hashes[head[SOURCE]] = head["content_hash"] if current else ""
        return hashes

    async def search_dense(
        self, vector: Sequence[float], limit: int = 5, *, where: Where | None = None
    ) -> list[Passage]:
        """The passages nearest in meaning to an embedded question, best first. Raises VectorStoreError."""
        with RetrieverCall("search by meaning") as call:
            await self._check(where)
            return _told(call, await self._engine.search(dense=vector, limit=limit, where=where))

    async def search_sparse(self, query: str, limit: int = 5, *, where: Where | None = None) -> list[Passage]:
        """The passages that share the question's rarest words, best first (BM25). Raises VectorStoreError."""
        weights = query_weights(query)
        if not weights:
            return []
        with RetrieverCall("search by words", query) as call:
            await self._check(where)
            return _told(call, await self._engine.search(sparse=weights, limit=limit, where=where))

    async def search_fused(
        self, query: str, vector: Sequence[float], limit: int = 5, *, where: Where | None = None
    ) -> list[Passage]:
        """The passages that rank well by meaning, by words, or by both, best first (reciprocal ranks).

        Raises:
            VectorStoreOutdated: `where` is given, and the index was made by a version that stored nothing to filter by.
        """
        weights = query_weights(query) or None
        with RetrieverCall("search by meaning and words", query) as call:
            await self._check(where)
            return _told(call, await self._engine.search(dense=vector, sparse=weights, limit=limit, where=where))

    async def _check(self, where: Where | None) -> None:
        """Refuses filters that would pass over passages only because they are of an older layout."""
        if not where or self._is_current:
            return
        outdated = await self._engine.count(outdated=True)
        if outdated:
            raise VectorStoreOutdated(
                f"{self.describe()} cannot be searched by folder or type: {outdated} of its passages were stored by "
                "another version of everstep. Run IndexFlow for its folder once more: it replaces them."
            )
        self._is_current = True

    async def count(self) -> int:
        """How many chunks are stored."""
        return await self._engine.count()

    async def close(self) -> None:
        """Releases files and connections; the last user of an embedded store in this process closes it."""
        await self._engine.close()


def chunk_id(source: str, position: int) -> str:
    """The id of a chunk's point: the same for the same place in the same source."""
    return str(uuid.uuid5(_NAMESPACE, f"{source}#{position}"))


def _point(chunk: Chunk, vector: Sequence[float]) -> Point:
    return Point(
        id=chunk_id(chunk.source, chunk.position),
        dense=[float(number) for number in vector],
        sparse=document_weights(chunk.indexed_text),
        payload={**chunk.model_dump(exclude_none=True), LAYOUT_FIELD: LAYOUT, UNDER: places_above(chunk.source)},
    )


def _passages(hits: list[Hit]) -> list[Passage]:
    return [Passage.model_validate({**hit.payload, "chunk_id": hit.id, "score": hit.score}) for hit in hits]


def _told(call: RetrieverCall, hits: list[Hit]) -> list[Passage]:
    """What was found, told to the trace too."""
    found = _passages(hits)
    call.found([document_of(one) for one in found])
    return found


def document_of(passage: Passage) -> Document:
    """A passage as traces tell of it."""
    metadata = passage.model_dump(include={"source", "heading", "start_line", "end_line", "page"}, exclude_none=True)
    return Document(passage.chunk_id, passage.score, passage.text, passage.place, metadata)


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
