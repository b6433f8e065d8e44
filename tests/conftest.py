"""Servers that tests share: each is started when a test first asks for it, and ends with the session, or with the test.

Every process of pytest-xdist has its own. What they need is imported with them, so that a test file without servers
starts fast.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from temporalio.client import Client

    from everstep.temporal.devserver import DevServer


def pytest_configure() -> None:
    """Take Ctrl-C again where a shell has started the tests in its background: the programs they start inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def dev_server() -> Iterator[DevServer]:
    """A tuned Temporal dev server with everstep's search attribute."""
    from everstep.temporal.devserver import DevServer
    from everstep.temporal.exit import wait_at_exit

    wait_at_exit()
    with DevServer.private() as server:
        yield server


@pytest.fixture(scope="session")
def plain_server() -> Iterator[DevServer]:
    """A Temporal dev server that does not know everstep's search attribute."""
    from everstep.temporal.devserver import DevServer
    from everstep.temporal.exit import wait_at_exit

    wait_at_exit()
    with DevServer.private(search_attributes={}) as server:
        yield server


@pytest.fixture
def skipping_server() -> Iterator[str]:
    """The address of a time-skipping test server; its time skips only while somebody waits.

    It is this test's own: time that one test has skipped is gone for the next, and an activity that outlives its run
    keeps the server from skipping ever after. It starts in 0.2 s.
    """
    from everstep.testing.skipping_server import time_skipping_server

    with time_skipping_server() as address:
        yield address


@pytest.fixture
async def client(dev_server: DevServer) -> Client:
    """A client of the dev server."""
    from temporalio.client import Client

    return await Client.connect(dev_server.address)


@pytest.fixture
async def plain_client(plain_server: DevServer) -> Client:
    """A client of the dev server without the search attribute."""
    from temporalio.client import Client

    return await Client.connect(plain_server.address)


@pytest.fixture
async def skipping_client(skipping_server: str) -> Client:
    """A client of the test server: while it waits for a run, the server skips time."""
    from temporalio.client import Client

    from everstep.testing.time_skipping import SkipWhileWaiting

    return await Client.connect(skipping_server, interceptors=[SkipWhileWaiting()])
