"""docs/privacy.md is true: its commands make, rotate and use keys, and its client encrypts."""

from __future__ import annotations

import ast
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from everstep.cli.program import everstep_commands
from everstep.cli.settings_shown import shown_settings
from everstep.temporal.devserver import DevServer
from everstep.temporal.privacy import find_keys
from everstep.temporal.settings import connect
from tests.docs.test_guide import execute
from tests.support.pages import Page

PAGE = Page("docs/privacy.md")
NEW, ROTATE, STAGED = (block.lines for block in PAGE.take("bash"))
(CLIENT,) = (block.text for block in PAGE.take("python"))


async def test_its_client_and_those_of_everstep_encrypt_with_its_keys(
    tmp_path: Path, dev_server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made and rotated by its commands, in its order."""
    monkeypatch.chdir(tmp_path)
    for line in (*NEW, *ROTATE, *STAGED):
        program, *arguments = shlex.split(line, comments=True)
        if program == "everstep":
            everstep_commands().main(arguments, standalone_mode=False)
        else:
            assert (program, arguments) == ("export", ["EVERSTEP_ENCRYPTION_KEYS=$PWD/keys.json"])
            monkeypatch.setenv("EVERSTEP_ENCRYPTION_KEYS", str(tmp_path / "keys.json"))
    ring = find_keys(str(tmp_path / "keys.json")).ring
    assert (ring.current, len(ring.keys)) == ("2026-12", 3)
    monkeypatch.setenv("TEMPORAL_ADDRESS", dev_server.address)
    program = ModuleType("page")
    await execute(ast.parse(CLIENT.replace("localhost:7233", dev_server.address)).body, program)
    for client in (vars(program)["client"], await connect()):
        (payload,) = await client.data_converter.encode(["tide"])
        assert payload.metadata["encryption-key-id"] == b"2026-12"


def test_where_the_keys_are_is_shown_and_tokens_are_not() -> None:
    """At a worker's start and by the doctor."""
    given = {"EVERSTEP_ENCRYPTION_KEYS": "/run/keys.json", "EVERSTEP_CODEC_TOKEN": "secret"}
    assert shown_settings(given) == {"EVERSTEP_ENCRYPTION_KEYS": "/run/keys.json", "EVERSTEP_CODEC_TOKEN": "(hidden)"}
