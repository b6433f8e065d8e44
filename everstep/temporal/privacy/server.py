"""The codec server: decodes payloads for those who look at runs in the Temporal UI or with the `temporal` command.

Whoever has its token, and can read the Temporal server, can read the contents of runs. It logs none of them.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.common import RawValue
from temporalio.converter import DataConverter

from everstep.errors import EverstepError, MissingExtraError, SettingsError

_log = logging.getLogger("everstep.codec")

TOKEN_SETTING, ORIGINS_SETTING = "EVERSTEP_CODEC_TOKEN", "EVERSTEP_CODEC_ORIGINS"
LARGEST_REQUEST = 64_000_000
"""Bytes of the largest request that is read."""

_HEADERS = ("authorization", "authorization-extras", "content-type", "x-namespace")


def codec_app(converter: DataConverter, *, tokens: Sequence[str], origins: Sequence[str]) -> Any:
    """The server as an ASGI application.

    ``POST /decode`` and ``/encode`` take and give ``{"payloads": […]}``, also below the name of a namespace; ``GET
    /livez`` says that it is there. What cannot be decoded comes back as it was, so that the rest of a history is
    readable.

    Args:
        converter: with the codec and the storage of the workers.
        tokens: whoever sends one of them as ``Authorization: Bearer …`` is served; none: everybody is.
        origins: where web pages come from that may ask, such as ``http://localhost:8233``.

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

    def answering(work: Callable[[list[Payload]], Awaitable[list[Payload]]]) -> Callable[[Request], Awaitable[Any]]:
        async def answer(request: Request) -> Any:
            if not _permitted(request.headers.get("authorization", ""), tokens):
                headers = {"WWW-Authenticate": "Bearer"}
                return PlainTextResponse("the token is missing or wrong\n", status_code=401, headers=headers)
            body = await _read(request.stream())
            if body is None:
                return PlainTextResponse(f"more than {LARGEST_REQUEST} bytes\n", status_code=413)
            payloads = _parsed(body)
            if payloads is None:
                return PlainTextResponse('send {"payloads": […]}, as Temporal writes them\n', status_code=400)
            try:
                done = await work(payloads)
            except EverstepError as error:
                _log.warning("%s", error)
                return PlainTextResponse(f"{error}\n", status_code=502)
            return JSONResponse(MessageToDict(Payloads(payloads=done)) if done else {"payloads": []})

        return answer

    async def alive(_: Request) -> Any:
        return PlainTextResponse("ok\n")

    decode, encode = (
        answering(lambda payloads: _decoded(converter, payloads)),
        answering(lambda payloads: _encoded(converter, payloads)),
    )
    routes = [Route("/livez", alive, methods=["GET"])]
    for prefix in ("", "/{namespace}"):
        routes += [Route(f"{prefix}/decode", decode, methods=["POST"])]
        routes += [Route(f"{prefix}/encode", encode, methods=["POST"])]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["POST"],
        allow_headers=_HEADERS,
        allow_private_network=True,  # a UI elsewhere may ask a codec server on this machine
    )
    return Starlette(routes=routes, middleware=[cors])


def _parsed(body: bytes) -> list[Payload] | None:
    try:
        data: Any = json.loads(body)
        if not isinstance(data, dict):
            return None
        return list(ParseDict(cast("dict[str, Any]", data), Payloads()).payloads)
    except (ParseError, ValueError):
        return None


async def _decoded(converter: DataConverter, payloads: list[Payload]) -> list[Payload]:
    out: list[Payload] = []
    for payload in payloads:
        try:
            values: list[RawValue] = await converter.decode([payload], [RawValue])
            out.append(values[0].payload)
        except Exception as error:
            why = str(error) if isinstance(error, EverstepError) else type(error).__name__
            _log.warning("a payload is given back as it is: %s", why)
            out.append(payload)
    return out


async def _encoded(converter: DataConverter, payloads: list[Payload]) -> list[Payload]:
    return await converter.encode([RawValue(payload) for payload in payloads]) if payloads else []


def _permitted(header: str, tokens: Sequence[str]) -> bool:
    scheme, _, given = header.partition(" ")
    right = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
    return not tokens or (scheme.lower() == "bearer" and any(right))


async def _read(stream: Any) -> bytes | None:
    body = bytearray()
    async for part in stream:
        body += part
        if len(body) > LARGEST_REQUEST:
            return None
    return bytes(body)


def _check_origins(origins: Sequence[str]) -> None:
    for origin in origins:
        if not origin.startswith(("http://", "https://")) or origin.count("/") > 2:
            raise SettingsError(
                f"{ORIGINS_SETTING}: {origin!r} is no origin: write scheme, host and port only, as in "
                "http://localhost:8233"
            )
