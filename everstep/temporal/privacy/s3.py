"""Large payloads in a bucket of S3, or of what speaks its protocol, by the SDK's own S3 driver.

The driver's client is made of `obstore`: credentials come from the environment, from a role, or from the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from temporalio.api.common.v1 import Payload
from temporalio.contrib.aws.s3driver import S3StorageDriver, S3StorageDriverClient
from temporalio.converter import (
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from everstep.errors import MissingExtraError, PayloadStorageError, SettingsError
from everstep.temporal.privacy.files import STORAGE_SETTING

S3 = "aws.s3driver"
"""The driver's name, the SDK's default; it stands in histories."""

_OPTIONS = ("endpoint", "region")
_TRIES = 4
_CONNECT, _ANSWER, _ALL_TRIES = timedelta(seconds=3), timedelta(seconds=20), timedelta(seconds=8)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where objects are: ``s3://bucket/prefix?endpoint=http://…&region=…``; without an endpoint, at AWS."""

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None

    @classmethod
    def parse(cls, url: str) -> Bucket:
        """Read the URL.

        Raises:
            SettingsError: it names no bucket, or has options that there are not.
        """
        try:
            parts = urlsplit(url)
            options = parse_qs(parts.query, strict_parsing=bool(parts.query))
        except ValueError as error:
            raise SettingsError(f"{STORAGE_SETTING}: {url!r} is no URL: {error}") from None
        if not parts.netloc:
            raise SettingsError(f"{STORAGE_SETTING}: {url!r} names no bucket: write s3://bucket/prefix")
        unknown = [name for name in options if name not in _OPTIONS]
        if unknown:
            raise SettingsError(
                f"{STORAGE_SETTING}: {url!r} has the option {unknown[0]!r}; there are {', '.join(_OPTIONS)}. "
                "Credentials are set by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by a role."
            )
        given = {name: values[-1] for name, values in options.items()}
        return cls(parts.netloc, parts.path.strip("/"), given.get("endpoint"), given.get("region"))

    def __str__(self) -> str:
        at = f" at {self.endpoint}" if self.endpoint else ""
        return f"s3://{self.name}{'/' if self.prefix else ''}{self.prefix}{at}"


class BucketClient(S3StorageDriverClient):
    """Puts and gets objects of one bucket, under its prefix.

    References keep the bucket's name as it was when they were written. It is not looked at: what was copied to another
    bucket is read from there, and no reference leads anywhere else.

    Raises:
        MissingExtraError: the package `obstore` is not installed.
    """

    def __init__(self, bucket: Bucket) -> None:
        try:
            from obstore.store import S3Store
        except ImportError as error:
            raise MissingExtraError("s3", "obstore") from error
        options: dict[str, Any] = {}
        if bucket.endpoint is not None:
            options["endpoint"] = bucket.endpoint
        if bucket.region is not None:
            options["region"] = bucket.region
        self._bucket = bucket
        self._store = S3Store(
            bucket.name,
            prefix=bucket.prefix or None,
            client_options={
                "allow_http": (bucket.endpoint or "").startswith("http://"),
                "connect_timeout": _CONNECT,
                "timeout": _ANSWER,
            },
            retry_config={"max_retries": _TRIES - 1, "retry_timeout": _ALL_TRIES},
            **options,
        )

    async def put_object(self, *, bucket: str, key: str, data: bytes) -> None:
        """See the base class."""
        await self._store.put_async(_checked(key), data)

    async def object_exists(self, *, bucket: str, key: str) -> bool:
        """See the base class."""
        try:
            await self._store.head_async(_checked(key))
        except FileNotFoundError:
            return False
        return True

    async def get_object(self, *, bucket: str, key: str) -> bytes:
        """See the base class."""
        found = await self._store.get_async(_checked(key))
        return bytes(await found.bytes_async())

    def describe(self) -> Mapping[str, str]:
        """See the base class."""
        return {"storage": str(self._bucket)}


class S3Driver(S3StorageDriver):
    """The SDK's driver, with errors that tell what to do.

    Args:
        bucket: where the objects are.
        largest: in bytes; payloads above are refused.
    """

    def __init__(self, bucket: Bucket, largest: int) -> None:
        super().__init__(BucketClient(bucket), bucket.name, driver_name=S3, max_payload_size=largest)
        self._place = bucket

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """See the base class."""
        try:
            return await super().store(context, payloads)
        except (RuntimeError, ValueError) as error:
            raise PayloadStorageError(
                f"A payload cannot be stored in {self._place} ({STORAGE_SETTING}): {_why(error)}. Check that it "
                "answers, that the bucket is there, and that the credentials (AWS_ACCESS_KEY_ID, … or a role) may put "
                "and list objects."
            ) from None

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """See the base class."""
        try:
            return await super().retrieve(context, claims)
        except (RuntimeError, ValueError, KeyError) as error:
            raise PayloadStorageError(
                f"A stored payload cannot be got from {self._place} ({STORAGE_SETTING}): {_why(error)}. Set "
                f"{STORAGE_SETTING} to the bucket and prefix that the run's workers have, with credentials that may "
                "get objects; if it was removed there, take it from a backup."
            ) from None


def _checked(key: str) -> str:
    """A key as the driver makes them: one that comes from the server must not lead out of the prefix."""
    if not key.startswith("v0/") or any(part in ("", ".", "..") for part in key.split("/")):
        raise ValueError(f"{key!r} is no key of a stored payload")
    return key


def _why(error: Exception) -> str:
    cause = error.__cause__
    if isinstance(cause, FileNotFoundError):
        return "there is no such object, or no such bucket"
    text = " ".join(str(cause or error).split("\n")[0].split())
    return text[:400].rstrip(".")
