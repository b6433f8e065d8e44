"""What the environment says of encryption, compression and storage of payloads, and the data converter that does so."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from temporalio.client import Client
from temporalio.converter import DataConverter, DefaultFailureConverter

from everstep.errors import SettingsError
from everstep.temporal.privacy.codec import PrivateCodec
from everstep.temporal.privacy.failures import PrivateFailureConverter
from everstep.temporal.privacy.files import STORAGE_SETTING
from everstep.temporal.privacy.keys import KEYS_SETTING, find_keys
from everstep.temporal.privacy.sealing import Sealer
from everstep.temporal.privacy.storage import STORED_ABOVE, external_storage, storage_drivers, stores

COMPRESS_SETTING, ABOVE_SETTING = "EVERSTEP_COMPRESS_ABOVE", "EVERSTEP_STORAGE_ABOVE"
COMPRESSED_ABOVE = 8_000
"""Bytes above which payloads are compressed where they are encrypted: then nobody reads them on the server anyway."""

_MOST_ABOVE = 1_000_000


@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """How payloads are written to the server; usually from `PrivacySettings.load()`.

    `keys` is where the key ring is, `storage` where large payloads go; see `find_keys` and `storage_drivers`. Payloads
    of more than `compress_above` bytes are compressed (None: none), those of more than `storage_above` stored outside.

    Example:
        converter = PrivacySettings.load().data_converter()
        client = await Client.connect("localhost:7233", data_converter=converter)
    """

    keys: str | None = None
    compress_above: int | None = None
    storage: str | None = None
    storage_above: int = STORED_ABOVE

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings; nothing is opened yet.

        Raises:
            SettingsError: a number is none.
        """
        env = os.environ if environment is None else environment
        keys = env.get(KEYS_SETTING, "").strip() or None
        storage = env.get(STORAGE_SETTING, "").strip() or None
        above = _bytes(env, ABOVE_SETTING, STORED_ABOVE)
        if above is None or above > _MOST_ABOVE:
            raise SettingsError(
                f"{ABOVE_SETTING} is {env[ABOVE_SETTING]!r}: give at most {_MOST_ABOVE} bytes, as the server takes no "
                f"payload of more than 2 MB. To store nothing outside, leave {STORAGE_SETTING} out."
            )
        return cls(keys, _bytes(env, COMPRESS_SETTING, COMPRESSED_ABOVE if keys else None), storage, above)

    def data_converter(self, base: DataConverter = DataConverter.default) -> DataConverter:
        """The data converter that does what the settings say; it is what clients and workers are connected with.

        What it reads may also be plain, compressed or encrypted with any key of the ring. Where nothing is set it
        writes as ever, and says of what it cannot read which setting is missing.

        Args:
            base: a converter of your own; a codec or a storage that it has are kept.

        Raises:
            SettingsError: key ring or storage cannot be used; names the setting and the remedy.
            MissingExtraError: the extra `privacy` or `s3` is not installed.
        """
        changed = base
        if base.payload_codec is None:
            keys = None if self.keys is None else find_keys(self.keys)
            codec = PrivateCodec(None if keys is None else Sealer(keys), self.compress_above)
            changed = replace(changed, payload_codec=codec)
            if codec.encrypts and base.failure_converter_class is DefaultFailureConverter:
                changed = replace(changed, failure_converter_class=PrivateFailureConverter)
        if base.external_storage is None:
            storage = external_storage(storage_drivers(self.storage or ""), self.storage_above)
            changed = replace(changed, external_storage=storage)
        return changed

    def describe(self) -> dict[str, str]:
        """What is set, in words, for people; ids of keys, never keys.

        Raises:
            SettingsError: the key ring cannot be read.
        """
        out: dict[str, str] = {}
        if self.keys is not None:
            ring = find_keys(self.keys).ring
            older = [key_id for key_id in ring.keys if key_id != ring.current]
            also = f", reads {', '.join(older)} too" if older else ""
            out["encryption"] = f"AES-256-GCM, key {ring.current}{also} ({self.keys})"
        if self.compress_above is not None:
            out["compression"] = f"above {self.compress_above} bytes"
        if self.storage is not None:
            out["storage"] = f"{self.storage}, above {self.storage_above} bytes"
        return out


def private_converter(base: DataConverter = DataConverter.default) -> DataConverter:
    """The data converter that the environment asks for; see `PrivacySettings.data_converter`."""
    return PrivacySettings.load().data_converter(base)


def require_privacy(client: Client) -> None:
    """See that a client, however it was made, does what the environment asks for.

    Raises:
        SettingsError: it would write in plain text, or store nothing, where that is set.
    """
    settings, converter = PrivacySettings.load(), client.data_converter
    lacking = KEYS_SETTING if settings.keys is not None and converter.payload_codec is None else None
    if settings.storage is not None and converter.external_storage is None:
        lacking = lacking or STORAGE_SETTING
    if lacking is not None:
        raise SettingsError(
            f"{lacking} is set, and this client was made without it. Connect by everstep.temporal.settings.connect(), "
            "or give Client.connect data_converter=everstep.temporal.privacy.private_converter()."
        )


def encrypts(client: Client) -> bool:
    """Whether a client writes with a key ring."""
    codec = client.data_converter.payload_codec
    return isinstance(codec, PrivateCodec) and codec.encrypts


def hides_contents(client: Client) -> bool:
    """Whether what a run holds is kept from whoever can read the server: then it is kept out of logs, too."""
    codec = client.data_converter.payload_codec
    return codec is not None and not (isinstance(codec, PrivateCodec) and not codec.encrypts)


def stores_large_payloads(client: Client) -> bool:
    """Whether payloads may be larger than the server takes."""
    return stores(client.data_converter.external_storage)


def _bytes(env: Mapping[str, str], name: str, default: int | None) -> int | None:
    text = env.get(name, "").strip()
    if not text:
        return default
    if text.lower() == "off":
        return None
    if not text.isdecimal():
        raise SettingsError(f"{name} is {text!r}: give a number of bytes, such as {STORED_ABOVE}")
    return int(text)
