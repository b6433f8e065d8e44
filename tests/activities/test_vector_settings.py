"""Which vector store the environment names, and how a server that refuses is told of."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from activities.errors import VectorStoreError, VectorStoreUnavailable
from activities.vectors import vector_store_from_env


async def test_no_server_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """QDRANT_URL is used when set; nothing listening there is named, and may be retried."""
    monkeypatch.setenv("QDRANT_URL", "http://127.0.0.1:9")
    store = vector_store_from_env("Some/Model v1")
    assert store.describe() == "Qdrant at http://127.0.0.1:9, collection everstep-some-model-v1"
    with pytest.raises(VectorStoreUnavailable, match=r"127\.0\.0\.1:9 does not answer") as caught:
        await store.ensure(4)
    assert caught.value.retryable
    await store.close()


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, VectorStoreError, "QDRANT_API_KEY"),
        (503, VectorStoreUnavailable, "503"),
        (429, VectorStoreUnavailable, "too many"),
        (400, VectorStoreError, "bad wish"),
    ],
)
async def test_a_server_that_refuses(
    monkeypatch: pytest.MonkeyPatch, status: int, error: type[VectorStoreError], words: str
) -> None:
    """Refusals over HTTP are told apart, the key is sent, and Retry-After is kept."""
    keys: list[str | None] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers["api-key"])
            body = json.dumps({"status": {"error": "bad wish"}}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("retry-after", "3")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        monkeypatch.setenv("QDRANT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("QDRANT_API_KEY", "secret")
        store = vector_store_from_env("m")
        with pytest.raises(error, match=words) as caught:
            await store.ensure(4)
        await store.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert keys == ["secret"]
    assert caught.value.retry_after == (3.0 if status == 429 else None)


async def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without QDRANT_URL the store is a folder, one for each embedder."""
    monkeypatch.delenv("QDRANT_URL", raising=False)
    monkeypatch.setenv("EVERSTEP_VECTORS", str(tmp_path))
    store = vector_store_from_env("Model-A")
    await store.ensure(4)
    assert (tmp_path / "everstep-model-a" / "layout.json").exists()
    assert str(tmp_path) in store.describe()
    await store.close()
