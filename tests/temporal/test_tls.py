"""Ways to a server that is not open to all: TLS, mTLS, API keys, profiles; and what is said where they do not fit.

The proxy stands in for what is before a production server. Everything is set as Temporal documents it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from everstep import Workflow, step
from everstep.events import StartEvent, StopEvent
from everstep.temporal import TemporalRuntime, serving
from everstep.temporal.devserver import DevServer
from everstep.temporal.settings import ConnectionFailedError, ConnectionSettings, SettingsError, connect
from tests.support.certificates import Authority
from tests.support.grpc_proxy import GrpcProxy


class Hello(Workflow):
    @step
    async def greet(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=f"Hello, {ev.name}!")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the certificates are."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    """Who signs for the server, and for its clients."""
    return Authority(folder)


@pytest.fixture(scope="module")
def with_tls(dev_server: DevServer, authority: Authority) -> Iterator[GrpcProxy]:
    """A server that shows a certificate of the authority."""
    with GrpcProxy(dev_server.address, authority.sign("server")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def with_mtls(dev_server: DevServer, authority: Authority) -> Iterator[GrpcProxy]:
    """One that asks its clients for theirs."""
    with GrpcProxy(dev_server.address, authority.sign("asking"), authority.file) as proxy:
        yield proxy


def loaded(**environment: str) -> ConnectionSettings:
    """The settings of an environment that has these variables and no others."""
    return ConnectionSettings.load(environment={"TEMPORAL_CONFIG_FILE": "/nowhere", **environment})


async def runs(settings: ConnectionSettings, queue: str) -> bool:
    """Whether a worker and a run work, by these settings."""
    client = await connect(settings)
    async with serving(client, [Hello], task_queue=queue):
        return (
            await (await TemporalRuntime(client, task_queue=queue).start_flow("Hello", {"name": "Ann"}))
            == "Hello, Ann!"
        )


async def test_a_worker_serves_over_mutual_tls(with_mtls: GrpcProxy, authority: Authority, task_queue: str) -> None:
    """The server's certificate is checked by the authority given, and the client's own is shown."""
    client = authority.sign("worker")
    assert await runs(
        loaded(
            TEMPORAL_ADDRESS=with_mtls.address,
            TEMPORAL_TLS_SERVER_CA_CERT_PATH=str(authority.file),
            TEMPORAL_TLS_CLIENT_CERT_PATH=str(client.certificate),
            TEMPORAL_TLS_CLIENT_KEY_PATH=str(client.key),
        ),
        task_queue,
    )


async def test_an_api_key_goes_with_every_call(with_tls: GrpcProxy, authority: Authority, task_queue: str) -> None:
    """As a bearer token; a profile of the configuration file does as well as variables."""
    file = authority.file.parent / "temporal.toml"
    file.write_text(
        f'[profile.production]\naddress = "{with_tls.address}"\napi_key = "key-1"\n'
        f'[profile.production.tls]\nserver_ca_cert_path = "{authority.file}"\n'
    )
    with_tls.api_key, with_tls.seen = "key-1", set()
    try:
        assert await runs(loaded(TEMPORAL_CONFIG_FILE=str(file), TEMPORAL_PROFILE="production"), task_queue)
    finally:
        with_tls.api_key = None
    assert with_tls.seen == {"Bearer key-1"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SERVER_CA_CERT_PATH": "other.pem"}, "not trusted. Set TEMPORAL_TLS_SERVER_CA_CERT_PATH"),
        ({"SERVER_CA_CERT_PATH": "authority.pem", "SERVER_NAME": "example.com"}, "Set TEMPORAL_TLS_SERVER_NAME"),
        ({}, "closed the connection. It may want TLS: set TEMPORAL_TLS=true"),
        (
            {"SERVER_CA_CERT_PATH": "authority.pem", "API_KEY": "key-2"},
            "did not accept the credentials. Check TEMPORAL_API_KEY",
        ),
        ({"SERVER_CA_CERT_PATH": "authority.pem"}, "did not accept the credentials. Set TEMPORAL_API_KEY"),
        (
            {"SERVER_CA_CERT_PATH": "authority.pem", "CLIENT_CERT_PATH": "x.pem", "CLIENT_KEY_PATH": "x.pem"},
            "Give PEM files by TEMPORAL_TLS_CLIENT_CERT_PATH",
        ),
    ],
)
async def test_what_does_not_fit_is_named(
    with_tls: GrpcProxy, authority: Authority, settings: dict[str, str], said: str
) -> None:
    """Another authority, another name, no TLS, a wrong key, no key, a file that is no certificate."""
    folder = authority.file.parent
    Authority(folder, "other")
    (folder / "x.pem").write_text("nothing")
    named = {name: str(folder / value) if name.endswith("PATH") else value for name, value in settings.items()}
    prefixed = {f"TEMPORAL_{'' if name == 'API_KEY' else 'TLS_'}{name}": value for name, value in named.items()}
    with_tls.api_key = "key-1"
    try:
        with pytest.raises(ConnectionFailedError, match=said):
            await connect(loaded(TEMPORAL_ADDRESS=with_tls.address, **prefixed))
    finally:
        with_tls.api_key = None


async def test_a_certificate_that_has_expired_is_told_with_its_day(dev_server: DevServer, authority: Authority) -> None:
    """Waiting does not mend that: a worker that waits for its server does not wait for this."""
    with GrpcProxy(dev_server.address, authority.sign("old", days=-1)) as proxy:
        settings = loaded(TEMPORAL_ADDRESS=proxy.address, TEMPORAL_TLS_SERVER_CA_CERT_PATH=str(authority.file))
        with pytest.raises(ConnectionFailedError, match=r"expired, on \d{4}-\d\d-\d\d") as caught:
            await connect(settings)
    assert caught.value.lasting


@pytest.mark.parametrize("shown", ["none", "stranger", "expired"])
async def test_a_missing_or_refused_client_certificate_is_named(
    with_mtls: GrpcProxy, authority: Authority, shown: str
) -> None:
    """The server only closes the connection; the error names the settings of the client's certificate."""
    ca = {"TEMPORAL_ADDRESS": with_mtls.address, "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(authority.file)}
    if shown != "none":
        signer = authority if shown == "expired" else Authority(authority.file.parent, "stranger")
        client = signer.sign(shown, days=-1 if shown == "expired" else 1)
        ca |= {
            "TEMPORAL_TLS_CLIENT_CERT_PATH": str(client.certificate),
            "TEMPORAL_TLS_CLIENT_KEY_PATH": str(client.key),
        }
    said = "asks for a client certificate: set" if shown == "none" else "does not accept the client certificate"
    with pytest.raises(ConnectionFailedError, match=f"{said}.*TEMPORAL_TLS_CLIENT_CERT_PATH"):
        await connect(loaded(**ca))


async def test_an_address_alone_is_enough(dev_server: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is as the environment says."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "localhost:1")
    monkeypatch.setenv("TEMPORAL_TASK_QUEUE", "mine")
    runtime = await TemporalRuntime.connect(dev_server.address)
    assert (runtime.task_queue, await runtime.client.service_client.check_health()) == ("mine", True)


async def test_settings_that_cannot_be_read_are_named(authority: Authority) -> None:
    """A file that is not there, and a certificate without its key."""
    with pytest.raises(SettingsError, match=r"gone\.pem"):
        loaded(TEMPORAL_TLS_SERVER_CA_CERT_PATH=str(authority.file.parent / "gone.pem"))
    alone = loaded(TEMPORAL_ADDRESS="localhost:1", TEMPORAL_TLS_CLIENT_CERT_PATH=str(authority.file))
    with pytest.raises(SettingsError, match="TEMPORAL_TLS_CLIENT_KEY_PATH"):
        await connect(alone)
