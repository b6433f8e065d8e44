"""JSON payloads written by ourselves: keys in their order, size known before they are sent, whatever the converter."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

PAYLOAD_LIMIT = 2_000_000
"""Bytes of one payload; stock servers refuse more than 2 MiB, and leave a run stuck on some of them."""

PACK_ABOVE = 100_000
"""Above how many bytes of JSON a run's snapshot is compressed; thousands of queued events are much alike."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder()
_PLAIN = Payload(metadata={"encoding": b"json/plain"})


def dump(value: Any) -> bytes:
    """Compact JSON, keys in their own order."""
    return _ENCODER.encode(value).encode()


def load(data: bytes) -> Any:
    """The inverse of `dump`."""
    return _DECODER.raw_decode(data.decode())[0]


def raw(value: Any, metadata: Mapping[str, bytes] | None = None) -> RawValue:
    """A value as a plain JSON payload."""
    return raw_bytes(dump(value), metadata)


def raw_bytes(data: bytes, metadata: Mapping[str, bytes] | None = None) -> RawValue:
    """JSON bytes as a plain JSON payload."""
    payload = Payload()
    payload.CopyFrom(_PLAIN)  # in half the time that the constructor takes for its metadata
    payload.data = data
    for key, text in (metadata or {}).items():
        payload.metadata[key] = text
    return RawValue(payload)


def pack(value: dict[str, Any]) -> dict[str, Any]:
    """A value as it is while it is small, else compressed: ``{"zlib": …}``."""
    data = dump(value)
    return value if len(data) <= PACK_ABOVE else {"zlib": base64.b64encode(zlib.compress(data)).decode()}


def unpack(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inverse of `pack`."""
    return json.loads(zlib.decompress(base64.b64decode(value["zlib"]))) if "zlib" in value else value
