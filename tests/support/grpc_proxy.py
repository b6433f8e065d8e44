"""A proxy before a Temporal server: it ends TLS, may ask for client certificates and an API key, and can refuse calls.

It stands in for what is in front of a production server. Calls are passed on as bytes, whatever they are.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from tests.support.certificates import Signed


class GrpcProxy:
    """Listens on a free port of loopback while it is entered.

    Args:
        server: the address of the Temporal server.
        tls: what it shows to clients; None for plain text.
        clients: an authority's file: clients must show a certificate that it has signed.
    """

    def __init__(self, server: str, tls: Signed | None = None, clients: Path | None = None) -> None:
        self._server = server
        self._tls = tls
        self._clients = clients
        self.api_key: str | None = None
        """What calls must carry as a bearer token; None where any may come."""
        self.refused: dict[str, grpc.StatusCode] = {}
        """What is answered, by the name of the method, instead of passing the call on."""
        self.delays: dict[str, float] = {}
        """How long, in seconds, calls are on their way, by the name of the method."""
        self.lost: dict[str, grpc.StatusCode] = {}
        """What is answered, by the name of the method, after passing the call on: the sender cannot know that."""
        self.seen: set[str | None] = set()
        """The `authorization` headers of all calls."""
        self.address = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with grpc.aio.insecure_channel(self._server) as channel:
            server = grpc.aio.server()
            server.add_generic_rpc_handlers([_Everything(self, channel)])
            port = (
                server.add_insecure_port("127.0.0.1:0")
                if self._tls is None
                else server.add_secure_port("127.0.0.1:0", self._credentials(self._tls))
            )
            self.address = f"localhost:{port}"
            await server.start()
            self._ready.set()
            await self._stop.wait()
            await server.stop(0)

    def _credentials(self, tls: Signed) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials(
            [(tls.key.read_bytes(), tls.certificate.read_bytes())],
            root_certificates=None if self._clients is None else self._clients.read_bytes(),
            require_client_auth=self._clients is not None,
        )


class _Everything(grpc.GenericRpcHandler):
    def __init__(self, proxy: GrpcProxy, channel: grpc.aio.Channel) -> None:
        self._proxy = proxy
        self._channel = channel

    def service(self, handler_call_details: Any) -> Any:
        method: str = handler_call_details.method
        pass_on: Callable[..., Awaitable[bytes]] = self._channel.unary_unary(method)

        async def answer(request: bytes, context: Any) -> bytes:
            metadata = {key: value for key, value in context.invocation_metadata() if not key.startswith("grpc-")}
            authorization = metadata.get("authorization")
            self._proxy.seen.add(authorization)
            if self._proxy.api_key is not None and authorization != f"Bearer {self._proxy.api_key}":
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request unauthorized.")
            name = method.rpartition("/")[2]
            await asyncio.sleep(self._proxy.delays.get(name, 0))
            code = self._proxy.refused.get(name)
            if code is not None:
                await context.abort(code, "refused by the test")
            passed = [(key, value) for key, value in metadata.items() if key not in ("user-agent", "authorization")]
            try:
                answered = await pass_on(request, metadata=passed, timeout=context.time_remaining())
            except grpc.aio.AioRpcError as error:
                context.set_trailing_metadata(tuple(error.trailing_metadata() or ()))
                await context.abort(error.code(), error.details() or "")
                raise
            if name in self._proxy.lost:
                await context.abort(self._proxy.lost[name], "lost by the test")
            return answered

        return grpc.unary_unary_rpc_method_handler(answer)
