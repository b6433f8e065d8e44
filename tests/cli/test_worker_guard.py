"""What ends a worker that its server does not let in any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from temporalio.client import Client

from everstep.cli.exits import CommandError, Exit
from everstep.cli.worker_guard import guard
from everstep.temporal.devserver import DevServer
from everstep.temporal.settings import ConnectionSettings, connect
from tests.support.certificates import Authority
from tests.support.grpc_proxy import GrpcProxy

SOON = 0.02


async def connected(proxy: GrpcProxy) -> tuple[Client, ConnectionSettings]:
    """A client of the proxy, with an API key."""
    settings = ConnectionSettings(address=proxy.address, api_key="key-1", tls=False)
    return await connect(settings), settings


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, Exit.FAILED, "TEMPORAL_API_KEY"),
        (grpc.StatusCode.PERMISSION_DENIED, Exit.FAILED, "TEMPORAL_API_KEY"),
        (grpc.StatusCode.NOT_FOUND, Exit.NOT_FOUND, "TEMPORAL_NAMESPACE"),
    ],
)
async def test_what_was_let_in_and_is_refused_cannot_go_on(
    dev_server: DevServer, answer: grpc.StatusCode, code: Exit, said: str
) -> None:
    """A key that does not hold any more, or a namespace that is gone: the error names the setting."""
    with GrpcProxy(dev_server.address) as proxy:
        looking = asyncio.ensure_future(guard(*await connected(proxy), every=SOON))
        await asyncio.sleep(5 * SOON)
        assert not looking.done()
        proxy.refused["DescribeNamespace"] = answer
        with pytest.raises(CommandError, match=said) as caught:
            await asyncio.wait_for(looking, 10)
    assert caught.value.code == code


async def test_what_passes_is_waited_for(dev_server: DevServer) -> None:
    """A server that is away, and a description of the namespace that was never permitted, end nothing."""
    with GrpcProxy(dev_server.address) as proxy:
        client = await connected(proxy)
        for answer in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE):
            proxy.refused["DescribeNamespace"] = answer
            looking = asyncio.ensure_future(guard(*client, every=SOON))
            await asyncio.wait([looking], timeout=10 * SOON)
            assert not looking.done()
            looking.cancel()


async def test_a_renewed_certificate_is_taken_by_a_new_start(
    dev_server: DevServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK keeps the client certificate that it began with: once nobody takes it, and another is there, it ends."""
    authority = Authority(tmp_path)
    own = authority.sign("worker")
    with GrpcProxy(dev_server.address, authority.sign("server"), authority.file) as proxy:
        for name, value in {
            "ADDRESS": proxy.address,
            "TLS_SERVER_CA_CERT_PATH": str(authority.file),
            "TLS_CLIENT_CERT_PATH": str(own.certificate),
            "TLS_CLIENT_KEY_PATH": str(own.key),
        }.items():
            monkeypatch.setenv(f"TEMPORAL_{name}", value)
        settings = ConnectionSettings.load()
        looking = asyncio.ensure_future(guard(await connect(settings), settings, every=SOON))
        authority.sign("worker")
        await asyncio.wait([looking], timeout=10 * SOON)
        assert not looking.done()  # the old one still does
    with pytest.raises(CommandError, match=r"TEMPORAL_TLS_.* to be started anew") as caught:
        await asyncio.wait_for(looking, 10)
    assert caught.value.code == Exit.FAILED
