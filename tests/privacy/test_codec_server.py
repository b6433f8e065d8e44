"""`everstep codec-server` as a process: asked by the `temporal` command, by browsers, and by those who may not."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from starlette.testclient import TestClient
from temporalio.api.common.v1 import Payloads
from temporalio.client import Client
from temporalio.converter import DataConverter

from everstep.cli.program import everstep_commands
from everstep.errors import EverstepError
from everstep.temporal.devserver import DevServer
from everstep.temporal.privacy.server import codec_app
from everstep.temporal.serverprocess import find_temporal_binary, free_port
from tests.privacy.conftest import converter, write_ring

TOKEN, ORIGIN = "a-token-7391", "http://127.0.0.1:8233"
TEXT = "tidewater " * 500


@dataclass(frozen=True)
class Codec:
    """A codec server, and a data converter with its keys and its storage."""

    port: int
    converter: DataConverter

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = TOKEN, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers of an answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        text = body if isinstance(body, str | None) else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json", **given})
        answer = connection.getresponse()
        data = answer.read().decode()
        found = {name.lower(): value for name, value in answer.getheaders()}
        connection.close()
        return answer.status, json.loads(data) if data.startswith("{") else data, found

    async def payloads(self, *values: Any) -> dict[str, Any]:
        """Values as the server of Temporal has them, as JSON."""
        return MessageToDict(Payloads(payloads=await self.converter.encode(values)))


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Codec]:
    """A codec server as a process."""
    folder = tmp_path_factory.mktemp("codec")
    ring, port = write_ring(folder / "keys.json", "2026-11"), free_port()
    environment = {
        **os.environ,
        "EVERSTEP_ENCRYPTION_KEYS": str(ring),
        "EVERSTEP_STORAGE": str(folder / "store"),
        "EVERSTEP_CODEC_TOKEN": f"one-before, {TOKEN}",
        "EVERSTEP_CODEC_ORIGINS": ORIGIN,
    }
    call = ["-c", "from everstep.cli import main; main()", "codec-server", "--port", str(port)]
    process = subprocess.Popen([sys.executable, *call], env=environment, stderr=subprocess.PIPE, text=True)
    private = converter(ring, everstep_storage=str(folder / "store"), everstep_storage_above="2000")
    codec = Codec(port, private)
    deadline = time.monotonic() + 30
    while True:
        try:
            assert codec.ask("GET", "/livez", token=None)[:2] == (200, "ok\n")
            break
        except OSError:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield codec
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    assert said.startswith(f"codec server at http://127.0.0.1:{port}, for {ORIGIN}; encryption: AES-256-GCM, key")
    assert TOKEN not in said
    assert "tidewater" not in said


async def test_payloads_are_decoded_and_encoded(codec: Codec) -> None:
    """Encrypted ones, stored ones, and plain ones that need nothing; also below the name of a namespace."""
    given = await codec.payloads({"text": "tide"}, os.urandom(4000).hex(), 7)
    assert "externalPayloads" in given["payloads"][1]
    for path in ("/decode", "/default/decode"):
        status, found, _ = codec.ask("POST", path, given)
        assert status == 200
        payloads = ParseDict(found, Payloads()).payloads
        assert await DataConverter.default.decode(payloads) == await codec.converter.decode(
            ParseDict(given, Payloads()).payloads
        )
    status, encoded, _ = codec.ask("POST", "/encode", found)
    assert status == 200
    assert await codec.converter.decode(ParseDict(encoded, Payloads()).payloads) == await DataConverter.default.decode(
        ParseDict(found, Payloads()).payloads
    )
    assert codec.ask("POST", "/decode", {"payloads": []})[:2] == (200, {"payloads": []})


async def test_stored_payloads_are_got_when_somebody_looks(codec: Codec) -> None:
    """The UI asks for references as they are, and later for what they stand for."""
    large = os.urandom(4000).hex()
    given = await codec.payloads(large, "wind")
    status, found, _ = codec.ask("POST", "/decode?preserveStorageRefs=true", given)
    assert status == 200
    assert found["payloads"][0] == given["payloads"][0]
    assert await DataConverter.default.decode(ParseDict(found, Payloads()).payloads[1:]) == ["wind"]
    status, found, _ = codec.ask("POST", "/default/download", {"payloads": given["payloads"][:1]})
    assert status == 200
    assert await DataConverter.default.decode(ParseDict(found, Payloads()).payloads) == [large]
    assert codec.ask("POST", "/download", given)[:2] == (400, "all payloads must be storage references\n")


async def test_what_cannot_be_decoded_comes_back_as_it_is(codec: Codec, tmp_path: Path) -> None:
    """So that the rest of a history can be read."""
    foreign = await converter(write_ring(tmp_path / "other.json", "2026-12")).encode(["tide"])
    given = await codec.payloads("wind")
    given["payloads"].insert(0, MessageToDict(foreign[0]))
    status, found, _ = codec.ask("POST", "/decode", given)
    assert status == 200
    assert found["payloads"][0] == given["payloads"][0]
    (wind,) = await DataConverter.default.decode(ParseDict(found, Payloads()).payloads[1:])
    assert wind == "wind"


async def test_only_who_has_a_token_is_served(codec: Codec) -> None:
    """Any of those that are set, and in no other form."""
    given = await codec.payloads("tide")
    assert codec.ask("POST", "/decode", given, token="one-before")[0] == 200
    for token in (None, "", "wrong", TOKEN[:-1], f"{TOKEN}x", f"one-before, {TOKEN}"):
        status, said, headers = codec.ask("POST", "/decode", given, token=token)
        assert (status, said, headers["www-authenticate"]) == (401, "the token is missing or wrong\n", "Bearer")
    assert codec.ask("POST", "/encode", given, token=None)[0] == 401


def test_a_browser_may_ask_for_the_pages_that_are_named(codec: Codec) -> None:
    """CORS: the UI's origin and its headers pass, others do not."""
    wanted = {
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "authorization,content-type,x-namespace",
    }
    status, _, headers = codec.ask("OPTIONS", "/decode", token=None, Origin=ORIGIN, **wanted)
    assert status == 200
    assert headers["access-control-allow-origin"] == ORIGIN
    allowed = headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("authorization", "content-type", "x-namespace"))
    status, _, headers = codec.ask("OPTIONS", "/decode", token=None, Origin="http://elsewhere.example", **wanted)
    assert status == 400
    assert "access-control-allow-origin" not in headers
    assert codec.ask("POST", "/decode", {"payloads": []}, Origin=ORIGIN)[0] == 200
    # Also where a browser takes it for the page's own server, because somebody's name was pointed at this machine.
    status, said, headers = codec.ask("POST", "/decode", {"payloads": []}, Origin="http://rebound.example:8081")
    assert (status, said.startswith("pages of http://rebound.example:8081 may not ask: name them by --origin")) == (
        403,
        True,
    )
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("body", ["", "{", "[]", "[" * 100_000, '{"payloads": 7}', '{"other": []}'])
def test_what_is_no_request_is_refused(codec: Codec, body: str) -> None:
    """With what to send instead."""
    status, said, _ = codec.ask("POST", "/decode", body)
    assert (status, said) == (400, 'send {"payloads": […]}, as Temporal writes them\n')


async def test_a_reference_to_nothing_of_ours_is_refused(codec: Codec) -> None:
    """In words, as what cannot be got is; the server goes on."""
    given = await codec.payloads(os.urandom(4000).hex())
    (reference,) = given["payloads"]
    for data in (b"{", json.dumps({"driverName": "other"}).encode()):
        broken = {"metadata": reference["metadata"], "data": base64.b64encode(data).decode()}
        status, said, _ = codec.ask("POST", "/download", {"payloads": [broken]})
        assert (status, said.startswith("a reference is none of everstep's storage")) == (502, True)


async def test_small_payloads_that_grow_large_do_not_eat_the_memory(codec: Codec, tmp_path: Path) -> None:
    """Anybody who may start runs can send compressed ones: no single one, nor all of an answer, grow without bound."""
    packed = await converter(everstep_compress_above="100").encode(["x" * 20_000, *["x" * 10_000] * 4])
    app = codec_app(codec.converter, tokens=[], origins=[], largest_answer=15_000)
    given = MessageToDict(Payloads(payloads=packed))
    found = TestClient(app).post("/decode", json=given).json()["payloads"]
    assert [one == before for one, before in zip(found, given["payloads"], strict=True)] == [
        True,
        False,
        False,
        True,
        True,
    ]


def temporal(*arguments: str) -> dict[str, Any]:
    """What the `temporal` command prints, as JSON."""
    call = [find_temporal_binary(), *arguments, "-o", "json"]
    return json.loads(subprocess.run(call, capture_output=True, text=True, timeout=30, check=True).stdout)


@pytest.mark.parametrize(
    ("options", "environment", "reason"),
    [
        ((), {}, "Set EVERSTEP_CODEC_TOKEN"),
        (("--no-token",), {"EVERSTEP_CODEC_TOKEN": "x"}, "--no-token goes with no EVERSTEP_CODEC_TOKEN"),
        (("--no-token", "--host", "0.0.0.0"), {}, "127.0.0.1 only"),
        (("--no-token", "--tls-cert", "a.pem"), {}, "--tls-cert and --tls-key"),
        (("--no-token", "--tls-cert", "a.pem", "--tls-key", "b.pem"), {}, "no file a.pem"),
        (("--no-token", "--origin", "*"), {}, "is no origin"),
        (("--no-token", "--origin", "https://host/path"), {}, "is no origin"),
        (("--no-token",), {"EVERSTEP_ENCRYPTION_KEYS": "/none.json"}, "everstep keys new"),
    ],
)
def test_what_would_be_open_or_cannot_be_served_is_refused(
    options: tuple[str, ...], environment: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it listens; the message names the option or the setting."""
    for name in ("EVERSTEP_CODEC_TOKEN", "EVERSTEP_ENCRYPTION_KEYS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EverstepError, match=re.escape(reason)):
        everstep_commands().main(["codec-server", *options], standalone_mode=False)


async def test_the_temporal_command_reads_a_run(codec: Codec, dev_server: DevServer) -> None:
    """`temporal workflow show` with the codec's endpoint and token; without, it shows what the server has."""
    run = f"run-{uuid.uuid4().hex[:8]}"
    client = await Client.connect(dev_server.address, data_converter=codec.converter)
    start = {"text": TEXT, "note": "wind"}
    await client.start_workflow("Nobody", start, id=run, task_queue="nobody", memo={"m": "rain"})
    show = ("workflow", "show", "-w", run, "--address", dev_server.address)
    endpoint = ("--codec-endpoint", f"http://127.0.0.1:{codec.port}/{{namespace}}")
    auth = ("--codec-auth", f"Bearer {TOKEN}")

    async def shown(*options: str) -> list[Any]:
        told = await asyncio.to_thread(temporal, *show, *options)
        started = told["events"][0]["workflowExecutionStartedEventAttributes"]
        payloads = [*started["input"]["payloads"], started["memo"]["fields"]["m"]]
        return list(ParseDict({"payloads": payloads}, Payloads()).payloads)

    assert await DataConverter.default.decode(await shown(*endpoint, *auth)) == [start, "rain"]
    assert b"json/plain" not in {payload.metadata["encoding"] for payload in await shown()}
    await client.get_workflow_handle(run).terminate()
