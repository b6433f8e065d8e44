"""Encryption of bytes: AES-256-GCM under keys derived from those of the ring.

One AES-GCM key is good for some billions of messages with random nonces, which a busy cluster writes in weeks. So each
process derives a key of its own from the ring's, by a random salt that goes with what it writes.
"""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from typing import Any

from everstep.errors import MissingExtraError, UnreadablePayloadError
from everstep.temporal.privacy.keys import KEY_BYTES, Keys

CIPHER = b"AES-256-GCM+HKDF-SHA256"
"""What is written beside the bytes: how they are encrypted."""

_VERSION = b"\x01"
_SALT, _NONCE = 16, 12
_HEAD = len(_VERSION) + _SALT + _NONCE
_INFO = b"everstep payload"
_SEALED_BY_ONE_KEY = 1 << 28


class Sealer:
    """Encrypts with the current key of a ring, decrypts with any. Safe to use from many threads.

    What is sealed is ``version, salt, nonce, ciphertext and tag``; the key's id is authenticated with it.

    Raises:
        MissingExtraError: the package `cryptography` is not installed.
    """

    def __init__(self, keys: Keys) -> None:
        _derived(bytes(KEY_BYTES), bytes(_SALT))  # says now, not with the first payload, that the package is missing
        self.keys = keys
        self._lock = threading.Lock()
        self._own: tuple[str, bytes, bytes] | None = None
        self._left = 0

    def seal(self, data: bytes) -> tuple[str, bytes]:
        """The id of the key, and the encrypted bytes."""
        key_id, key = self.keys.current()
        salt = self._salt(key_id, key)
        nonce = os.urandom(_NONCE)
        return key_id, _VERSION + salt + nonce + _derived(key, salt).encrypt(nonce, data, _about(key_id))

    def open(self, key_id: str, sealed: bytes) -> bytes:
        """The bytes that were sealed under this key's id.

        Raises:
            UnreadablePayloadError: the ring has no such key, or the bytes are not what was sealed.
        """
        key = self.keys.find(key_id)
        if sealed[:1] != _VERSION or len(sealed) < _HEAD:
            raise UnreadablePayloadError(
                f"A payload says that it is encrypted with key {key_id!r}, and is not in everstep's form. Read it with "
                "what has written it, or with a newer everstep."
            )
        salt, nonce = sealed[1 : 1 + _SALT], sealed[1 + _SALT : _HEAD]
        try:
            return _derived(key, salt).decrypt(nonce, sealed[_HEAD:], _about(key_id))
        except _invalid():
            raise UnreadablePayloadError(
                f"A payload that is encrypted with key {key_id!r} cannot be decrypted: it was changed, or the key ring "
                "has another key under this id than whoever has written it. Compare the rings; an id is never used "
                "again for a new key."
            ) from None

    def _salt(self, key_id: str, key: bytes) -> bytes:
        with self._lock:
            if self._own is None or self._own[:2] != (key_id, key) or self._left <= 0:
                self._own = key_id, key, os.urandom(_SALT)
                self._left = _SEALED_BY_ONE_KEY
            self._left -= 1
            return self._own[2]


def _about(key_id: str) -> bytes:
    return _INFO + _VERSION + key_id.encode()


@lru_cache(maxsize=4096)
def _derived(key: bytes, salt: bytes) -> Any:
    """The cipher of one process, which is known by its salt."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise MissingExtraError("privacy", "cryptography") from error
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, _INFO).derive(key))


@lru_cache(maxsize=1)
def _invalid() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag
