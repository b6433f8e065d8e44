"""The codec of all payloads: compressed above a size, then encrypted; and back, also what came plain.

Without keys it encrypts nothing, and says of an encrypted payload which setting is missing.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from everstep.errors import UnreadablePayloadError
from everstep.temporal.privacy.keys import KEYS_SETTING
from everstep.temporal.privacy.sealing import CIPHER, Sealer

ENCRYPTED, COMPRESSED = b"binary/encrypted", b"binary/zlib"
"""What a payload's `encoding` says; the second is as other SDKs of Temporal write and read it."""

KEY_ID = "encryption-key-id"
THREAD_ABOVE = 100_000
"""Above how many bytes the work is done in a thread, so that a worker's loop goes on."""

LARGEST = 256_000_000
"""How many bytes a compressed payload may grow to: more is no payload, but an attack on memory."""

_LEVEL = 3


class PrivateCodec(PayloadCodec):
    """Compresses and encrypts payloads.

    Args:
        sealer: encrypts; None: nothing is encrypted, and what is cannot be read.
        compress_above: payloads of more bytes are compressed, where that makes them smaller; None: none are.
        largest: how many bytes a compressed payload may grow to.

    Example: `DataConverter(payload_codec=PrivateCodec(Sealer(find_keys("keys.json"))))`
    """

    def __init__(self, sealer: Sealer | None, compress_above: int | None = None, *, largest: int = LARGEST) -> None:
        self._sealer = sealer
        self._compress_above = compress_above
        self._largest = largest

    @property
    def encrypts(self) -> bool:
        """Whether what it writes is encrypted."""
        return self._sealer is not None

    def bounded(self, largest: int) -> PrivateCodec:
        """The same codec with another bound of what compressed payloads may grow to, in bytes."""
        return PrivateCodec(self._sealer, self._compress_above, largest=min(largest, self._largest))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See the base class."""
        if self._sealer is None and self._compress_above is None:
            return list(payloads)
        return await _worked(self._encoded, payloads, thread=self._sealer is not None and self._sealer.keys.due())

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See the base class.

        Raises:
            UnreadablePayloadError: a payload is encrypted with a key that is not here, or was changed.
        """
        ours = [payload for payload in payloads if payload.metadata.get("encoding") in (ENCRYPTED, COMPRESSED)]
        if not ours:
            return list(payloads)
        return await _worked(self._decoded, payloads, thread=any(map(self._asks_for_keys, ours)))

    def _asks_for_keys(self, payload: Payload) -> bool:
        """Whether the ring is to be read again for it, which may mean a call over the network."""
        return self._sealer is not None and not self._sealer.keys.knows(_key_id(payload))

    def _encoded(self, payload: Payload) -> Payload:
        if self._compress_above is not None and len(payload.data) > self._compress_above:
            data = payload.SerializeToString()
            packed = zlib.compress(data, _LEVEL)
            if len(packed) < len(data):
                payload = Payload(metadata={"encoding": COMPRESSED}, data=packed)
        if self._sealer is None:
            return payload
        key_id, sealed = self._sealer.seal(payload.SerializeToString())
        metadata = {"encoding": ENCRYPTED, "encryption-cipher": CIPHER, KEY_ID: key_id.encode()}
        return Payload(metadata=metadata, data=sealed)

    def _decoded(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") == ENCRYPTED:
            payload = _parsed(self._opened(payload))
        if payload.metadata.get("encoding") == COMPRESSED:
            payload = _parsed(_unpacked(payload.data, self._largest))
        return payload

    def _opened(self, payload: Payload) -> bytes:
        key_id = _key_id(payload)
        if self._sealer is None:
            raise UnreadablePayloadError(
                f"A payload is encrypted with key {key_id!r}, and {KEYS_SETTING} is not set here. Set it to the key "
                "ring that has this key, as for the workers of the run."
            )
        return self._sealer.open(key_id, payload.data)


async def _worked(work: Callable[[Payload], Payload], payloads: Sequence[Payload], *, thread: bool) -> list[Payload]:
    def all_of_them() -> list[Payload]:
        return [work(payload) for payload in payloads]

    if thread or sum(len(payload.data) for payload in payloads) > THREAD_ABOVE:
        return await asyncio.to_thread(all_of_them)
    return all_of_them()


def _key_id(payload: Payload) -> str:
    return payload.metadata.get(KEY_ID, b"").decode(errors="replace")


def _parsed(data: bytes) -> Payload:
    try:
        return Payload.FromString(data)
    except DecodeError:
        raise UnreadablePayloadError("A payload was unpacked, and what was in it is no payload.") from None


def _unpacked(data: bytes, largest: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(data, largest)
    except zlib.error as error:
        raise UnreadablePayloadError(f"A compressed payload was cut or changed: {error}.") from None
    if unpacker.unconsumed_tail:
        raise UnreadablePayloadError(f"A compressed payload would grow to more than {largest} bytes; it is left alone.")
    if not unpacker.eof:
        raise UnreadablePayloadError("A compressed payload was cut or changed: its end is missing.")
    return found
