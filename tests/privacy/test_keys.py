"""Key rings: what they are read from, what is refused, and how they change under a process that runs."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from everstep.cli.settings_shown import shown_settings
from everstep.errors import SettingsError, UnreadablePayloadError
from everstep.temporal.privacy import KeyRing, Keys, Sealer, find_keys
from tests.privacy.conftest import write_ring

HOOK = "tests.privacy.test_keys:from_service"
KEY = bytes(range(32))  # a constant: it stands in the names of tests, which all processes must agree on
GIVEN: dict[str, Any] = {"current": "kms-1", "keys": {"kms-1": base64.b64encode(KEY).decode()}}


def from_service() -> dict[str, Any]:
    """Stands for a function that asks a key service."""
    return GIVEN


def unwrap(key_id: str, wrapped: bytes) -> bytes:
    """Stands for a key service that decrypts keys: here they are reversed."""
    assert key_id == "wrapped-1"
    return wrapped[::-1]


def no_ring() -> int:
    """Gives what is no ring."""
    return 7


def test_a_ring_is_read_from_json_and_from_toml(tmp_path: Path) -> None:
    """Both forms say the same; the current key encrypts, every one decrypts."""
    as_json = write_ring(tmp_path / "keys.json", "2026-11", "2026-05")
    data = json.loads(as_json.read_text())
    as_toml = tmp_path / "keys.toml"
    pairs = "\n".join(f'"{name}" = "{key}"' for name, key in data["keys"].items())
    as_toml.write_text(f'current = "2026-11"\n[keys]\n{pairs}\n')
    as_toml.chmod(0o600)
    one, other = Sealer(find_keys(str(as_json))), Sealer(find_keys(str(as_toml)))
    key_id, sealed = one.seal(b"tide")
    assert key_id == "2026-11"
    assert b"tide" not in sealed
    assert other.open(key_id, sealed) == b"tide"


def test_a_function_gives_the_ring_or_unwraps_its_keys(tmp_path: Path) -> None:
    """``module:function`` is a hook for a key service: for the whole ring, or for keys that the file has encrypted."""
    assert find_keys(HOOK).ring.keys == {"kms-1": KEY}
    path = tmp_path / "keys.json"
    wrapped = base64.b64encode(KEY[::-1]).decode()
    path.write_text(
        json.dumps({"current": "wrapped-1", "wrapped": {"wrapped-1": wrapped}, "unwrap": f"{__name__}:unwrap"})
    )
    path.chmod(0o600)
    assert find_keys(str(path)).ring.keys == {"wrapped-1": KEY}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no JSON"),
        ("[]", '"current" and "keys"'),
        ('{"current": "a"}', '"keys"'),
        ('{"current": "a", "keys": {"a": "c2hvcnQ="}}', "5 bytes"),
        ('{"current": "a", "keys": {"a": "%%%"}}', "base64"),
        (json.dumps({"current": "b", "keys": {"a": base64.b64encode(KEY).decode()}}), "'b'"),
        (json.dumps({"current": "a b", "keys": {"a b": base64.b64encode(KEY).decode()}}), "key id"),
        ('{"current": "a", "wrapped": {"a": "YQ=="}, "unwrap": "nowhere:unwrap"}', "nowhere"),
        ('{"current": "a", "wrapped": {"a": "YQ=="}, "unwrap": "builtins:str"}', "unwrapped: TypeError"),
        ('{"current": "a", "wrapped": {"a": "YQ=="}, "unwrap": "operator:is_"}', "no bytes but bool"),
    ],
)
def test_a_file_that_is_no_ring_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """The message names the setting, the file and the fault, and no key."""
    path = tmp_path / "keys.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SettingsError) as refused:
        find_keys(str(path))
    told = str(refused.value)
    assert reason in told
    assert "EVERSTEP_ENCRYPTION_KEYS" in told
    assert base64.b64encode(KEY).decode() not in told


def test_a_ring_that_is_not_there_or_open_to_others_is_refused(ring: Path) -> None:
    """The remedy is in the message: `everstep keys new`, or `chmod`."""
    with pytest.raises(SettingsError, match="everstep keys new"):
        find_keys(str(ring.with_name("none.json")))
    ring.chmod(0o644)
    with pytest.raises(SettingsError, match=r"mode 0644.*chmod 600"):
        find_keys(str(ring))
    ring.chmod(0o440)  # as a Kubernetes Secret is mounted for a group
    assert find_keys(str(ring)).ring.current == "2026-11"


@pytest.mark.parametrize("hook", ["nowhere:ring", "tests.privacy.test_keys:absent", "tests.privacy.test_keys:no_ring"])
def test_a_hook_that_gives_no_ring_is_refused(hook: str) -> None:
    """A function that is not there, or gives something else, is named."""
    with pytest.raises(SettingsError, match=hook):
        find_keys(hook)


def test_a_ring_never_shows_its_keys(ring: Path) -> None:
    """Neither in a log nor in a debugger's list of values."""
    found = find_keys(str(ring)).ring
    shown = repr(found) + str(found)
    assert "2026-11" in shown
    assert not any(repr(key) in shown for key in found.keys.values())


def test_a_rotated_ring_is_taken_up_without_a_restart(ring: Path) -> None:
    """What the new key has written is read at once; the new key is written with within seconds; old ones still read."""
    running, eager = Sealer(find_keys(str(ring))), Sealer(find_keys(str(ring), look_seconds=0))
    old = running.seal(b"old")
    write_ring(ring, "2026-12")
    new = eager.seal(b"new")
    assert new[0] == "2026-12"
    assert running.open(*new) == b"new"
    assert running.open(*old) == b"old"


def test_a_ring_that_is_broken_while_in_use_is_not_taken_up(ring: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The keys known before hold, and the log says why."""
    running = Sealer(find_keys(str(ring), look_seconds=0))
    ring.write_text("{")
    assert running.open(*running.seal(b"tide")) == b"tide"
    assert "no JSON" in caplog.text


def away(key_id: str, wrapped: bytes) -> bytes:
    """Stands for a key service that is away until it is called `back`."""
    if key_id not in REACHABLE:
        raise LookupError("the key service is away")
    return wrapped


REACHABLE = {"old"}


def test_a_ring_whose_key_service_was_away_is_taken_up_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was known holds meanwhile, and the change is not forgotten; a process that starts is told."""
    path, hook = tmp_path / "keys.json", f"{__name__}:away"
    key = base64.b64encode(KEY).decode()
    path.write_text(json.dumps({"current": "old", "wrapped": {"old": key}, "unwrap": hook}))
    path.chmod(0o600)
    running = find_keys(str(path), look_seconds=0)
    path.write_text(json.dumps({"current": "new", "wrapped": {"old": key, "new": key}, "unwrap": hook}))
    assert running.current()[0] == "old"
    assert "'new' cannot be unwrapped: LookupError: the key service is away" in caplog.text
    with pytest.raises(SettingsError, match="the key service is away"):
        find_keys(str(path))
    REACHABLE.add("new")
    assert running.current()[0] == "new"


def test_a_ring_in_the_place_of_its_path_is_not_shown() -> None:
    """The setting names a file; where it has the keys themselves, neither the error nor the log has them."""
    text = json.dumps(GIVEN)
    with pytest.raises(SettingsError, match="name the file") as refused:
        find_keys(text)
    assert GIVEN["keys"]["kms-1"] not in str(refused.value)
    assert shown_settings({"EVERSTEP_ENCRYPTION_KEYS": text}) == {"EVERSTEP_ENCRYPTION_KEYS": "(hidden)"}


def test_made_up_ids_do_not_ask_the_key_service_each_time() -> None:
    """Whoever can send payloads could have it asked thousands of times."""
    asked: list[int] = []

    def load() -> KeyRing:
        asked.append(1)
        return KeyRing("a", {"a": KEY})

    sealer = Sealer(Keys(load))
    for number in range(20):
        with pytest.raises(UnreadablePayloadError):
            sealer.open(f"made-up-{number}", bytes(50))
    assert len(asked) == 2


def test_a_key_that_the_ring_lacks_is_named(tmp_path: Path) -> None:
    """So are those that it has, and what to do."""
    writer = Sealer(find_keys(str(write_ring(tmp_path / "a.json", "2026-12"))))
    reader = Sealer(find_keys(str(write_ring(tmp_path / "b.json", "2026-11"))))
    with pytest.raises(UnreadablePayloadError, match=r"'2026-12'.*EVERSTEP_ENCRYPTION_KEYS.*2026-11"):
        reader.open(*writer.seal(b"tide"))


def test_what_was_changed_or_written_with_another_key_is_not_decrypted(tmp_path: Path) -> None:
    """Bytes, the key's id and the key itself are all held by the tag."""
    sealer = Sealer(find_keys(str(write_ring(tmp_path / "a.json", "2026-11", "2026-05"))))
    other = Sealer(find_keys(str(write_ring(tmp_path / "b.json", "2026-11"))))
    key_id, sealed = sealer.seal(b"tide")
    for place in (0, 1, 20, 35, len(sealed) - 1):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(UnreadablePayloadError):
            sealer.open(key_id, changed)
    for wrong in (lambda: sealer.open("2026-05", sealed), lambda: other.open(key_id, sealed)):
        with pytest.raises(UnreadablePayloadError, match="Compare the rings"):
            wrong()
    with pytest.raises(UnreadablePayloadError):
        sealer.open(key_id, b"")


def test_threads_seal_side_by_side(ring: Path) -> None:
    """A codec works in threads for large payloads."""
    sealer = Sealer(find_keys(str(ring)))
    sealed: list[tuple[str, bytes]] = []
    threads = [threading.Thread(target=lambda: sealed.extend(sealer.seal(b"x") for _ in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for _, one in sealed}) == 400  # never the same nonce
    assert all(sealer.open(*one) == b"x" for one in sealed)


def test_a_ring_made_in_code() -> None:
    """A ring goes to JSON and back."""
    ring = KeyRing("a", {"a": KEY})
    assert KeyRing.from_json(ring.to_json()) == ring
