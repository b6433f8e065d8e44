"""The embedded vector store: Qdrant's own engine in this process, in a folder that survives it.

Rules: one process has a folder open at a time, and within it all users share one shard. Searches are exact: the
engine's index builder holds the interpreter's lock for many seconds, which would stop every heartbeat of a worker.
See docs/decisions/vector-store.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import portalocker
import qdrant_edge as edge

from activities.errors import VectorStoreError, VectorStoreLocked, VectorStoreMismatch
from activities.vectors_layout import (
    DENSE,
    HEAD_FIELDS,
    INDEXED_FIELDS,
    LAYOUT,
    LAYOUT_FIELD,
    POSITION,
    RRF_K,
    SOURCE,
    SPARSE,
    Hit,
    Point,
    Where,
    fused_depth,
)

T = TypeVar("T")

_NEVER_INDEX = 1_000_000_000  # kilobytes in a segment before an index is built for it


@dataclass
class _Shard:
    """A folder that this process has open."""

    engine: edge.EdgeShard
    dimension: int
    lock: IO[str]
    users: int = 0


_open_shards: dict[Path, _Shard] = {}
_opening = threading.Lock()


class EdgeEngine:
    """A folder with a shard in it. Reads of a folder that does not exist find nothing.

    Args:
        folder: Holds one collection; made by `ensure`.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).resolve()
        self._shard: _Shard | None = None

    def describe(self) -> str:
        """One line for people: which engine, and where."""
        return f"Qdrant's embedded engine in {self.folder}"

    async def ensure(self, dimension: int) -> None:
        """Opens the folder, making it when needed. Raises VectorStoreLocked, VectorStoreMismatch."""
        shard = await asyncio.to_thread(self._opened, dimension)
        if shard is None or shard.dimension != dimension:
            raise VectorStoreMismatch(
                f"Vector store {self.folder} holds vectors of {shard.dimension if shard else 0} numbers, the "
                f"embedder makes {dimension}. Remove the folder to index again, or set EVERSTEP_VECTORS to another."
            )

    async def upsert(self, points: Sequence[Point]) -> None:
        """Writes points; those with a known id are replaced."""
        rows = [
            edge.Point(
                point.id,
                {DENSE: list(point.dense), SPARSE: _sparse(point.sparse)},
                point.payload,
            )
            for point in points
        ]
        await self._write(edge.UpdateOperation.upsert_points(rows))

    async def delete(self, source: str, *, spare: range = range(0)) -> None:
        """Removes a source's points, but for those whose position is in `spare`."""
        of_source = edge.FieldCondition(key=SOURCE, match=edge.MatchValue(source))
        spared = edge.FieldCondition(key=POSITION, range=edge.RangeFloat(gte=float(spare.start), lt=float(spare.stop)))
        condition = edge.Filter(must=[of_source], must_not=[spared] if spare else None)
        await self._write(edge.UpdateOperation.delete_points_by_filter(condition))

    async def search(
        self,
        *,
        dense: Sequence[float] | None = None,
        sparse: dict[int, float] | None = None,
        limit: int,
        where: Where | None = None,
    ) -> list[Hit]:
        """The best points; with both kinds of vector, fused by rank."""
        only = _filter(where)
        queries: list[edge.Query] = []
        if dense is not None:
            queries.append(edge.Query.Nearest(list(dense), using=DENSE))
        if sparse:
            queries.append(edge.Query.Nearest(_sparse(sparse), using=SPARSE))
        if len(queries) == 1:
            request = edge.QueryRequest(limit=limit, query=queries[0], filter=only, with_payload=True)
        else:
            stages = [edge.Prefetch(limit=fused_depth(limit), query=query, filter=only) for query in queries]
            fusion = cast(edge.Query, edge.Fusion.Rrf(k=RRF_K))  # its type stubs leave this one out
            request = edge.QueryRequest(limit=limit, query=fusion, prefetches=stages, with_payload=True)
        found = await self._read(lambda shard: shard.query(request), [])
        return [Hit(str(point.id), point.score, point.payload or {}) for point in found]

    async def heads(self) -> list[dict[str, Any]]:
        """The HEAD_FIELDS of every source's first point."""
        first = edge.Filter(must=[edge.FieldCondition(key=POSITION, match=edge.MatchValue(0))])
        payloads: list[dict[str, Any]] = []
        offset: edge.PointId | None = None
        while True:
            page = edge.ScrollRequest(offset=offset, limit=1000, filter=first, with_payload=HEAD_FIELDS)
            records, offset = await self._read(lambda shard, page=page: shard.scroll(page), ([], None))
            payloads += [record.payload or {} for record in records]
            if offset is None:
                return payloads

    async def count(self, *, outdated: bool = False) -> int:
        """How many points there are; or how many of another layout."""
        current = edge.FieldCondition(key=LAYOUT_FIELD, match=edge.MatchValue(LAYOUT))
        request = edge.CountRequest(filter=edge.Filter(must_not=[current]) if outdated else None)
        return await self._read(lambda shard: shard.count(request), 0)

    async def close(self) -> None:
        """Ends this object's use of the folder; the last user in the process closes it."""
        await asyncio.to_thread(self._release)

    async def _write(self, operation: edge.UpdateOperation) -> None:
        def work() -> None:
            shard = self._opened(None)
            if shard is None:
                raise VectorStoreError(f"Vector store {self.folder} does not exist yet; call ensure() first.")
            self._guarded(lambda: shard.engine.update(operation))

        await asyncio.to_thread(work)

    async def _read(self, work: Callable[[edge.EdgeShard], T], nothing: T) -> T:
        def run() -> T:
            shard = self._opened(None)
            return nothing if shard is None else self._guarded(lambda: work(shard.engine))

        return await asyncio.to_thread(run)

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except Exception as error:  # the engine raises plain Exception for everything
            raise VectorStoreError(f"Vector store {self.folder}: {error}") from error

    def _opened(self, dimension: int | None) -> _Shard | None:
        """This process's shard of the folder; None when there is none and no dimension to make one with."""
        if self._shard is not None:
            return self._shard
        with _opening:
            if self._shard is None:
                shard = _open_shards.get(self.folder) or self._open(dimension)
                if shard is not None:
                    _open_shards[self.folder] = self._shard = shard
                    shard.users += 1
            return self._shard

    def _open(self, dimension: int | None) -> _Shard | None:
        layout = self.folder / "layout.json"
        if dimension is None and not layout.exists():
            return None
        lock = self._locked()
        try:
            if not layout.exists():
                assert dimension is not None
                self._guarded(lambda: self._create(layout, dimension))
            known: dict[str, int] = json.loads(layout.read_text())
            if known["layout"] > LAYOUT:
                raise VectorStoreMismatch(
                    f"Vector store {self.folder} was made by a newer version of everstep (layout {known['layout']}, "
                    f"this one knows {LAYOUT}). Upgrade, or set EVERSTEP_VECTORS to another folder."
                )
            engine = self._guarded(lambda: edge.EdgeShard.load(str(self.folder / "shard")))
            if known["layout"] < LAYOUT:
                self._guarded(lambda: _index_fields(engine))
                _describe(layout, known["dimension"])
            # Reclaims the room of what was replaced. Only here, as it holds up every thread for up to a second.
            self._guarded(engine.optimize)
        except BaseException:
            lock.close()
            raise
        return _Shard(engine, known["dimension"], lock)

    def _locked(self) -> IO[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = (self.folder / "lock").open("a+")
        try:
            portalocker.lock(lock, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.LockException as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise VectorStoreLocked(
                f"Vector store {self.folder} is open in another process (pid {holder}). Stop that one, set "
                "EVERSTEP_VECTORS to another folder, or set QDRANT_URL to share a server."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def _create(self, layout: Path, dimension: int) -> None:
        """A new shard; the layout file, written last, says that it is complete."""
        place = self.folder / "shard"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        shard = edge.EdgeShard.create(
            str(place),
            edge.EdgeConfig(
                vectors={DENSE: edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine)},
                sparse_vectors={SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
                optimizers=edge.EdgeOptimizersConfig(indexing_threshold=_NEVER_INDEX),
            ),
        )
        _index_fields(shard)
        shard.flush()
        shard.close()
        _describe(layout, dimension)

    def _release(self) -> None:
        with _opening:
            shard, self._shard = self._shard, None
            if shard is None:
                return
            shard.users -= 1
            if shard.users == 0:
                del _open_shards[self.folder]
                shard.engine.flush()
                shard.engine.close()
                shard.lock.close()


def _index_fields(shard: edge.EdgeShard) -> None:
    """Indexes over what filters use; those that are there already stay."""
    kinds = {"keyword": edge.PayloadSchemaType.Keyword, "integer": edge.PayloadSchemaType.Integer}
    for field, kind in INDEXED_FIELDS.items():
        shard.update(edge.UpdateOperation.create_field_index(field, kinds[kind]))


def _describe(layout: Path, dimension: int) -> None:
    """Writes the layout file, at once or not at all."""
    draft = layout.with_suffix(".tmp")
    draft.write_text(json.dumps({"layout": LAYOUT, "dimension": dimension}))
    draft.replace(layout)


def _filter(where: Where | None) -> edge.Filter | None:
    if not where:
        return None
    fields = where.fields.items()
    return edge.Filter(must=[edge.FieldCondition(key=name, match=edge.MatchAny(values)) for name, values in fields])


def _sparse(weights: dict[int, float]) -> edge.SparseVector:
    places = sorted(weights)
    return edge.SparseVector(places, [weights[place] for place in places])
