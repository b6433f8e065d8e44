"""`everstep keys`: rings made, rotated in one step or two, and listed without a key in sight."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from everstep.cli.exits import CommandError
from everstep.cli.program import everstep_commands
from everstep.errors import SettingsError
from everstep.temporal.privacy import Sealer, find_keys
from tests.privacy.conftest import KEYS

Keys = Callable[..., dict[str, Any]]


@pytest.fixture
def keys(capsys: pytest.CaptureFixture[str]) -> Keys:
    """Runs the command; gives what it prints."""

    def run(*arguments: str) -> dict[str, Any]:
        everstep_commands().main(["keys", *arguments, "-o", "json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize("name", ["keys.json", "keys.toml"])
def test_a_ring_is_made_and_rotated(keys: Keys, tmp_path: Path, name: str) -> None:
    """Old keys stay and read; the file is its owner's alone."""
    path = tmp_path / "new" / name
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    assert keys("new", str(path)) == {"ring": str(path), "current": today, "keys": [today]}
    assert path.stat().st_mode & 0o777 == 0o600
    old = Sealer(find_keys(str(path))).seal(b"old")
    assert keys("rotate", str(path))["keys"] == [f"{today}.2", today]
    after = Sealer(find_keys(str(path)))
    assert after.seal(b"new")[0] == f"{today}.2"
    assert after.open(*old) == b"old"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_is_brought_to_all_before_it_is_used(keys: Keys, ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two steps, so that nobody is given what he cannot read; the file is the setting's where none is named."""
    monkeypatch.setenv(KEYS, str(ring))
    assert keys("rotate", "--stage", "--id", "2026-12")["current"] == "2026-11"
    assert keys("use", "--id", "2026-12")["current"] == "2026-12"
    assert keys("list") == {"ring": str(ring), "current": "2026-12", "keys": ["2026-12", "2026-11"]}


def test_who_reads_a_ring_still_does_when_it_is_rotated(keys: Keys, ring: Path) -> None:
    """By a link to it, and by the group, whatever the umask of who rotates it."""
    link = ring.with_name("link.json")
    link.symlink_to(ring)
    ring.chmod(0o640)
    umask = os.umask(0o077)
    try:
        keys("rotate", str(link), "--id", "2026-12")
    finally:
        os.umask(umask)
    assert link.is_symlink()
    assert find_keys(str(ring)).ring.current == "2026-12"
    assert ring.stat().st_mode & 0o777 == 0o640


def test_what_would_lose_keys_is_refused(keys: Keys, ring: Path, tmp_path: Path) -> None:
    """A ring is never written over, an id never used again, wrapped keys never written unwrapped."""
    before = ring.read_bytes()
    for arguments, reason in (
        (("new",), "rotate it"),
        (("rotate", "--id", "2026-11"), "already"),
        (("use", "--id", "2027-01"), "the ring has 2026-11"),
    ):
        with pytest.raises(CommandError, match=reason):
            keys(arguments[0], str(ring), *arguments[1:])
    assert ring.read_bytes() == before
    wrapped = tmp_path / "wrapped.json"
    content = {"current": "wrapped-1", "wrapped": {"wrapped-1": "A" * 43 + "="}}
    wrapped.write_text(json.dumps(content | {"unwrap": "tests.privacy.test_keys:unwrap"}))
    wrapped.chmod(0o600)
    with pytest.raises(CommandError, match="key service"):
        keys("rotate", str(wrapped))


def test_without_a_file_it_says_what_to_name(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an argument nor the setting; or a file that is not there."""
    monkeypatch.delenv(KEYS, raising=False)
    with pytest.raises(CommandError, match=KEYS):
        keys("list")
    with pytest.raises(SettingsError, match="everstep keys new"):
        keys("rotate", str(tmp_path / "none.json"))
