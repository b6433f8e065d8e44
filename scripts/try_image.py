"""Try an image of everstep: start its worker read-only and as its user, ask its probes, run a flow, stop it.

    python scripts/try_image.py engine docker everstep:0.1.0
    python scripts/try_image.py root /path/to/its/files config.json      without an engine, as root

Either way the root file system is read-only, nothing but /tmp and /var/lib/everstep can be written, and there are no
capabilities. The Temporal server is one of its own.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everstep.temporal import TemporalRuntime
from everstep.temporal.devserver import DevServer
from everstep.temporal.exit import wait_at_exit
from everstep.temporal.settings import ConnectionSettings

QUEUE = "everstep"
PATIENCE = 60.0
# The root of the image is bound to itself, so that it alone can be made read-only, within a mount namespace that ends
# with the process. The shell becomes the worker: signals go straight to it.
ENTER = """
set -e
mount --bind {root} {root}
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
mount -t tmpfs -o mode=0750,uid={uid},gid={gid} tmpfs {root}/var/lib/everstep
mount -t tmpfs -o mode=0755 tmpfs {root}/dev
for device in null zero urandom; do touch {root}/dev/$device; mount --bind /dev/$device {root}/dev/$device; done
mount -t proc proc {root}/proc
mount -o remount,bind,ro {root}
if touch {root}/app/written 2>/dev/null; then echo "the root file system can be written" >&2; exit 1; fi
exec setpriv --no-new-privs chroot --userspec={uid}:{gid} --groups={gid} {root} \\
    env -i -C {directory} {variables} {command}
"""


def by_engine(engine: str, image: str, settings: Mapping[str, str]) -> list[str]:
    """The command that starts an image with docker or podman."""
    restrictions = "--rm --network host --read-only --tmpfs /tmp --tmpfs /var/lib/everstep:uid=10001,gid=10001"
    variables = [f"--env={name}={value}" for name, value in settings.items()]
    safety = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    return [engine, "run", *restrictions.split(), *safety, *variables, image]


def by_chroot(root: str, config: Mapping[str, Any], settings: Mapping[str, str]) -> list[str]:
    """The command that starts the files of an image as its configuration says."""
    own = dict(entry.split("=", 1) for entry in config["Env"])
    uid, _, gid = config["User"].partition(":")
    if not uid.isdigit() or int(uid) == 0:
        raise SystemExit(f"The image runs as user {uid!r}: it must be a number above 0.")
    words = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    script = ENTER.format(
        root=shlex.quote(root),
        uid=uid,
        gid=gid or uid,
        directory=shlex.quote(config["WorkingDir"]),
        variables=shlex.join(f"{name}={value}" for name, value in {**own, **settings}.items()),
        command=shlex.join(words),
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def status(url: str) -> int:
    """The HTTP status of an address; 0 where nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def memory(pid: int) -> str:
    """The most memory that a process has held; of the engine's client, where there is an engine."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return f"{int(line.split()[1]) // 1024} MB held at most"


async def until_ok(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait for a probe to succeed."""
    began = time.monotonic()
    while await asyncio.to_thread(status, url) != 200:
        if process.poll() is not None:
            raise SystemExit(f"The worker has ended with {process.returncode} before it was ready; see above.")
        if time.monotonic() - began > PATIENCE:
            raise SystemExit(f"{url} has not succeeded for {PATIENCE:g} s.")
        await asyncio.sleep(0.1)


async def tried(process: subprocess.Popen[bytes], address: str, health: int) -> None:
    """Ask the probes of a worker that has just been started, run two flows that need nothing but the image, stop it."""
    began = time.monotonic()
    try:
        await until_ok(f"http://127.0.0.1:{health}/livez", process)
        await until_ok(f"http://127.0.0.1:{health}/readyz", process)
        print(f"ready after {time.monotonic() - began:.1f} s")
        runtime = await TemporalRuntime.connect(ConnectionSettings(address=address))
        runtime.task_queue = QUEUE
        order = {"order_id": "A-1001", "amount_cents": 1200, "reason": "broken", "customer": "Ann"}
        refund = await (await runtime.start_flow("RefundFlow", order))
        print(f"RefundFlow: {refund['status']}")
        index = await (await runtime.start_flow("IndexFlow", {"folder": "/app", "index": "try"}))
        print(f"IndexFlow: {index['indexed']} documents; {memory(process.pid)}")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, 30)
        print(f"SIGTERM: exit code {code} after {time.monotonic() - began:.1f} s")
        if refund["status"] != "paid" or index["indexed"] == 0 or code != 0:
            raise SystemExit("The image does not do what it should; see above.")
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Read the arguments, start a server, try the image."""
    wait_at_exit()
    kind, what, more = sys.argv[1:4]
    health = free_port()
    with DevServer.private() as server:
        settings = {
            "TEMPORAL_ADDRESS": server.address,
            "TEMPORAL_TASK_QUEUE": QUEUE,
            "EVERSTEP_HEALTH_ADDRESS": f"127.0.0.1:{health}",
            "EVERSTEP_GRACEFUL_SHUTDOWN": "10",
        }
        if kind == "engine":
            start = by_engine(what, more, settings)
        else:
            config = json.loads(Path(more).read_text())
            start = by_chroot(what, config.get("Docker", {}).get("config", config), settings)
        asyncio.run(tried(subprocess.Popen(start), server.address, health))


if __name__ == "__main__":
    main()
