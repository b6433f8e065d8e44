"""The shared vector store: a Qdrant server, through its asynchronous client.

Rules: the layout is that of the embedded store, so moving to a server is setting QDRANT_URL and indexing again.
The client is imported when an engine is made: it takes two seconds, which no worker without a server should wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from activities.errors import VectorStoreError, VectorStoreMismatch, VectorStoreUnavailable
from activities.per_loop import PerLoop
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

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, models
    from qdrant_client.http.exceptions import UnexpectedResponse


class ServerEngine:
    """A collection on a Qdrant server. Reads of a collection that does not exist find nothing.

    Args:
        collection: Its name; made by `ensure`.
        url: The server's address, as in QDRANT_URL.
        api_key: Its key, if it wants one.
        timeout: Seconds for one request.
        client: Use this client instead of one per event loop; its owner closes it.
    """

    def __init__(
        self,
        collection: str,
        *,
        url: str | None = None,
        api_key: str | None = None,
        timeout: int = 30,
        client: AsyncQdrantClient | None = None,
    ) -> None:
        from qdrant_client import AsyncQdrantClient

        self.collection = collection
        self._url = url
        self._given = client
        self._exists = False
        self._clients = PerLoop(
            lambda: AsyncQdrantClient(url=url, api_key=api_key, timeout=timeout, check_compatibility=False)
        )

    def describe(self) -> str:
        """One line for people: which engine, and where."""
        return f"Qdrant at {self._url or 'the given client'}, collection {self.collection}"

    async def ensure(self, dimension: int) -> None:
        """Makes the collection, or checks that it fits. Raises VectorStoreMismatch, VectorStoreUnavailable."""
        async with self._client() as client:
            if not await client.collection_exists(self.collection):
                await self._create(client, dimension)
            known = await client.get_collection(self.collection)
            vectors = known.config.params.vectors
            dense = vectors.get(DENSE) if isinstance(vectors, dict) else None
            if dense is None or dense.size != dimension:
                raise VectorStoreMismatch(
                    f"Qdrant collection {self.collection} holds vectors of {dense.size if dense else 'no known'} "
                    f"numbers, the embedder makes {dimension}. Delete the collection to index again."
                )
            # Last: a collection of an older layout, or one whose making was interrupted, lacks some.
            await self._index_fields(client, known.payload_schema or {})
        self._exists = True

    async def upsert(self, points: Sequence[Point]) -> None:
        """Writes points; those with a known id are replaced."""
        from qdrant_client import models

        rows = [
            models.PointStruct(
                id=point.id,
                vector={DENSE: list(point.dense), SPARSE: _sparse(point.sparse)},
                payload=point.payload,
            )
            for point in points
        ]
        async with self._client() as client:
            await client.upsert(self.collection, rows, wait=True)

    async def delete(self, source: str, *, spare: range = range(0)) -> None:
        """Removes a source's points, but for those whose position is in `spare`."""
        from qdrant_client import models

        of_source = models.FieldCondition(key=SOURCE, match=models.MatchValue(value=source))
        spared = models.FieldCondition(key=POSITION, range=models.Range(gte=spare.start, lt=spare.stop))
        condition = models.Filter(must=[of_source], must_not=[spared] if spare else None)
        async with self._client() as client:
            if await self._is_there(client):
                await client.delete(self.collection, models.FilterSelector(filter=condition), wait=True)

    async def search(
        self,
        *,
        dense: Sequence[float] | None = None,
        sparse: dict[int, float] | None = None,
        limit: int,
        where: Where | None = None,
    ) -> list[Hit]:
        """The best points; with both kinds of vector, fused by rank."""
        from qdrant_client import models

        only, depth = _filter(where), fused_depth(limit)
        stages: list[models.Prefetch] = []
        if dense is not None:
            stages.append(models.Prefetch(query=list(dense), using=DENSE, limit=depth, filter=only))
        if sparse:
            stages.append(models.Prefetch(query=_sparse(sparse), using=SPARSE, limit=depth, filter=only))
        async with self._client() as client:
            if not await self._is_there(client):
                return []
            if len(stages) == 1:
                found = await client.query_points(
                    self.collection, query=stages[0].query, using=stages[0].using, limit=limit, query_filter=only
                )
            else:
                fusion = models.RrfQuery(rrf=models.Rrf(k=RRF_K))
                found = await client.query_points(self.collection, prefetch=stages, query=fusion, limit=limit)
        return [Hit(str(point.id), point.score, point.payload or {}) for point in found.points]

    async def heads(self) -> list[dict[str, Any]]:
        """The HEAD_FIELDS of every source's first point."""
        from qdrant_client import models

        first = models.Filter(must=[models.FieldCondition(key=POSITION, match=models.MatchValue(value=0))])
        payloads: list[dict[str, Any]] = []
        offset: Any = None
        async with self._client() as client:
            if not await self._is_there(client):
                return []
            while True:
                records, offset = await client.scroll(
                    self.collection,
                    scroll_filter=first,
                    limit=1000,
                    offset=offset,
                    with_payload=HEAD_FIELDS,
                )
                payloads += [record.payload or {} for record in records]
                if offset is None:
                    return payloads

    async def count(self, *, outdated: bool = False) -> int:
        """How many points there are; or how many of another layout."""
        from qdrant_client import models

        current = models.FieldCondition(key=LAYOUT_FIELD, match=models.MatchValue(value=LAYOUT))
        only = models.Filter(must_not=[current]) if outdated else None
        async with self._client() as client:
            if not await self._is_there(client):
                return 0
            return (await client.count(self.collection, count_filter=only)).count

    async def close(self) -> None:
        """Closes the running loop's connections."""
        client = self._clients.forget()
        if client is not None:
            await client.close()

    async def _create(self, client: AsyncQdrantClient, dimension: int) -> None:
        from qdrant_client import models
        from qdrant_client.http.exceptions import UnexpectedResponse

        try:
            await client.create_collection(
                self.collection,
                vectors_config={DENSE: models.VectorParams(size=dimension, distance=models.Distance.COSINE)},
                sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            )
        except UnexpectedResponse as error:
            if error.status_code != 409:  # another worker was faster
                raise

    async def _index_fields(self, client: AsyncQdrantClient, known: Mapping[str, object]) -> None:
        """Indexes over what filters use, where they are missing."""
        from qdrant_client import models

        kinds = {"keyword": models.PayloadSchemaType.KEYWORD, "integer": models.PayloadSchemaType.INTEGER}
        for field, kind in INDEXED_FIELDS.items():
            if field not in known:
                await client.create_payload_index(self.collection, field, kinds[kind], wait=True)

    async def _is_there(self, client: AsyncQdrantClient) -> bool:
        self._exists = self._exists or await client.collection_exists(self.collection)
        return self._exists

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[AsyncQdrantClient]:
        """The client, with its errors under our names."""
        from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
        from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

        try:
            yield self._given or self._clients.get()
        except ResponseHandlingException as error:
            raise VectorStoreUnavailable(
                f"Qdrant at {self._url} does not answer ({error.source}). Start it, or unset QDRANT_URL to use "
                "the embedded store."
            ) from error
        except ResourceExhaustedResponse as error:
            raise VectorStoreUnavailable(
                f"Qdrant at {self._url}: too many requests.", retry_after=float(error.retry_after_s)
            ) from error
        except QdrantException as error:  # what the client makes of a 429 whose Retry-After is no number
            raise VectorStoreUnavailable(f"Qdrant at {self._url}: too many requests ({error}).") from error
        except UnexpectedResponse as error:
            raise self._refused(error) from error
        except (ApiException, ValueError) as error:
            raise VectorStoreError(f"Qdrant collection {self.collection}: {error}") from error

    def _refused(self, error: UnexpectedResponse) -> VectorStoreError:
        said = f"Qdrant at {self._url}, collection {self.collection}: {error.status_code} {error.reason_phrase}"
        if error.status_code in (401, 403):
            return VectorStoreError(f"{said}. Check QDRANT_API_KEY.")
        if error.status_code == 429 or (error.status_code or 0) >= 500:
            return VectorStoreUnavailable(said)
        return VectorStoreError(f"{said}: {error.content.decode(errors='replace')[:200]}")


def _filter(where: Where | None) -> models.Filter | None:
    from qdrant_client import models

    if not where:
        return None
    return models.Filter(
        must=[
            models.FieldCondition(key=name, match=models.MatchAny(any=values)) for name, values in where.fields.items()
        ]
    )


def _sparse(weights: dict[int, float]) -> models.SparseVector:
    from qdrant_client import models

    places = sorted(weights)
    return models.SparseVector(indices=places, values=[weights[place] for place in places])
