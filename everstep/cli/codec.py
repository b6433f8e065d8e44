"""`codec-server`: decode payloads for the Temporal UI and the `temporal` command."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from everstep.cli.exits import CommandError, Exit
from everstep.errors import MissingExtraError
from everstep.temporal.privacy.server import ORIGINS_SETTING, TOKEN_SETTING, codec_app
from everstep.temporal.privacy.settings import PrivacySettings
from everstep.temporal.settings import ConnectionSettings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def codec_server(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port to listen on.")] = 8081,
    origin: Annotated[
        list[str] | None,
        typer.Option("--origin", help=f"A web UI that may ask; default {ORIGINS_SETTING}, else the UI of the server."),
    ] = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="Serve without a token; on 127.0.0.1 only.")] = False,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain, PEM; for HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its private key, PEM.")] = None,
) -> None:
    """Serve the codec of EVERSTEP_ENCRYPTION_KEYS and EVERSTEP_STORAGE over HTTP.

    Whoever asks needs the token in EVERSTEP_CODEC_TOKEN; several, with commas between them, all hold, so that they can
    be changed one after the other.

    Examples:

      EVERSTEP_CODEC_TOKEN=… {command} --origin https://temporal.example.com

      {command} --no-token --origin http://127.0.0.1:8233

      temporal workflow show -w RUN --codec-endpoint http://127.0.0.1:8081 --codec-auth "Bearer …"
    """
    tokens = [token.strip() for token in os.environ.get(TOKEN_SETTING, "").split(",") if token.strip()]
    if no_token and (tokens or host not in _LOOPBACK):
        raise CommandError(
            f"--no-token goes with no {TOKEN_SETTING}, and with 127.0.0.1 only: others must not read without a token.",
            Exit.USAGE,
        )
    if not tokens and not no_token:
        raise CommandError(
            f"Set {TOKEN_SETTING} to a secret that readers send, such as `openssl rand -hex 32` gives; or serve on "
            "this machine alone with --no-token.",
            Exit.USAGE,
        )
    if (tls_cert is None) != (tls_key is None):
        raise CommandError("Give --tls-cert and --tls-key, or neither.", Exit.USAGE)
    for path in (tls_cert, tls_key):
        if path is not None and not path.is_file():
            raise CommandError(f"There is no file {path}.", Exit.USAGE)
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError("codec-server", "uvicorn") from error
    settings, origins = PrivacySettings.load(), _origins(origin)
    app = codec_app(settings.data_converter(), tokens=tokens, origins=origins)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    scheme = "http" if tls_cert is None else "https"
    told = [f"{name}: {what}" for name, what in settings.describe().items()] or ["nothing is encrypted or stored"]
    sys.stderr.write(
        f"codec server at {scheme}://{host}:{port}, for {', '.join(origins) or 'no web UI'}; {'; '.join(told)}\n"
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn ends gracefully, and then raises the signal once more
        signal.signal(number, _end)
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        timeout_graceful_shutdown=5,
    )


def _end(*_: object) -> None:
    sys.exit(Exit.OK)


def _origins(given: list[str] | None) -> list[str]:
    named = given or os.environ.get(ORIGINS_SETTING, "").split(",")
    origins = [origin.strip().rstrip("/") for origin in named if origin.strip()]
    if origins:
        return origins
    known = ConnectionSettings.load().ui_url
    return [] if known is None else ["/".join(known.split("/")[:3])]
