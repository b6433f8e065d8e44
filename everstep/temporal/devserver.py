"""The embedded Temporal dev server: one per project directory, found and reused, or private to a test.

What runs is written to `<directory>/dev-server.json`; a file lock lets one process at a time start or stop
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from everstep.temporal import reaper, serverprocess
from everstep.temporal.serverprocess import HOST, ONE_QUEUE, TUNED, WAITING_ATTRIBUTE, DevServerError, ServerSpec

try:
    import fcntl
except ImportError:  # not a POSIX system: two processes that start at once are not kept apart
    fcntl = None

DEFAULT_DIRECTORY = Path(".everstep")
DEFAULT_PORT, DEFAULT_UI_PORT = 7233, 8233
SEARCH_ATTRIBUTES: Mapping[str, str] = {WAITING_ATTRIBUTE: "Bool"}

_RECORD, _LOCK, _LOG, _DB = "dev-server.json", "dev-server.lock", "dev-server.log", "temporal.db"


@dataclass(slots=True)
class DevServer:
    """A Temporal dev server on 127.0.0.1.

    `ensure_dev_server` gives the one of a project directory. For a test, `DevServer.private()` describes one
    of its own, which runs inside a `with` or `async with` block, and ends with its process, even if that is killed:

        with DevServer.private() as server:
            client = await Client.connect(server.address)
            server.kill()      # as kill -9 does
            server.restart()   # on the same file and ports
    """

    spec: ServerSpec
    pid: int | None = None
    started: bool = False
    """Whether this call started it; False: it ran already."""
    _temporary: Path | None = field(default=None, repr=False)

    @classmethod
    def private(
        cls,
        *,
        stock: bool = False,
        synced: bool = False,
        ui: bool = False,
        dynamic_config: Mapping[str, str] | None = None,
        search_attributes: Mapping[str, str] | None = None,
    ) -> Self:
        """A server of one's own: temporary directory, free ports. It is started by entering the block.

        Args:
            stock: leave out everstep's tuning, as on a user's server.
            synced: write through to the disk, and keep the queues of other servers, as for measurements. A server for
                tests needs neither: killed, it loses nothing that it had acknowledged.
            ui: serve the web UI too.
            dynamic_config: further settings of the server, key to JSON value.
            search_attributes: name to type, instead of everstep's own; {} for none.
        """
        directory = Path(tempfile.mkdtemp(prefix="everstep-server-")).resolve()
        spec = ServerSpec(
            db_file=directory / _DB,
            log_file=directory / _LOG,
            port=0,  # free ones are taken at the start
            http_port=0,
            ui_port=0 if ui else None,
            dynamic_config={
                **({} if stock else TUNED),
                **({} if stock or synced else ONE_QUEUE),
                **(dynamic_config or {}),
            },
            search_attributes=SEARCH_ATTRIBUTES if search_attributes is None else search_attributes,
            synced=synced,
        )
        return cls(spec, _temporary=directory)

    @property
    def address(self) -> str:
        """Host and port for clients and workers."""
        return f"{HOST}:{self.spec.port}"

    @property
    def ui_url(self) -> str | None:
        """Where the web UI is, or None for a server without."""
        return None if self.spec.ui_port is None else f"http://{HOST}:{self.spec.ui_port}"

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.pid is not None and serverprocess.is_alive(self.pid, self.spec.db_file)

    def start(self, *, timeout: float = 30) -> None:
        """Start it and return once it serves; nothing happens when it runs. Raises DevServerError."""
        if self.alive:
            return
        first = self.pid is None and self._temporary is not None
        specs = self._with_free_ports if first else lambda: self.spec
        _serve(specs, self._spawned, timeout)

    def stop(self, *, grace: float = 10) -> bool:
        """End it, by force after `grace` seconds. False when it did not run."""
        return self.pid is not None and serverprocess.end(self.pid, self.spec, grace=grace)

    def kill(self) -> None:
        """End it at once, as kill -9 does; what it had acknowledged is in its file."""
        self.stop(grace=0)

    def restart(self, *, timeout: float = 30) -> None:
        """Kill it if it runs, and start it again on the same file and ports."""
        self.kill()
        self.start(timeout=timeout)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *exception: Any) -> None:
        await asyncio.to_thread(self._close)

    def _spawned(self, spec: ServerSpec, pid: int) -> None:
        self.spec, self.pid, self.started = spec, pid, True
        if self._temporary is not None:  # a killed test leaves nothing behind
            reaper.hold(str(self._temporary), pid, str(spec.db_file), self._temporary)

    def _with_free_ports(self) -> ServerSpec:
        ports = {"port": serverprocess.free_port(), "http_port": serverprocess.free_port()}
        if self.spec.ui_port is not None:
            ports["ui_port"] = serverprocess.free_port()
        return replace(self.spec, **ports)

    def _close(self) -> None:
        self.kill()
        if self._temporary is not None:
            reaper.release(str(self._temporary))
            shutil.rmtree(self._temporary, ignore_errors=True)


def ensure_dev_server(
    directory: Path = DEFAULT_DIRECTORY,
    *,
    port: int | None = None,
    ui_port: int | None = None,
    timeout: float = 30,
) -> DevServer:
    """The dev server of a project directory: the one that runs, else a new one that outlives this process.

    Its data is in `<directory>/temporal.db` and survives restarts. Any number of processes may call this
    at once.

    Args:
        directory: where its files are; made when missing.
        port: for clients; by default 7233, or a free one when that is taken.
        ui_port: for the web UI; by default 8233, or a free one.
        timeout: seconds to wait until it serves.

    Raises:
        DevServerError: `temporal` is not installed, a port asked for is taken, it died at its start, or it
            hangs.
    """
    directory = directory.resolve()
    with _locked(directory):
        running = _recorded(directory)
        if running is not None and running.pid is not None and running.alive:
            _refuse_other_ports(running, port, ui_port)
            serverprocess.wait_healthy(running.pid, running.spec, timeout=timeout)
            return running
        return _start(directory, port, ui_port, running.spec if running else None, timeout)


async def ensure_dev_server_async(
    directory: Path = DEFAULT_DIRECTORY,
    *,
    port: int | None = None,
    ui_port: int | None = None,
    timeout: float = 30,
) -> DevServer:
    """`ensure_dev_server` for coroutines: the loop goes on meanwhile."""
    return await asyncio.to_thread(ensure_dev_server, directory, port=port, ui_port=ui_port, timeout=timeout)


def find_dev_server(directory: Path = DEFAULT_DIRECTORY) -> DevServer | None:
    """The dev server of a project directory, if one is recorded, runs and answers; starts nothing."""
    running = _recorded(directory.resolve())
    if running is None or not running.alive or not serverprocess.is_healthy(running.spec.http_port):
        return None
    return running


def stop_dev_server(directory: Path = DEFAULT_DIRECTORY, *, grace: float = 10) -> bool:
    """End the dev server of a project directory, by force after `grace` seconds. False when none ran.

    Its data stays: the next start goes on with every run.
    """
    directory = directory.resolve()
    if not (directory / _RECORD).exists():
        return False
    with _locked(directory):
        running = _recorded(directory)
        return running is not None and running.stop(grace=grace)


def _start(
    directory: Path, port: int | None, ui_port: int | None, before: ServerSpec | None, timeout: float
) -> DevServer:
    def choose() -> ServerSpec:
        return ServerSpec(
            db_file=directory / _DB,
            log_file=directory / _LOG,
            port=_choose_port("port", port, before and before.port, DEFAULT_PORT),
            ui_port=_choose_port("ui_port", ui_port, before and before.ui_port, DEFAULT_UI_PORT),
            http_port=serverprocess.free_port(),
            dynamic_config=TUNED,
            search_attributes=SEARCH_ATTRIBUTES,
        )

    # Recorded before it serves: whoever comes after a crash of ours finds it.
    spec, pid = _serve(choose, lambda spec, pid: _record(directory, spec, pid), timeout)
    return DevServer(spec, pid, started=True)


def _serve(
    specs: Callable[[], ServerSpec], spawned: Callable[[ServerSpec, int], None], timeout: float
) -> tuple[ServerSpec, int]:
    """Start a server by the next spec and wait until it serves; again when it lost the race for a port."""
    for last in (False, False, True):
        spec = specs()
        pid = serverprocess.spawn(spec)
        spawned(spec, pid)
        try:
            serverprocess.wait_healthy(pid, spec, timeout=timeout)
            return spec, pid
        except DevServerError as error:
            if last or "address already in use" not in str(error):
                raise
    raise AssertionError("unreachable")


def _choose_port(name: str, asked: int | None, before: int | None, preferred: int) -> int:
    """The port asked for, else the one of last time (links stay valid), else the usual one, else any."""
    if asked is not None:
        if not serverprocess.is_free(asked):
            raise DevServerError(
                f"The Temporal dev server cannot listen on {name}={asked}: another program does. "
                f"Choose another port, or leave {name} out to have a free one taken."
            )
        return asked
    for candidate in (before, preferred):
        if candidate is not None and serverprocess.is_free(candidate):
            return candidate
    return serverprocess.free_port()


def _refuse_other_ports(running: DevServer, port: int | None, ui_port: int | None) -> None:
    spec = running.spec
    if port in (None, spec.port) and ui_port in (None, spec.ui_port):
        return
    raise DevServerError(
        f"The Temporal dev server of {spec.db_file.parent} already runs, on ports {spec.port} and "
        f"{spec.ui_port} (pid {running.pid}). Stop it first, or leave the ports out to use it as it is."
    )


def _record(directory: Path, spec: ServerSpec, pid: int) -> None:
    """Write the record in one go: a reader sees the old one or the new one."""
    record = {"pid": pid, "port": spec.port, "ui_port": spec.ui_port, "http_port": spec.http_port}
    fresh = directory / f"{_RECORD}.new"
    fresh.write_text(json.dumps(record) + "\n")
    fresh.replace(directory / _RECORD)


def _recorded(directory: Path) -> DevServer | None:
    """The server that the record tells of, alive or not; None without a record that can be read."""
    try:
        record = json.loads((directory / _RECORD).read_text())
        spec = ServerSpec(
            db_file=directory / _DB,
            log_file=directory / _LOG,
            port=int(record["port"]),
            ui_port=int(record["ui_port"]),
            http_port=int(record["http_port"]),
            dynamic_config=TUNED,
            search_attributes=SEARCH_ATTRIBUTES,
        )
        return DevServer(spec, int(record["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def _locked(directory: Path) -> Generator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / _LOCK).open("w") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
