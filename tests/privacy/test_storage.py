"""Large payloads in a directory: what is written, what is refused, and what is said when it is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1.external_storage_pb2 import ExternalStorageReference
from temporalio.converter import (
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)

from everstep.errors import PayloadStorageError
from everstep.temporal.privacy import FileDriver
from tests.privacy.conftest import converter

READ = StorageDriverRetrieveContext()
LARGE = {"text": "tidewater " * 1000}


def of(run: str | None) -> StorageDriverStoreContext:
    """Where payloads of a run are stored."""
    return StorageDriverStoreContext(StorageDriverWorkflowInfo(namespace="shop", id=run))


def files(directory: Path) -> list[Path]:
    """All files below."""
    return [path for path in directory.rglob("*") if path.is_file()]


async def test_a_payload_is_a_file_under_its_run(tmp_path: Path) -> None:
    """One file for the same bytes, under namespace and run, so that a run's files can be removed with it."""
    driver = FileDriver(tmp_path)
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b"7")
    claims = await driver.store(of("order 17/child"), [payload, payload])
    assert await driver.retrieve(READ, claims) == [payload, payload]
    (found,) = files(tmp_path)
    assert found.parent == tmp_path / "shop" / "order%2017%2Fchild"


@pytest.mark.parametrize("run", [None, "..", ".", "~", "é" * 300, "a/../../b"])
async def test_no_name_of_a_run_leads_out_of_the_directory(tmp_path: Path, run: str | None) -> None:
    """Run ids are chosen by whoever starts runs."""
    store = tmp_path / "store"
    driver = FileDriver(store)
    claims = await driver.store(of(run), [Payload(data=b"7")])
    assert await driver.retrieve(READ, claims) == [Payload(data=b"7")]
    assert len(files(store)) == len(files(tmp_path)) == 1


@pytest.mark.parametrize("path", ["/etc/passwd", "../x/" + "0" * 64, "a/../" + "0" * 64, "a/b/c", ""])
async def test_no_reference_leads_out_of_the_directory(tmp_path: Path, path: str) -> None:
    """References come from the server, where others may write."""
    with pytest.raises(PayloadStorageError, match="no place of everstep's"):
        await FileDriver(tmp_path).retrieve(READ, [StorageDriverClaim({"path": path})])


async def test_only_encrypted_bytes_are_stored(ring: Path, tmp_path: Path) -> None:
    """Who can read the storage reads nothing of what runs hold."""
    store = tmp_path / "store"
    private = converter(
        ring, everstep_storage=f"file://{store}", everstep_storage_above="1000", everstep_compress_above="off"
    )
    (reference,) = await private.encode([LARGE])
    assert b"tidewater" not in reference.SerializeToString()
    (stored,) = files(store)
    assert b"tidewater" not in stored.read_bytes()
    assert b"binary/encrypted" in stored.read_bytes()
    assert await private.decode([reference]) == [LARGE]


async def test_a_stored_payload_that_is_gone_cut_or_unreadable_is_named(tmp_path: Path) -> None:
    """With the directory, the setting, and what to do."""
    here = converter(everstep_storage=str(tmp_path), everstep_storage_above="0")
    payloads = await here.encode([LARGE])
    (stored,) = files(tmp_path)
    stored.write_bytes(stored.read_bytes()[:-1])
    with pytest.raises(PayloadStorageError, match=f"{stored.name}.*not what was written"):
        await here.decode(payloads)
    stored.unlink()
    with pytest.raises(PayloadStorageError, match=f"{stored.name} is not in {tmp_path} .EVERSTEP_STORAGE"):
        await here.decode(payloads)


async def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "file").write_text("")
    private = converter(everstep_storage=str(tmp_path / "file"), everstep_storage_above="0")
    with pytest.raises(PayloadStorageError, match=r"file \(EVERSTEP_STORAGE\): Not a directory"):
        await private.encode([LARGE])


async def test_details_of_heartbeats_stay_with_the_server(tmp_path: Path) -> None:
    """A step whose details cannot be had would be given up for good."""
    storage = converter(everstep_storage=str(tmp_path), everstep_storage_above="0").external_storage
    assert storage is not None
    assert storage.driver_selector is not None

    def chosen(target: Any) -> Any:
        assert storage is not None
        assert storage.driver_selector is not None
        return storage.driver_selector(type("Context", (), {"target": target})(), Payload())  # pyright: ignore[reportArgumentType]

    assert chosen(StorageDriverActivityInfo(namespace="shop")) is None
    assert isinstance(chosen(StorageDriverWorkflowInfo(namespace="shop")), FileDriver)


async def test_what_was_stored_before_a_move_is_still_read(tmp_path: Path) -> None:
    """A second place is read only."""
    before = converter(everstep_storage=str(tmp_path), everstep_storage_above="0")
    (reference,) = await before.encode([LARGE])
    after = converter(
        everstep_storage=f"s3://runs?endpoint=http://127.0.0.1:1&region=us-east-1 {tmp_path}",
        everstep_storage_above="1000000",
    )
    assert await after.decode([reference]) == [LARGE]
    told = ExternalStorageReference.DESCRIPTOR.full_name.encode()
    assert reference.metadata["messageType"] == told


async def test_a_bucket_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few tries, with the setting and what to check."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    place = "s3://runs/here?endpoint=http://127.0.0.1:1&region=us-east-1"
    private = converter(everstep_storage=place, everstep_storage_above="0")
    with pytest.raises(PayloadStorageError, match=r"s3://runs/here at http://127.0.0.1:1 \(EVERSTEP_STORAGE\)"):
        await private.encode([LARGE])
