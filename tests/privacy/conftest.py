"""Key rings in files, and the data converter of some settings."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from temporalio.converter import DataConverter

from everstep.temporal.privacy import PrivacySettings

KEYS = "EVERSTEP_ENCRYPTION_KEYS"

WriteRing = Callable[..., Path]


def write_ring(path: Path, current: str, *others: str, **more: Any) -> Path:
    """A ring's file with fresh keys; keys that the file has already stay as they are."""
    known: Mapping[str, str] = json.loads(path.read_text())["keys"] if path.exists() else {}
    names = dict.fromkeys((current, *others, *known))
    keys = {name: known.get(name) or base64.b64encode(os.urandom(32)).decode() for name in names}
    path.write_text(json.dumps({"current": current, "keys": keys, **more}))
    path.chmod(0o600)
    return path


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    """The file of a key ring with one key, ``2026-11``."""
    return write_ring(tmp_path / "keys.json", "2026-11")


def converter(ring: Path | None = None, **settings: str) -> DataConverter:
    """The data converter that an environment with this ring and these settings gives."""
    environment = {name.upper(): value for name, value in settings.items()}
    if ring is not None:
        environment[KEYS] = str(ring)
    return PrivacySettings.load(environment).data_converter()
