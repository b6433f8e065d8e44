"""Try an image of everstep: start its worker read-only and as its user, ask its probes, run flows, stop it.

    python scripts/try_image.py engine docker everstep:0.1.0
    python scripts/try_image.py root /path/to/its/files config.json      without an engine, as root

Either way the root file system is read-only, nothing but /tmp and /var/lib/everstep can be written, and there are no
capabilities. The flows are started by the image's own starter.py, as docs/deploy.md does it in a pod. The Temporal
server is one of its own.
"""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from everstep.temporal.devserver import DevServer

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


Command = Callable[[Sequence[str]], list[str]]
"""Gives what starts some words in the image; without words, what the image is for."""


def by_engine(engine: str, image: str, settings: Mapping[str, str]) -> Command:
    """By docker or podman."""
    restrictions = "--rm --network host --read-only --tmpfs /tmp --tmpfs /var/lib/everstep:uid=10001,gid=10001"
    variables = [f"--env={name}={value}" for name, value in settings.items()]
    safety = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    return lambda words: [engine, "run", *restrictions.split(), *safety, *variables, image, *words]


def by_chroot(root: str, config: Mapping[str, Any], settings: Mapping[str, str]) -> Command:
    """In the files of an image, as its configuration says."""
    own = dict(entry.split("=", 1) for entry in config["Env"])
    uid, _, gid = config["User"].partition(":")
    if not uid.isdigit() or int(uid) == 0:
        raise SystemExit(f"The image runs as user {uid!r}: it must be a number above 0.")

    def command(words: Sequence[str]) -> list[str]:
        script = ENTER.format(
            root=shlex.quote(root),
            uid=uid,
            gid=gid or uid,
            directory=shlex.quote(config["WorkingDir"]),
            variables=shlex.join(f"{name}={value}" for name, value in {**own, **settings}.items()),
            command=shlex.join([*(config.get("Entrypoint") or []), *(words or config.get("Cmd") or [])]),
        )
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]

    return command


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


def until_ok(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait for a probe to succeed."""
    began = time.monotonic()
    while status(url) != 200:
        if process.poll() is not None:
            raise SystemExit(f"The worker has ended with {process.returncode} before it was ready; see above.")
        if time.monotonic() - began > PATIENCE:
            raise SystemExit(f"{url} has not succeeded for {PATIENCE:g} s.")
        time.sleep(0.1)


def started(start: Command, *words: str) -> Any:
    """What the image's starter.py prints, as JSON."""
    ran = subprocess.run(start(["python3", "starter.py", *words]), stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
    if ran.returncode:
        raise SystemExit(f"starter.py {shlex.join(words)}: exit code {ran.returncode}; see above.")
    return json.loads(ran.stdout)


def tried(start: Command, health: int) -> None:
    """Start the worker, ask its probes, run two flows that need nothing but the image, stop it."""
    began = time.monotonic()
    process = subprocess.Popen(start([]))
    try:
        until_ok(f"http://127.0.0.1:{health}/livez", process)
        until_ok(f"http://127.0.0.1:{health}/readyz", process)
        print(f"ready after {time.monotonic() - began:.1f} s, {memory(process.pid)}")
        order = "order_id=A-1001 amount_cents=1200 reason=broken customer=Ann"
        started(start, "run", "RefundFlow", "--id", "first", *order.split())
        refund = started(start, "result", "first")
        print(f"RefundFlow: {refund['status']}")
        started(start, "run", "IndexFlow", "--id", "second", "folder=/app", "index=try")
        index = started(start, "result", "second")
        print(f"IndexFlow: {index['indexed']} documents; {memory(process.pid)}")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        print(f"SIGTERM: exit code {code} after {time.monotonic() - began:.1f} s")
        if refund["status"] != "paid" or index["indexed"] == 0 or code != 0:
            raise SystemExit("The image does not do what it should; see above.")
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Read the arguments, start a server, try the image."""
    kind, what, more = sys.argv[1:4]
    health = free_port()
    with DevServer.private() as server:
        settings = {
            "TEMPORAL_ADDRESS": server.address,
            "EVERSTEP_HEALTH_ADDRESS": f"127.0.0.1:{health}",
            "EVERSTEP_GRACEFUL_SHUTDOWN": "10",
        }
        if kind == "engine":
            start = by_engine(what, more, settings)
        else:
            config = json.loads(Path(more).read_text())
            start = by_chroot(what, config.get("Docker", {}).get("config", config), settings)
        tried(start, health)


if __name__ == "__main__":
    main()
