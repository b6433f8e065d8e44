"""A Qdrant server on loopback, as far as a store of passages uses one.

What requests mean is decided by the local mode of Qdrant's own client, the wire is HTTP with Qdrant's own models; so a
request that does not fit the API fails here too. Beyond that it can be busy, slow or out of reach, and it remembers.
"""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel
from qdrant_client import QdrantClient, models

Json = dict[str, Any]


class FakeQdrant:
    """The server. Use it as a context manager.

    Attributes:
        busy: how many of the next writes are answered with 429, and with `retry_after`.
        slow: seconds that each write takes.
        writes: how many points each write that was accepted had.
        most_at_once: the most writes that were under way together.
        indexes: the payload indexes of each collection, by field.
        requests: how many requests there were of each kind.
    """

    def __init__(self) -> None:
        self.busy = 0
        self.retry_after = "0"
        self.slow = 0.0
        self.writes: list[int] = []
        self.most_at_once = 0
        self.indexes: dict[str, Json] = {}
        self.requests: Counter[str] = Counter()
        self._at_once = 0
        self._lock = threading.Lock()
        self._local = QdrantClient(":memory:")
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """Its address, as in QDRANT_URL."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._local.close()

    def answer(self, method: str, path: str, body: Json) -> tuple[int, Any]:
        """The status and the result for a request."""
        collection, _, rest = path.removeprefix("/collections/").partition("/")
        kind = f"{method} {rest}".strip()
        self.requests[kind] += 1
        if kind == "PUT points":
            return self._write(collection, body)
        with self._lock:
            does = _OPERATIONS.get(kind)
            if does is None:
                return 404, f"the fake does not know {kind}"
            if kind not in ("PUT", "GET exists") and not self._local.collection_exists(collection):
                return 404, f"Collection `{collection}` doesn't exist!"
            return 200, does(self, self._local, collection, body)

    def _write(self, collection: str, body: Json) -> tuple[int, Any]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            busy = self.busy > 0
            self.busy -= busy
        try:
            time.sleep(self.slow)
            if busy:
                return 429, "too many requests"
            points = models.PointsList.model_validate(body).points
            with self._lock:
                self._local.upsert(collection, points)
                self.writes.append(len(points))
            return 200, _DONE
        finally:
            with self._lock:
                self._at_once -= 1


_DONE: Json = {"operation_id": 0, "status": "completed"}


def _exists(_: FakeQdrant, local: QdrantClient, collection: str, body: Json) -> Any:
    return {"exists": local.collection_exists(collection)}


def _create(fake: FakeQdrant, local: QdrantClient, collection: str, body: Json) -> Any:
    wanted = models.CreateCollection.model_validate(body)
    fake.indexes[collection] = {}
    return local.create_collection(
        collection, vectors_config=wanted.vectors, sparse_vectors_config=wanted.sparse_vectors
    )


def _info(fake: FakeQdrant, local: QdrantClient, collection: str, body: Json) -> Any:
    schema = {field: {"data_type": kind, "points": 0} for field, kind in fake.indexes[collection].items()}
    return _plain(local.get_collection(collection)) | {"payload_schema": schema}


def _index(fake: FakeQdrant, local: QdrantClient, collection: str, body: Json) -> Any:
    wanted = models.CreateFieldIndex.model_validate(body)
    fake.indexes[collection][wanted.field_name] = body["field_schema"]
    return _DONE


def _delete(_: FakeQdrant, local: QdrantClient, collection: str, body: Json) -> Any:
    local.delete(collection, models.FilterSelector.model_validate(body))
    return _DONE


def _query(_: FakeQdrant, local: QdrantClient, collection: str, body: Json) -> Any:
    wanted = models.QueryRequest.model_validate(body)
    found = local.query_points(
        collection,
        query=wanted.query,
        using=wanted.using,
        prefetch=wanted.prefetch,
        query_filter=wanted.filter,
        limit=wanted.limit or 10,
    )
    return _plain(found)


def _scroll(_: FakeQdrant, local: QdrantClient, collection: str, body: Json) -> Any:
    wanted = models.ScrollRequest.model_validate(body)
    points, after = local.scroll(
        collection,
        scroll_filter=wanted.filter,
        limit=wanted.limit or 10,
        offset=wanted.offset,
        with_payload=wanted.with_payload or False,
    )
    return {"points": [_plain(point) for point in points], "next_page_offset": after}


def _count(_: FakeQdrant, local: QdrantClient, collection: str, body: Json) -> Any:
    wanted = models.CountRequest.model_validate(body)
    return _plain(local.count(collection, count_filter=wanted.filter))


_OPERATIONS: dict[str, Callable[[FakeQdrant, QdrantClient, str, Json], Any]] = {
    "GET exists": _exists,
    "PUT": _create,
    "GET": _info,
    "PUT index": _index,
    "POST points/delete": _delete,
    "POST points/query": _query,
    "POST points/scroll": _scroll,
    "POST points/count": _count,
}


def _plain(model: BaseModel) -> Json:
    return model.model_dump(mode="json")


def _handler(fake: FakeQdrant) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    status, result = fake.answer(self.command, urlsplit(self.path).path, body)
                except Exception as error:
                    status, result = 400, f"{type(error).__name__}: {error}"
            answer = {"result": result, "status": "ok"} if status == 200 else {"status": {"error": result}}
            content = json.dumps(answer | {"time": 0.0}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            if status == 429:
                self.send_header("retry-after", fake.retry_after)
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self._serve()

        def do_PUT(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
