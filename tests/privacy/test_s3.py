"""Large payloads in a bucket of SeaweedFS, a real S3-compatible server that runs as a process: `make test-storage`."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest
from temporalio.client import Client

from everstep import Context, Workflow, step
from everstep.cli.checks_payloads import check_payloads
from everstep.errors import PayloadStorageError
from everstep.events import StartEvent, StopEvent
from everstep.temporal import TemporalRuntime, serving
from everstep.temporal.devserver import DevServer
from everstep.temporal.obstacles import obstacles
from everstep.temporal.serverprocess import free_port
from tests.privacy.conftest import KEYS, converter
from tests.support.waiting import until

pytestmark = pytest.mark.s3

WEED = Path(__file__).parents[2] / ".venv-s3" / "bin" / "weed"
TEXT = "tidewater-7391 " * 20_000


class Large(Workflow):
    @step
    async def grow(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("text", ev.text)
        return StopEvent(result=ev.text[::-1])


@dataclass
class S3Server:
    """SeaweedFS with one bucket and one who may use it."""

    folder: Path
    ports: dict[str, int]
    process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        """For EVERSTEP_STORAGE."""
        return f"s3://runs/prod?endpoint=http://127.0.0.1:{self.ports['s3']}&region=us-east-1"

    def start(self) -> None:
        """Start it, and return once it answers."""
        options = ["-dir", str(self.folder), "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-filer", "-s3"]
        for name in ("master", "volume", "filer", "s3"):
            options += [f"-{name}.port={self.ports[name]}", f"-{name}.port.grpc={self.ports[name + '.grpc']}"]
        options += [
            f"-s3.config={self.folder}/identities.json",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=4",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([str(WEED), "server", *options], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not self.answers():
            assert time.monotonic() < deadline, self.complaints
            assert self.process.poll() is None, self.complaints
            time.sleep(0.1)

    @property
    def complaints(self) -> str:
        """Why it ended."""
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if line.startswith("F")] or lines[-20:])

    def answers(self) -> bool:
        """Whether it answers who has no credentials that it does not know them."""
        connection = HTTPConnection("127.0.0.1", self.ports["s3"], timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 403
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """End it, as a power cut does: asked to end it takes half a minute."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server, and the credentials for it."""
    assert WEED.exists(), "install SeaweedFS by `bash scripts/s3-server`, or run `make test-storage`"
    folder = tmp_path / "weed"
    folder.mkdir()
    who = {"accessKey": "everstep", "secretKey": "a-secret"}
    identities = [{"name": "worker", "credentials": [who], "actions": ["Admin"]}]
    (folder / "identities.json").write_text(json.dumps({"identities": identities}))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", who["accessKey"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", who["secretKey"])
    names = ("master", "volume", "filer", "s3")
    server = S3Server(folder, {name + end: free_port() for name in names for end in ("", ".grpc")})
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def test_payloads_in_a_bucket(s3: S3Server, dev_server: DevServer, ring: Path) -> None:
    """A run with large payloads; on the storage's disk is nothing of them in plain text; a second reader gets them."""
    private = converter(ring, everstep_storage=s3.place, everstep_compress_above="off")
    client = await Client.connect(dev_server.address, data_converter=private)
    queue = f"q-{uuid.uuid4().hex[:8]}"
    async with serving(client, [Large], task_queue=queue):
        handler = await TemporalRuntime(client, task_queue=queue).start_flow("Large", {"text": TEXT})
        assert await handler == TEXT[::-1]
        assert await handler.state() == {"text": TEXT}
    other = converter(ring, everstep_storage=s3.place)
    reader = await Client.connect(dev_server.address, data_converter=other)
    assert await TemporalRuntime(reader).handle(handler.run_id) == TEXT[::-1]
    history = (await handler.workflow.fetch_history()).to_json()
    assert len(history) < 60_000
    s3.stop()
    disk = b"".join(path.read_bytes() for path in s3.folder.rglob("*") if path.is_file())
    assert len(disk) > len(TEXT)
    assert b"tidewater" not in disk


async def test_a_run_goes_on_when_the_storage_is_back(s3: S3Server, dev_server: DevServer, ring: Path) -> None:
    """While it is away the run waits, and tells why."""
    private = converter(ring, everstep_storage=s3.place, everstep_compress_above="off")
    client = await Client.connect(dev_server.address, data_converter=private)
    queue = f"q-{uuid.uuid4().hex[:8]}"
    handler = await TemporalRuntime(client, task_queue=queue).start_flow("Large", {"text": TEXT})
    s3.stop()
    async with serving(client, [Large], task_queue=queue):

        async def told() -> bool:
            found = await obstacles(client, handler.run_id)
            return any("EVERSTEP_STORAGE" in one.text for one in found)

        await until(told, within=60)
        s3.start()
        assert await handler == TEXT[::-1]


async def test_what_is_wrong_with_a_bucket_is_told(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that is gone, credentials that are refused; and the doctor looks."""
    here = converter(everstep_storage=s3.place, everstep_storage_above="0")
    (payload,) = await here.encode([TEXT])
    elsewhere = converter(everstep_storage=s3.place.replace("/prod?", "/test?"), everstep_storage_above="0")
    with pytest.raises(PayloadStorageError, match=r"s3://runs/test at http.*no such object"):
        await elsewhere.decode([payload])
    (finding,) = await check_payloads({"EVERSTEP_STORAGE": s3.place})
    assert (finding.status, finding.text) == ("ok", f"storage: {s3.place}, above 64000 bytes")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    wrong = converter(everstep_storage=s3.place, everstep_storage_above="0")
    with pytest.raises(PayloadStorageError, match="AWS_ACCESS_KEY_ID"):
        await wrong.encode([TEXT])
    (finding,) = await check_payloads({**os.environ, "EVERSTEP_STORAGE": s3.place, KEYS: ""})
    assert finding.status == "failed"
