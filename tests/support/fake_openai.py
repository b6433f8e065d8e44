"""A scripted OpenAI-compatible server on loopback, for tests that speak HTTP with the real client.

Each chat request takes the next scripted reply; when the script is empty, the responder answers. Embeddings are
answered by a deterministic bag of words unless scripted. Example:

    with FakeOpenAI() as server:
        server.script([rate_limited(retry_after="2"), text("Hello there.")])
        chat = OpenAIChat(base_url=server.base_url, api_key="k")
"""

from __future__ import annotations

import itertools
import json
import math
import socket
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.support.openai_wire import (
    Json,
    Reply,
    call_deltas,
    chunk,
    completion,
    prompt_tokens,
    response_events,
    tokens,
    usage,
)

_ids = itertools.count(1)


@dataclass(frozen=True)
class RecordedRequest:
    """A request as it arrived: path below `/v1`, headers with keys in lower case, JSON body, time it came."""

    path: str
    headers: dict[str, str]
    body: Json
    at: float

    @property
    def prompt(self) -> str:
        """All the messages' text, one after the other."""
        return "\n".join(str(message.get("content", "")) for message in self.body.get("messages", []))


def text(content: str, *, finish_reason: str = "stop", wait: float = 0.0, token_wait: float = 0.0) -> Reply:
    """A plain answer, streamed word by word when the client asks for a stream."""
    return Reply(content, finish_reason=finish_reason, wait=wait, token_wait=token_wait)


def json_text(value: object) -> Reply:
    """An answer whose text is this value as JSON."""
    return Reply(json.dumps(value))


def tool_calls(*calls: tuple[str, Json | str], content: str = "", finish_reason: str = "tool_calls") -> Reply:
    """The model wants tools called, each given by its name and arguments, a dict or any text. Ids are made."""
    made = tuple(
        {"id": f"call-{next(_ids)}", "name": name, "arguments": given if isinstance(given, str) else json.dumps(given)}
        for name, given in calls
    )
    return Reply(content, finish_reason=finish_reason, calls=made)


def failure(status: int, message: str, *, code: str | None = None, headers: dict[str, str] | None = None) -> Reply:
    """An error in OpenAI's form."""
    error = {"message": message, "type": "error", "param": None, "code": code}
    return Reply(status=status, error=error, headers=headers or {})


def rate_limited(retry_after: str | None = None, *, retry_after_ms: str | None = None) -> Reply:
    """429, with Retry-After as given: seconds or an HTTP date."""
    headers = {"retry-after": retry_after, "retry-after-ms": retry_after_ms}
    sent = {name: value for name, value in headers.items() if value is not None}
    return failure(429, "Rate limit reached.", code="rate_limit_exceeded", headers=sent)


def server_error(status: int = 500) -> Reply:
    """The server fails by itself."""
    return failure(status, "The server had an error.")


def auth_error() -> Reply:
    """The key is wrong."""
    return failure(401, "Incorrect API key provided.", code="invalid_api_key")


def context_overflow() -> Reply:
    """The prompt is too long."""
    return failure(400, "This model's maximum context length is 128 tokens.", code="context_length_exceeded")


def quota_exceeded() -> Reply:
    """429 of the kind that waiting does not cure."""
    return failure(429, "You exceeded your current quota.", code="insufficient_quota")


def refusal(message: str = "I cannot help with that.") -> Reply:
    """The model declines."""
    return Reply(refusal=message)


def cut_stream(content: str, *, after: int, cut: str = "end") -> Reply:
    """A stream that stops after some tokens: cleanly (`end`) or with the connection (`reset`)."""
    return Reply(content, cut_after=after, cut=cut)


def stream_error(content: str, *, after: int, message: str = "Overloaded.") -> Reply:
    """A stream that carries an error object after some tokens."""
    return Reply(content, cut_after=after, stream_error={"message": message, "type": "server_error"})


def garbled_stream(content: str, *, garbage: str = '{"choices": [') -> Reply:
    """A stream that carries something that is no JSON."""
    return Reply(content, stream_garbage=garbage)


def embeddings(vectors: list[list[float]]) -> Reply:
    """Exactly these vectors."""
    items = [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(vectors)]
    return Reply(data={"object": "list", "data": items, "model": "fake", "usage": usage(1, 0)})


def bag_of_words(texts: list[str], dimension: int) -> Reply:
    """Vectors in which texts that share words are near to each other; the same in every run."""
    vectors: list[list[float]] = []
    for one in texts:
        vector = [1e-6] * dimension
        for word in one.lower().split():
            vector[zlib.crc32(word.strip(".,?!:;`*()").encode()) % dimension] += 1.0
        length = math.sqrt(sum(value * value for value in vector))
        vectors.append([value / length for value in vector])
    return embeddings(vectors)


def echo(request: RecordedRequest) -> Reply:
    """The default responder: repeats the last message."""
    messages = request.body.get("messages") or request.body.get("input") or [{"content": ""}]
    return text(f"You said: {messages[-1]['content']}")


class FakeOpenAI:
    """The server, as a context manager; requests from any number of threads, loops and processes.

    Args:
        responder: Answers chat requests that find no scripted reply.
        dimension: Numbers in each embedding that is not scripted.
        keep_alive: Let clients keep their connections. Not where their event loop ends before they are closed.
    """

    def __init__(
        self,
        responder: Callable[[RecordedRequest], Reply] = echo,
        *,
        dimension: int = 64,
        keep_alive: bool = True,
    ) -> None:
        self.responder = responder
        self.keep_alive = keep_alive
        self.dimension = dimension
        self.requests: list[RecordedRequest] = []
        self._scripts: dict[str, deque[Reply]] = {
            path: deque() for path in ("/chat/completions", "/responses", "/embeddings")
        }
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def base_url(self) -> str:
        """What to give to a client as its base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def env(self) -> dict[str, str]:
        """The settings that make a program use this server for chat and embeddings."""
        return {
            "OPENAI_API_KEY": "test-key",
            "OPENAI_BASE_URL": self.base_url,
            "EVERSTEP_EMBEDDING_DIMENSION": str(self.dimension),
        }

    def script(self, replies: Iterable[Reply], *, path: str = "/chat/completions") -> None:
        """Adds replies for the next requests to this path (`/chat/completions`, `/responses` or `/embeddings`)."""
        with self._lock:
            self._scripts[path].extend(replies)

    def requests_to(self, path: str) -> list[RecordedRequest]:
        """The requests that came to this path, in order."""
        return [request for request in self.requests if request.path == path]

    def reply_to(self, request: RecordedRequest) -> Reply:
        """Records a request and decides its reply."""
        with self._lock:
            self.requests.append(request)
            script = self._scripts.get(request.path)
            if script:
                return script.popleft()
        if request.path in ("/chat/completions", "/responses"):
            return self.responder(request)
        if request.path == "/embeddings":
            given = request.body["input"]
            texts = [given] if isinstance(given, str) else given
            return bag_of_words(texts, int(request.body.get("dimensions") or self.dimension))
        return failure(404, f"Unknown path {request.path}.", code="not_found")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    fake: FakeOpenAI

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.stopping = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what many tests are about, so nothing is printed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `requests`, not a log."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
        request = RecordedRequest(
            path=self.path.removeprefix("/v1"),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            at=time.time(),
        )
        reply = self.server.fake.reply_to(request)
        self._pause(reply.wait)
        if reply.error is not None:
            self._send_json(reply.status, {"error": reply.error}, reply.headers)
        elif reply.data is not None:
            self._send_json(reply.status, reply.data, reply.headers)
        elif request.path == "/responses":
            self._send_response(reply, body)
        elif body.get("stream"):
            self._send_stream(reply, body)
        else:
            self._send_json(reply.status, completion(reply, body), reply.headers)

    def end_headers(self) -> None:
        """Ends the headers, saying whether the connection stays."""
        if not self.server.fake.keep_alive:
            self.send_header("connection", "close")
        super().end_headers()

    def _pause(self, seconds: float) -> None:
        """Waits, but not beyond the end of the test."""
        if seconds:
            self.server.stopping.wait(seconds)

    def _send_json(self, status: int, value: Json, headers: dict[str, str]) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, header in {"content-type": "application/json", **headers}.items():
            self.send_header(name, header)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_response(self, reply: Reply, body: Json) -> None:
        self._begin_stream(reply)
        for event in response_events(reply, body):
            self._pause(reply.token_wait)
            self._frame(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        self.wfile.write(b"0\r\n\r\n")

    def _begin_stream(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _send_stream(self, reply: Reply, body: Json) -> None:
        self._begin_stream(reply)
        model = str(body.get("model"))
        self._event(chunk(model, {"role": "assistant", "content": ""}))
        key, whole = ("refusal", reply.refusal) if reply.refusal else ("content", reply.content)
        for number, token in enumerate(tokens(whole)):
            if number == reply.cut_after:
                break
            self._pause(reply.token_wait)
            self._event(chunk(model, {key: token}))
        if reply.stream_garbage:
            self._frame(f"data: {reply.stream_garbage}\n\n".encode())
        if reply.stream_error is not None:
            self._event({"error": reply.stream_error})
        elif reply.cut_after is None:
            for delta in call_deltas(reply):
                self._event(chunk(model, {"tool_calls": [delta]}))
            self._event(chunk(model, {}, reply.finish_reason))
            if (body.get("stream_options") or {}).get("include_usage"):
                used = usage(prompt_tokens(body), len(tokens(whole)))
                self._event({**chunk(model, {}), "choices": [], "usage": used})
            self._frame(b"data: [DONE]\n\n")
        elif reply.cut == "reset":
            # Linger 0 makes the close a reset, which the client sees as a broken connection.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, value: Json) -> None:
        self._frame(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _frame(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.flush()
