"""GET /livez and /readyz of a worker, by HTTP.

From a thread of its own: where an event loop is held, that is to be told, and not to be shared.
"""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler
from socket import AF_INET6
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from everstep.cli.exits import CommandError, Exit
from everstep.temporal.health import Stage, WorkerHealth

_log = logging.getLogger("everstep.worker")

REQUEST_SECONDS = 10.0
"""How long a client may take over its request."""


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port``; an empty host is every interface.

    Raises:
        CommandError: it is no such thing.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise CommandError(
            f"The health address {text!r} is no host:port: give one such as 127.0.0.1:8080, or 0.0.0.0:8080 for probes "
            "from outside (EVERSTEP_HEALTH_ADDRESS).",
            Exit.USAGE,
        )
    return host.strip("[]") or "0.0.0.0", int(port)


def serve_health(health: WorkerHealth, host: str, port: int) -> str:
    """Answer at this address until the process ends; gives the address, with the port that was taken for port 0.

    Raises:
        CommandError: the address cannot be used.
    """

    class Handler(_Handler):
        asked = health

    kind = _Server6 if ":" in host else _Server
    try:
        server = kind((host, port), Handler)
    except OSError as error:
        raise CommandError(
            f"The health address {host}:{port} cannot be used: {error.strerror or error}. Give a free one by "
            "EVERSTEP_HEALTH_ADDRESS.",
            Exit.USAGE,
        ) from error
    threading.Thread(target=server.serve_forever, name="everstep-health", daemon=True).start()
    return f"{host}:{server.server_address[1]}"


class _Server(ThreadingMixIn, TCPServer):  # http.server's own looks up its name first, which can take seconds
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("a request to the health address broke off", exc_info=True)


class _Server6(_Server):
    address_family = AF_INET6


class _Handler(BaseHTTPRequestHandler):
    asked: WorkerHealth
    timeout = REQUEST_SECONDS
    server_version = "everstep"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a probe."""
        path = self.path.partition("?")[0]
        if path == "/livez":
            reasons = self.asked.live()
            self._answer("live", reasons, {"stage": self.asked.stage})
        elif path == "/readyz":
            polling = self.asked.polling
            about = polling.about if polling is not None and self.asked.stage is Stage.SERVING else {}
            self._answer("ready", self.asked.ready(), {"stage": self.asked.stage, **about})
        else:
            self._send(404, {"error": f"there is no {path}; ask /livez or /readyz"})

    def _answer(self, name: str, reasons: list[str], about: dict[str, Any]) -> None:
        self._send(503 if reasons else 200, {name: not reasons, "reasons": reasons, **about})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Probes are no news."""
