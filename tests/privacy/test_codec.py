"""The data converter of the settings: compress, encrypt, store; and what it says where it cannot read."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from everstep.cli.checks_payloads import check_payloads
from everstep.errors import PayloadStorageError, SettingsError, UnreadablePayloadError
from everstep.temporal.privacy import PrivacySettings, PrivateCodec
from tests.privacy.conftest import KEYS, converter, write_ring

VALUE = {"text": "tidewater " * 2000}


async def test_values_come_back_whatever_was_done_to_them(ring: Path, tmp_path: Path) -> None:
    """Plain, compressed, encrypted, stored: what any of these has written, the one with all of it reads."""
    store = str(tmp_path / "store")
    everything = converter(ring, everstep_storage=store, everstep_storage_above="1000")
    written_by = {
        "plain": DataConverter.default,
        "compressed": converter(everstep_compress_above="100"),
        "encrypted": converter(ring, everstep_compress_above="off"),
        "both": converter(ring),
        "stored": converter(everstep_storage=store, everstep_storage_above="1000"),
        "all": everything,
    }
    sizes: dict[str, int] = {}
    for name, writer in written_by.items():
        payloads = await writer.encode([VALUE, 7])
        sizes[name] = payloads[0].ByteSize()
        assert await everything.decode(payloads) == [VALUE, 7], name
    assert sizes["compressed"] < sizes["plain"] / 20
    assert sizes["both"] < sizes["plain"] / 20
    assert sizes["encrypted"] > sizes["plain"]
    assert sizes["stored"] < 500


async def test_metadata_is_encrypted_with_the_value(ring: Path) -> None:
    """Of a payload nothing is left to see but that it is encrypted, how, and with which key."""
    codec = converter(ring).payload_codec
    assert codec is not None
    given = Payload(metadata={"encoding": b"json/plain", "everstep-keys": b'{"note":"tide"}'}, data=b'"tide"')
    (sealed,) = await codec.encode([given])
    assert dict(sealed.metadata) == {
        "encoding": b"binary/encrypted",
        "encryption-cipher": b"AES-256-GCM+HKDF-SHA256",
        "encryption-key-id": b"2026-11",
    }
    assert b"tide" not in sealed.SerializeToString()
    assert await codec.decode([sealed]) == [given]


async def test_what_does_not_shrink_is_not_compressed() -> None:
    """Random bytes are left as they are."""
    codec = PrivateCodec(None, 100)
    given = Payload(metadata={"encoding": b"binary/plain"}, data=os.urandom(1000))
    assert await codec.encode([given]) == [given]


async def test_without_settings_all_is_as_ever_and_what_cannot_be_read_names_the_setting(
    ring: Path, tmp_path: Path
) -> None:
    """A process that lacks the key, or the storage, says so."""
    bare = converter()
    assert await bare.encode([VALUE]) == await DataConverter.default.encode([VALUE])
    with pytest.raises(UnreadablePayloadError, match=r"'2026-11'.*EVERSTEP_ENCRYPTION_KEYS is not set here"):
        await bare.decode(await converter(ring).encode([7]))
    stored = await converter(everstep_storage=str(tmp_path), everstep_storage_above="0").encode([7])
    with pytest.raises(PayloadStorageError, match=r"in a directory, and EVERSTEP_STORAGE names none"):
        await bare.decode(stored)


async def test_large_payloads_do_not_hold_the_loop_up(ring: Path) -> None:
    """Above a size the work is done in a thread, and the loop turns meanwhile; the results are the same."""
    both_ways, large = converter(ring), {"text": os.urandom(1_000_000).hex()}
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    assert await both_ways.decode(await both_ways.encode([large])) == [large]
    turning.cancel()
    assert turns > 5


async def test_a_payload_that_grows_without_end_is_refused() -> None:
    """A small payload may claim to be huge: memory is not given to it. So is one that was cut."""
    codec = PrivateCodec(None, 100, largest=50_000)
    packed = await codec.encode([Payload(metadata={"encoding": b"binary/plain"}, data=bytes(100_000))])
    with pytest.raises(UnreadablePayloadError, match="50000 bytes"):
        await codec.decode(packed)
    packed[0].data = packed[0].data[:-20]
    with pytest.raises(UnreadablePayloadError, match="cut or changed"):
        await PrivateCodec(None, 100).decode(packed)


async def test_messages_and_tracebacks_of_failures_are_encrypted(ring: Path) -> None:
    """With their causes; and they read as before for who has the key."""
    private = converter(ring)
    failure = Failure()
    try:
        try:
            raise ValueError("the cause, tidewater")
        except ValueError as cause:
            raise ApplicationError("tidewater", {"note": "tidewater"}, type="Lost") from cause
    except ApplicationError as error:
        await private.encode_failure(error, failure)
    assert b"tidewater" not in failure.SerializeToString()
    read = await private.decode_failure(failure)
    assert isinstance(read, ApplicationError)
    assert (read.message, read.type, read.details) == ("tidewater", "Lost", ({"note": "tidewater"},))
    assert "tidewater" in str(read.__cause__)


async def test_a_missing_key_is_told_in_plain_text(ring: Path, tmp_path: Path) -> None:
    """Whoever has to bring the key may have none to read the message with."""
    failure = Failure()
    other = converter(write_ring(tmp_path / "other.json", "2026-12"))
    try:
        await other.decode(await converter(ring).encode([7]))
    except UnreadablePayloadError as error:
        await other.encode_failure(error, failure)
    assert "'2026-11'" in failure.message


async def test_what_led_to_a_missing_setting_stays_encrypted(ring: Path) -> None:
    """An error of settings is plain, the one that it was raised from is not: that may be a step's own."""
    failure = Failure()
    try:
        try:
            raise ValueError("tidewater")
        except ValueError as cause:
            raise SettingsError("SHOP_KEY is not set") from cause
    except SettingsError as error:
        await converter(ring).encode_failure(error, failure)
    assert failure.message == "SHOP_KEY is not set"
    assert "tidewater" not in failure.cause.message
    assert failure.cause.encoded_attributes.metadata["encoding"] == b"binary/encrypted"


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"EVERSTEP_COMPRESS_ABOVE": "some"}, "EVERSTEP_COMPRESS_ABOVE is 'some'"),
        ({"EVERSTEP_STORAGE_ABOVE": "3000000"}, "EVERSTEP_STORAGE_ABOVE is '3000000'"),
        ({"EVERSTEP_STORAGE_ABOVE": "off"}, "leave EVERSTEP_STORAGE out"),
        ({"EVERSTEP_STORAGE": "ftp://host/path"}, "neither a directory nor a bucket"),
        ({"EVERSTEP_STORAGE": "file://host/path"}, "file:///path"),
        ({"EVERSTEP_STORAGE": "s3://"}, "names no bucket"),
        ({"EVERSTEP_STORAGE": "s3://runs?key=x"}, "'key'"),
        ({"EVERSTEP_STORAGE": "/one /two"}, "two of one kind"),
    ],
)
def test_settings_that_cannot_be_used_are_named(environment: dict[str, str], reason: str) -> None:
    """Setting, value and remedy."""
    with pytest.raises(SettingsError, match=reason):
        PrivacySettings.load(environment).data_converter()


def test_a_codec_and_a_storage_of_ones_own_are_kept(ring: Path) -> None:
    """The settings add what a converter lacks."""

    class Own(PrivateCodec):
        pass

    own = DataConverter(payload_codec=Own(None))
    both = PrivacySettings(keys=str(ring), storage="/somewhere").data_converter(own)
    assert type(both.payload_codec) is Own
    assert both.failure_converter_class is own.failure_converter_class
    assert both.external_storage is not None


async def test_the_doctor_looks_at_keys_and_storage(ring: Path, tmp_path: Path) -> None:
    """By a round trip; what is wrong comes with what to do."""
    everything = {KEYS: str(ring), "EVERSTEP_STORAGE": str(tmp_path / "store")}
    found = await check_payloads(everything)
    assert [one.status for one in found] == ["ok", "ok", "ok"]
    assert found[0].text == f"encryption: AES-256-GCM, key 2026-11 ({ring})"
    assert [one.status for one in await check_payloads({})] == ["skipped"]
    (tmp_path / "file").write_text("")
    for wrong, remedy in (
        ({KEYS: str(tmp_path / "none.json")}, "everstep keys new"),
        ({"EVERSTEP_STORAGE": str(tmp_path / "file")}, "Make the directory writable"),
    ):
        (one,) = await check_payloads(everything | wrong)
        assert (one.status, remedy in (one.remedy or "")) == ("failed", True), one


def test_what_is_set_is_told_without_keys(tmp_path: Path) -> None:
    """For the start of a worker, and for whoever looks for a fault."""
    ring = write_ring(tmp_path / "keys.json", "2026-11", "2026-05")
    told: dict[str, Any] = PrivacySettings(str(ring), 8000, "/mnt/runs", 64000).describe()
    assert told == {
        "encryption": f"AES-256-GCM, key 2026-11, reads 2026-05 too ({ring})",
        "compression": "above 8000 bytes",
        "storage": "/mnt/runs, above 64000 bytes",
    }
