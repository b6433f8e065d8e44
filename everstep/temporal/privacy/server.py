"""The codec server: decodes payloads for those who look at runs in the Temporal UI or with the `temporal` command.

Whoever has its token, and can read the Temporal server, can read the contents of runs. It logs none of them.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.sdk.v1.external_storage_pb2 import ExternalStorageReference
from temporalio.common import RawValue
from temporalio.converter import DataConverter

from everstep.errors import EverstepError, MissingExtraError, SettingsError
from everstep.temporal.privacy.codec import PrivateCodec

_log = logging.getLogger("everstep.codec")

TOKEN_SETTING, ORIGINS_SETTING = "EVERSTEP_CODEC_TOKEN", "EVERSTEP_CODEC_ORIGINS"
LARGEST_REQUEST = 64_000_000
"""Bytes of the largest request that is read."""

LARGEST_ANSWER = 32_000_000
"""Bytes of payloads in an answer, above which no more are decoded: compressed ones may grow a thousandfold. There is
room for the largest that storage takes; some six times as much memory is used."""

_HEADERS = ("authorization", "authorization-extras", "content-type", "x-namespace")
_REFERENCE = ExternalStorageReference.DESCRIPTOR.full_name.encode()
_Work = Callable[[list[Payload], Mapping[str, str]], Awaitable[list[Payload]]]


class _RefusedError(Exception):
    """A request is none; `status` is what HTTP calls it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def codec_app(
    converter: DataConverter, *, tokens: Sequence[str], origins: Sequence[str], largest_answer: int = LARGEST_ANSWER
) -> Any:
    """The server as an ASGI application.

    ``POST /decode`` and ``/encode`` take and give ``{"payloads": […]}``, also below the name of a namespace. What is
    stored elsewhere is got for ``/decode``, but with ``?preserveStorageRefs=true``, as the UI asks: that gets it by
    ``/download`` when somebody wants to see it. What cannot be decoded comes back as it was, so that the rest of a
    history is readable. ``GET /livez`` says that the server is there.

    Args:
        converter: with the codec and the storage of the workers.
        tokens: whoever sends one of them as ``Authorization: Bearer …`` is served; none: everybody is.
        origins: where web pages come from that may ask, such as ``http://localhost:8233``; no others are served.
        largest_answer: bytes of payloads in an answer, above which no more are decoded.

    Raises:
        MissingExtraError: the extra `codec-server` is not installed.
        SettingsError: an origin is none.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.cors import CORSMiddleware
        from starlette.requests import Request
        from starlette.responses import JSONResponse, PlainTextResponse
        from starlette.routing import Route
    except ImportError as error:
        raise MissingExtraError("codec-server", "starlette") from error
    _check_origins(origins)

    def answering(work: _Work) -> Callable[[Request], Awaitable[Any]]:
        async def answer(request: Request) -> Any:
            try:
                _require_origin(request.headers.get("origin"), origins)
                _require_token(request.headers.get("authorization", ""), tokens)
                done = await work(_parsed(await _read(request.stream())), request.query_params)
            except _RefusedError as error:
                headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
                return PlainTextResponse(f"{error}\n", status_code=error.status, headers=headers)
            except EverstepError as error:
                _log.warning("%s", error)
                return PlainTextResponse(f"{error}\n", status_code=502)
            return JSONResponse(MessageToDict(Payloads(payloads=done)) if done else {"payloads": []})

        return answer

    async def alive(_: Request) -> Any:
        return PlainTextResponse("ok\n")

    codec = _Codec(converter, largest_answer)
    routes = [Route("/livez", alive, methods=["GET"])]
    for name, work in {"decode": codec.decode, "download": codec.download, "encode": codec.encode}.items():
        for path in (f"/{name}", f"/{{namespace}}/{name}"):
            routes.append(Route(path, answering(work), methods=["POST"]))
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["POST"],
        allow_headers=_HEADERS,
        allow_credentials=True,  # for a proxy in front that knows its users by cookies; origins are always named
        allow_private_network=True,  # a UI elsewhere may ask a codec server on this machine
    )
    return Starlette(routes=routes, middleware=[cors])


class _Codec:
    def __init__(self, converter: DataConverter, largest: int) -> None:
        if isinstance(converter.payload_codec, PrivateCodec):
            converter = replace(converter, payload_codec=converter.payload_codec.bounded(largest))
        self._converter = converter
        self._largest = largest

    async def decode(self, payloads: list[Payload], query: Mapping[str, str]) -> list[Payload]:
        preserve = query.get("preserveStorageRefs", "").lower() == "true"
        left, done = self._largest, list[Payload]()
        for one in payloads:
            kept = left <= 0 or (preserve and _is_reference(one))
            done.append(one if kept else await self._decoded(one))
            left -= len(done[-1].data)
        if left <= 0:
            _log.warning("payloads are given back as they are: those before make more than %d bytes", self._largest)
        return done

    async def download(self, payloads: list[Payload], _: Mapping[str, str]) -> list[Payload]:
        if not all(map(_is_reference, payloads)):
            raise _RefusedError(400, "all payloads must be storage references")
        left, done = self._largest, list[Payload]()
        for one in payloads:
            if left <= 0:
                raise _RefusedError(413, f"they make more than {self._largest} bytes; ask for fewer at a time")
            done.append(await self._stored(one))
            left -= len(done[-1].data)
        return done

    async def encode(self, payloads: list[Payload], _: Mapping[str, str]) -> list[Payload]:
        return await self._converter.encode([RawValue(payload) for payload in payloads]) if payloads else []

    async def _stored(self, payload: Payload) -> Payload:
        try:
            return await self._value(payload)
        except EverstepError:
            raise
        except Exception as error:  # the SDK's own, about references that are none, or of storage that is not ours
            _log.warning("a stored payload cannot be got: %s", type(error).__name__)
            text = "a reference is none of everstep's storage, or broken; look at what the run's workers store with"
            raise _RefusedError(502, text) from None

    async def _decoded(self, payload: Payload) -> Payload:
        try:
            return await self._value(payload)
        except Exception as error:
            why = str(error) if isinstance(error, EverstepError) else type(error).__name__
            _log.warning("a payload is given back as it is: %s", why)
            return payload

    async def _value(self, payload: Payload) -> Payload:
        values: list[RawValue] = await self._converter.decode([payload], [RawValue])
        return values[0].payload


def _is_reference(payload: Payload) -> bool:
    return payload.metadata.get("messageType") == _REFERENCE


def _require_origin(given: str | None, origins: Sequence[str]) -> None:
    """A browser names the page that asks; one whose host's name was pointed at this machine asks as if it were ours."""
    if given is not None and given not in origins:
        raise _RefusedError(403, f"pages of {given} may not ask: name them by --origin or {ORIGINS_SETTING}")


def _require_token(header: str, tokens: Sequence[str]) -> None:
    scheme, _, given = header.partition(" ")
    right = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
    if tokens and not (scheme.lower() == "bearer" and any(right)):
        raise _RefusedError(401, "the token is missing or wrong")


async def _read(stream: Any) -> bytes:
    body = bytearray()
    async for part in stream:
        body += part
        if len(body) > LARGEST_REQUEST:
            raise _RefusedError(413, f"more than {LARGEST_REQUEST} bytes")
    return bytes(body)


def _parsed(body: bytes) -> list[Payload]:
    try:
        data: Any = json.loads(body)
        if isinstance(data, dict):
            return list(ParseDict(cast("dict[str, Any]", data), Payloads()).payloads)
    except (ParseError, ValueError, RecursionError):
        pass
    raise _RefusedError(400, 'send {"payloads": […]}, as Temporal writes them')


def _check_origins(origins: Sequence[str]) -> None:
    for origin in origins:
        if not origin.startswith(("http://", "https://")) or origin.count("/") > 2:
            raise SettingsError(
                f"{ORIGINS_SETTING}: {origin!r} is no origin: write scheme, host and port only, as in "
                "http://localhost:8233"
            )
