"""With a key set, nothing of what a run holds is on the server, in its log, or in a worker's; with the key it reads.

One server with a file of its own, and a worker as a process; a run that tells its secret to all that everstep has.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.client import Client

from everstep.errors import ResponseRefusedError, StepFailedError, UnreadablePayloadError
from everstep.temporal import TemporalRuntime
from everstep.temporal.devserver import DevServer
from everstep.temporal.obstacles import obstacles
from everstep.temporal.schedule_view import find_schedule
from everstep.temporal.schedules import Times, create_schedule
from tests.privacy.conftest import converter
from tests.support.waiting import until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SECRET, PLAIN = "tidewater-7391-confidential", "daylight-1937-published"
QUEUE = "private"


def traces_of(text: str) -> list[bytes]:
    """What tells that a text is there, in any usual form: UTF-8, UTF-16, base64 at any offset, hexadecimal."""
    data = text.encode()
    forms = [data, text.encode("utf-16-le"), text.encode("utf-16-be"), data.hex().encode(), data.upper()]
    for offset in range(3):
        encoded = base64.b64encode(b"x" * offset + data)
        inside = encoded[4 if offset else 0 : len(encoded) // 4 * 4 - 4]  # without what its neighbours have a part in
        forms += [inside, base64.b64encode(inside)[:-4]]
    return forms


def holds(text: str, *files: Path) -> list[str]:
    """In which of these files a text stands, in whatever form."""
    return [str(file) for file in files if any(form in file.read_bytes() for form in traces_of(text))]


@dataclass(frozen=True)
class Place:
    """A server, a worker, and what they write."""

    server: DevServer
    ring: Path
    store: Path
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        """That of the worker, and of commands that may read."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "EVERSTEP_"))}
        return clean | {
            "TEMPORAL_ADDRESS": self.server.address,
            "EVERSTEP_ENCRYPTION_KEYS": str(self.ring),
            "EVERSTEP_STORAGE": str(self.store),
            "EVERSTEP_STORAGE_ABOVE": "3000",
            "PYTHONPATH": str(ROOT),
        }

    @property
    def written(self) -> list[Path]:
        """The files of the server and of the storage, and the worker's log."""
        folder = self.server.spec.db_file.parent
        return [self.log, *(path for top in (folder, self.store) for path in top.rglob("*") if path.is_file())]

    async def client(self, *, key: bool = True) -> Client:
        """A client, with the key or without."""
        private = converter(self.ring, everstep_storage=str(self.store), everstep_storage_above="3000")
        return await Client.connect(self.server.address, data_converter=private if key else converter())

    def command(self, *arguments: str, key: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of `everstep`, to its end."""
        hidden = () if key else ("EVERSTEP_ENCRYPTION_KEYS", "EVERSTEP_STORAGE")
        return subprocess.run(
            [sys.executable, "-c", "from everstep.cli import main; main()", *arguments, "-o", "json"],
            env={name: value for name, value in self.environment.items() if name not in hidden},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@contextmanager
def worker(place: Place) -> Iterator[None]:
    """A worker that logs all that it can."""
    flows = f"{ROOT}/tests/support/private_flows.py"
    command = ["-c", "from everstep.cli import main; main()", "worker", "--flows", flows, "--task-queue", QUEUE]
    with place.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--log-level", "debug"], env=place.environment, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


@pytest.fixture
async def place(tmp_path: Path, ring: Path) -> AsyncIterator[Place]:
    """A server of its own, and a worker with the key."""
    with DevServer.private() as server:
        place = Place(server, ring, tmp_path / "store", tmp_path / "worker.log")
        with worker(place):
            yield place


async def test_no_plaintext_on_the_server_or_in_logs(place: Place) -> None:
    """Start, state, events, questions, answers, refusals, errors, tracebacks, a child, memo, results, a schedule."""
    client = await place.client()
    runtime = TemporalRuntime(client, task_queue=QUEUE)
    good, bad = f"good-{uuid.uuid4().hex[:6]}", f"bad-{uuid.uuid4().hex[:6]}"
    secret = f"{SECRET} " * 40
    for run in (good, bad):
        await runtime.start_flow("Private", {"secret": secret}, run_id=run, state={"before": SECRET})
    handler = runtime.handle(good)

    async def tried_again() -> bool:
        return any(SECRET in one.text for one in await obstacles(client, good))

    await until(tried_again, every=0.02)  # who has the key sees why a step is tried again
    await until(handler.requests)
    with pytest.raises(ResponseRefusedError):
        await handler.respond({"note": SECRET})
    await handler.workflow.signal("respond", {"request": "none", "secret": SECRET})
    await runtime.handle(bad).workflow.signal("no_such_signal", {"secret": SECRET})
    await handler.respond({"secret": secret}, by="ann")
    assert await handler == {"secret": secret}
    await until(runtime.handle(bad).requests)
    with pytest.raises(UnreadablePayloadError, match=f"has reached run {bad}; whether it was taken cannot be read"):
        await TemporalRuntime(await place.client(key=False)).handle(bad).respond({"note": PLAIN})
    await runtime.handle(bad).respond({"secret": f"fail {SECRET}"})
    with pytest.raises(StepFailedError, match=SECRET):
        await runtime.handle(bad)

    await create_schedule(
        client, "nightly", "Private", {"secret": SECRET}, times=Times(cron=["0 2 * * *"]), paused=True, timeout=60
    )
    assert (await find_schedule(client, "nightly")).start == {"secret": SECRET}

    # As a control: what is written in plain text would be found.
    plain = await place.client(key=False)
    await plain.start_workflow("Private", {"secret": PLAIN}, id="plain", task_queue="nobody", memo={"memo": PLAIN})

    for run in (good, bad):
        described = (await plain.get_workflow_handle(run).describe()).raw_description.SerializeToString()
        assert not any(form in described for form in traces_of(SECRET))
    with pytest.raises(UnreadablePayloadError, match="2026-11"):
        await TemporalRuntime(plain).handle(good)
    shown = place.command("show", good)
    assert json.loads(shown.stdout)["result"]["secret"] == secret, shown.stderr
    assert SECRET in place.command("stream", bad).stdout
    without = await asyncio.to_thread(place.command, "result", good, key=False)
    assert (without.returncode, without.stdout) == (1, "")
    assert "EVERSTEP_ENCRYPTION_KEYS is not set here" in without.stderr

    assert b"encryption of payloads: AES-256-GCM, key 2026-11" in place.log.read_bytes()
    assert b"Completing activity as failed" in place.log.read_bytes()  # it does log all that there is
    assert any(place.store.rglob("*")), "nothing was stored outside"
    place.server.stop()  # what it has kept in memory is in its files then
    assert [Path(name).name for name in holds(PLAIN, *place.written)] == ["temporal.db"]
    assert holds(SECRET, *place.written) == []
