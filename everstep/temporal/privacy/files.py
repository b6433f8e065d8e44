"""Large payloads as files of a directory that workers and starters share, such as a network volume.

A file is named after its contents, stands under the run that it belongs to, and is complete before the server hears of
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)

from everstep.errors import PayloadStorageError

STORAGE_SETTING = "EVERSTEP_STORAGE"
FILES = "everstep.files"
"""The driver's name; it stands in histories."""

_PLACE = re.compile(r"[\w.%-]+/[\w.%-]+/[0-9a-f]{64}")
_LONGEST_NAME = 200


class FileDriver(StorageDriver):
    """Keeps payloads as files: ``namespace/run/hash`` under a directory.

    Args:
        directory: made when missing; everybody who reads the runs needs it, at whichever path.

    Raises:
        PayloadStorageError: by its methods, where a file cannot be written or read.
    """

    def __init__(self, directory: Path) -> None:
        self._root = directory

    def name(self) -> str:
        """See the base class."""
        return FILES

    def type(self) -> str:
        """See the base class."""
        return FILES

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """See the base class."""
        folder = _folder(context)
        return await asyncio.to_thread(lambda: [self._write(folder, payload) for payload in payloads])

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """See the base class."""
        return await asyncio.to_thread(lambda: [self._read(claim) for claim in claims])

    def _write(self, folder: str, payload: Payload) -> StorageDriverClaim:
        data = payload.SerializeToString()
        place = f"{folder}/{hashlib.sha256(data).hexdigest()}"
        path = self._root / place
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_whole(path, data)
        except OSError as error:
            raise PayloadStorageError(
                f"A payload of {len(data)} bytes cannot be stored in {self._root} ({STORAGE_SETTING}): "
                f"{error.strerror or error}. Make the directory writable for this process, or name another."
            ) from None
        return StorageDriverClaim({"path": place})

    def _read(self, claim: StorageDriverClaim) -> Payload:
        place = claim.claim_data.get("path", "")
        # A reference comes from the server, where others may write: it must not lead out of the directory.
        if not _PLACE.fullmatch(place) or any(part in (".", "..") for part in place.split("/")):
            raise PayloadStorageError(f"A stored payload is said to be at {place!r}, which is no place of everstep's.")
        path = self._root / place
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise PayloadStorageError(
                f"The stored payload {place} is not in {self._root} ({STORAGE_SETTING}). Set {STORAGE_SETTING} to the "
                "directory that the run's workers have; if it was removed there, take it from a backup."
            ) from None
        except OSError as error:
            raise PayloadStorageError(
                f"The stored payload {place} cannot be read from {self._root} ({STORAGE_SETTING}): "
                f"{error.strerror or error}. Mount the directory that the run's workers have, readable here."
            ) from None
        if hashlib.sha256(data).hexdigest() != path.name:
            raise PayloadStorageError(
                f"The stored payload {path} is not what was written: it was cut or changed. Take it from a backup."
            )
        return Payload.FromString(data)


def _folder(context: StorageDriverStoreContext) -> str:
    target = context.target
    run = target.id if isinstance(target, StorageDriverWorkflowInfo) else None
    return f"{_named(target.namespace if target else None)}/{_named(run)}"


def _named(text: str | None) -> str:
    """A name of ours as a name of a folder."""
    if not text:
        return "_"
    name = quote(text, safe="").replace("~", "%7E")
    if name in (".", ".."):
        return name.replace(".", "%2E")
    return name if len(name) <= _LONGEST_NAME else hashlib.sha256(text.encode()).hexdigest()


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there as a whole or not at all, also after a power cut."""
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
