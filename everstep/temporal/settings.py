"""Which Temporal server to speak to, and connecting to it.

The rule: what the standard TEMPORAL_* settings or the Temporal configuration file say holds. When they name
no server (no address, no API key, no TLS), it is the embedded dev server of the project directory, if it runs;
else Temporal's own default, localhost:7233.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import TLSConfig

from everstep.errors import EverstepError, SettingsError
from everstep.temporal.devserver import DEFAULT_DIRECTORY, DEFAULT_PORT, DEFAULT_UI_PORT, find_dev_server
from everstep.temporal.privacy import private_converter
from everstep.temporal.refusals import Refusal, refusal

DEFAULT_TASK_QUEUE = "everstep"
DEFAULT_ADDRESS = f"localhost:{DEFAULT_PORT}"
CLOUD_SUFFIXES = (".tmprl.cloud", ".temporal.io")

Source = Literal["settings", "embedded", "default"]


class ConnectionFailedError(EverstepError):
    """No Temporal server answers where the settings point. `lasting` where waiting does not mend it."""

    lasting: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Where the Temporal server is and how to speak to it; usually from `ConnectionSettings.load()`.

    Attributes:
        address: host and port.
        namespace: the server's namespace.
        task_queue: what workers poll and runs are started on, where nothing else is said.
        api_key: for Temporal Cloud and the like.
        tls: whether to speak TLS, or how; None: with an API key only.
        rpc_metadata: headers of every call.
        ui_url: the web UI, for links.
        source: where the address comes from.
    """

    address: str = DEFAULT_ADDRESS
    namespace: str = "default"
    task_queue: str = DEFAULT_TASK_QUEUE
    api_key: str | None = field(default=None, repr=False)
    tls: bool | TLSConfig | None = field(default=None, repr=False)
    rpc_metadata: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    ui_url: str | None = None
    source: Source = "default"
    """Where the address comes from: the settings, the embedded dev server, or Temporal's default."""

    @classmethod
    def load(
        cls,
        *,
        directory: Path = DEFAULT_DIRECTORY,
        profile: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Read the settings, by the rule at the top of this module.

        Beside Temporal's own variables: TEMPORAL_TASK_QUEUE (default "everstep") and EVERSTEP_UI_URL, the
        address of the web UI, for links.

        Args:
            directory: the project directory whose embedded dev server may be used.
            profile: of the Temporal configuration file, instead of TEMPORAL_PROFILE.
            environment: to read instead of this process's own.

        Raises:
            SettingsError: the configuration file cannot be read, or has no such profile.
        """
        env = os.environ if environment is None else environment
        try:
            found = ClientConfigProfile.load(profile, override_env_vars=dict(env))
            config = found.to_client_connect_config()
        except (RuntimeError, ValueError, OSError) as error:
            raise SettingsError(
                f"The Temporal settings cannot be read: {error}. Check TEMPORAL_CONFIG_FILE, "
                "TEMPORAL_PROFILE and the TEMPORAL_TLS_* variables."
            ) from error
        address, ui_url, source = _place(found, directory)
        return cls(
            address=address,
            namespace=found.namespace or "default",
            task_queue=env.get("TEMPORAL_TASK_QUEUE") or DEFAULT_TASK_QUEUE,
            api_key=found.api_key,
            tls=config.get("tls"),
            rpc_metadata=found.grpc_meta,
            ui_url=(env.get("EVERSTEP_UI_URL") or ui_url or "").rstrip("/") or None,
            source=source,
        )

    @classmethod
    def of(cls, given: Self | str | None) -> Self:
        """These settings; for an address those of the environment, but with that; for None those of the environment."""
        if isinstance(given, str):
            return cls.load(environment={**os.environ, "TEMPORAL_ADDRESS": given})
        return given or cls.load()

    @property
    def protection(self) -> str:
        """How the connection is protected, in a few words, without what is secret of it."""
        if not self.tls:
            return "no TLS" if self.api_key is None else "no TLS, API key"
        mutual = isinstance(self.tls, TLSConfig) and self.tls.client_cert is not None
        return ", ".join(["mutual TLS" if mutual else "TLS", *(["API key"] if self.api_key is not None else [])])

    def run_url(self, workflow_id: str, run_id: str | None = None) -> str | None:
        """The page of a run in the Temporal UI, or None when no UI is known."""
        if self.ui_url is None:
            return None
        parts = ["namespaces", self.namespace, "workflows", workflow_id]
        parts += [] if run_id is None else [run_id, "history"]
        return "/".join([self.ui_url, *(quote(part, safe="") for part in parts)])


async def connect(
    settings: ConnectionSettings | str | None = None,
    *,
    timeout: float = 10,
    data_converter: DataConverter = DataConverter.default,
    **options: Any,
) -> Client:
    """A Temporal client for these settings, by default for those of the environment.

    Payloads are encrypted, compressed and stored as the EVERSTEP_* settings say; see `PrivacySettings`.

    Args:
        settings: from `ConnectionSettings.load()`, or made by hand; or an address alone, such as ``localhost:7233``.
        timeout: seconds to wait for the server.
        data_converter: of your own; what the settings ask for is added, unless it has a codec or a storage itself.
        options: further arguments of `temporalio.client.Client.connect`: plugins, interceptors, …

    Raises:
        SettingsError: the settings cannot be used.
        MissingExtraError: they need an extra that is not installed.
        ConnectionFailedError: no server answers; names the address and the remedy.

    Example:
        client = await connect(plugins=[EverstepPlugin(flows=[MyFlow])])
    """
    chosen = await asyncio.to_thread(ConnectionSettings.of, settings)
    converter = await asyncio.to_thread(private_converter, data_converter)
    try:
        async with asyncio.timeout(timeout):
            return await Client.connect(
                chosen.address,
                namespace=chosen.namespace,
                api_key=chosen.api_key,
                tls=chosen.tls,
                rpc_metadata=chosen.rpc_metadata,
                data_converter=converter,
                **options,
            )
    except TimeoutError as error:
        raise _unreachable(chosen, Refusal(f"no answer within {timeout:g} s")) from error
    except ValueError as error:
        raise SettingsError(
            f"The Temporal settings do not fit together: {error}. Check TEMPORAL_TLS_CLIENT_CERT_PATH, "
            "TEMPORAL_TLS_CLIENT_KEY_PATH and TEMPORAL_ADDRESS."
        ) from error
    except RuntimeError as error:
        if "Failed client connect" not in str(error):
            raise
        certificate = isinstance(chosen.tls, TLSConfig) and chosen.tls.client_cert is not None
        why = refusal(
            str(error), tls=bool(chosen.tls), client_certificate=certificate, api_key=chosen.api_key is not None
        )
        raise _unreachable(chosen, why) from error


def _place(found: ClientConfigProfile, directory: Path) -> tuple[str, str | None, Source]:
    """Address, web UI and source, by the rule at the top of this module."""
    if found.address:
        return found.address, _usual_ui(found.address) or _embedded_ui(found.address, directory), "settings"
    if found.api_key is None and found.tls is None:
        server = find_dev_server(directory)
        if server is not None:
            return server.address, server.ui_url, "embedded"
    return DEFAULT_ADDRESS, _usual_ui(DEFAULT_ADDRESS), "default"


def _usual_ui(address: str) -> str | None:
    """Where the web UI usually is for a server at this address, or None."""
    host, _, port = address.rpartition(":")
    if host in ("localhost", "127.0.0.1") and port == str(DEFAULT_PORT):
        return f"http://{host}:{DEFAULT_UI_PORT}"
    return "https://cloud.temporal.io" if host.endswith(CLOUD_SUFFIXES) else None


def _embedded_ui(address: str, directory: Path) -> str | None:
    """The web UI where the address is that of the embedded dev server, or None."""
    if not address.startswith(("127.0.0.1:", "localhost:")):
        return None
    server = find_dev_server(directory)
    ours = server is not None and server.address.rpartition(":")[2] == address.rpartition(":")[2]
    return server.ui_url if server is not None and ours else None


def _unreachable(settings: ConnectionSettings, why: Refusal) -> ConnectionFailedError:
    usual = {
        "settings": "Check TEMPORAL_ADDRESS (or the profile in your Temporal configuration file), "
        "TEMPORAL_API_KEY and TEMPORAL_TLS_*, or unset them and run `everstep dev` for a server of your own.",
        "embedded": "The embedded dev server has just ended: start it again with `everstep dev`.",
        "default": "Start a server with `everstep dev`, or set TEMPORAL_ADDRESS to one that runs.",
    }[settings.source]
    at = settings.address
    fault = f"The Temporal server at {at} cannot be used" if why.lasting else f"No Temporal server answers at {at}"
    error = ConnectionFailedError(f"{fault}: {why.reason}. {why.remedy or usual}")
    error.lasting = why.lasting
    return error
