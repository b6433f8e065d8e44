"""Where large payloads go: read from one setting, as the SDK's external storage.

Only what the codec made of a payload is stored, so it is encrypted there too. Where no storage is set, or another kind
than that of a reference, reading says which setting to mend.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ExternalStorage,
    StorageDriver,
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverSelectContext,
    StorageDriverStoreContext,
)

from everstep.errors import PayloadStorageError, SettingsError
from everstep.temporal.privacy.files import FILES, STORAGE_SETTING, FileDriver
from everstep.temporal.privacy.s3 import S3, Bucket, S3Driver

STORED_ABOVE = 64_000
"""Bytes of a payload above which it is stored outside of the server, unless the setting says otherwise."""

LARGEST_STORED = 20_000_000
"""Bytes of the largest payload where there is storage: workflow code has two seconds for all that it does at a time."""

_KINDS = {FILES: "a directory", S3: "a bucket"}


def storage_drivers(places: str) -> list[StorageDriver]:
    """The drivers that the setting names, the one to write with first.

    Args:
        places: a directory (``/path``, ``file:///path``) or a bucket (``s3://bucket/prefix?endpoint=…&region=…``). A
            second one, behind a blank, is only read: for a move from one to the other.

    Raises:
        SettingsError: one is neither, or both are of one kind.
        MissingExtraError: a bucket needs the extra `s3`.
    """
    drivers = [_driver(place) for place in places.split()]
    if len({driver.name() for driver in drivers}) < len(drivers):
        raise SettingsError(
            f"{STORAGE_SETTING}: {places!r} has two of one kind. Name one directory or one bucket, or one of each: "
            "the first is written, the second is read."
        )
    return drivers


def external_storage(drivers: Sequence[StorageDriver], above: int) -> ExternalStorage:
    """The SDK's external storage: the first driver writes, each reads what it has written, others say what lacks."""
    absent = [AbsentDriver(name) for name in _KINDS if all(driver.name() != name for driver in drivers)]
    writes = drivers[0] if drivers else None

    def select(context: StorageDriverSelectContext, _: Payload) -> StorageDriver | None:
        # A heartbeat's details stay with the server: a step whose details cannot be had is given up for good.
        return None if isinstance(context.target, StorageDriverActivityInfo) else writes

    return ExternalStorage([*drivers, *absent], driver_selector=select, payload_size_threshold=above)


def stores(storage: ExternalStorage | None) -> bool:
    """Whether large payloads are stored outside of the server."""
    return storage is not None and not all(isinstance(driver, AbsentDriver) for driver in storage.drivers)


class AbsentDriver(StorageDriver):
    """Stands for a kind of storage that is not set here: reading from it says so."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        """See the base class."""
        return self._name

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """Is never called."""
        raise NotImplementedError

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Says which setting is missing."""
        raise PayloadStorageError(
            f"A payload is stored outside of the server, in {_KINDS[self._name]}, and {STORAGE_SETTING} names none "
            f"here. Set {STORAGE_SETTING} as for the workers of the run."
        )


def _driver(place: str) -> StorageDriver:
    scheme = place.partition("://")[0] if "://" in place else ""
    if scheme == "s3":
        return S3Driver(Bucket.parse(place), LARGEST_STORED)
    if scheme == "file":
        parts = urlsplit(place)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise SettingsError(f"{STORAGE_SETTING}: {place!r} names no path here: write file:///path")
        return FileDriver(Path(unquote(parts.path)))
    if scheme:
        raise SettingsError(
            f"{STORAGE_SETTING}: {place!r} is neither a directory nor a bucket: write /path, file:///path or "
            "s3://bucket/prefix?endpoint=…&region=…"
        )
    return FileDriver(Path(place).expanduser())
