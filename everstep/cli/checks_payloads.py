"""The check of what is done to payloads: encryption, and storage of large ones. It needs no Temporal server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriverRetrieveContext, StorageDriverStoreContext, StorageDriverWorkflowInfo

from everstep.cli.findings import Finding, failed, ok, skipped
from everstep.errors import EverstepError
from everstep.temporal.privacy.settings import PrivacySettings
from everstep.temporal.privacy.storage import storage_drivers

_PROBE = Payload(metadata={"encoding": b"json/plain"}, data=b'"everstep doctor was here"')


async def check_payloads(environment: Mapping[str, str]) -> Sequence[Finding]:
    """Whether payloads can be encrypted, and stored and read back; leaves one small object in the storage."""
    name = "payloads"
    try:
        settings = PrivacySettings.load(environment)
        told = await asyncio.to_thread(settings.describe)
        converter = await asyncio.to_thread(settings.data_converter)
        await converter.decode(await converter.encode([name]))
        where = StorageDriverStoreContext(StorageDriverWorkflowInfo(namespace="everstep-doctor"))
        for driver in storage_drivers(settings.storage or "")[:1]:
            claims = await driver.store(where, [_PROBE])
            await driver.retrieve(StorageDriverRetrieveContext(), claims)
    except EverstepError as error:
        text, _, remedy = str(error).partition(". ")
        return [failed(name, text, remedy)]
    if not told:
        return [skipped(name, "neither encrypted nor stored outside; EVERSTEP_ENCRYPTION_KEYS would encrypt them")]
    return [ok(name, f"{what}: {how}") for what, how in told.items()]
