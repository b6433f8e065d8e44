"""The fixture `driver`: every test of this directory runs once on each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.drivers import Driver, LocalDriver, TemporalDriver, TimeSkippingDriver


@pytest.fixture(params=["local", "time-skipping", "dev-server"])
async def driver(request: pytest.FixtureRequest) -> AsyncIterator[Driver]:
    """Runs flows on each of the drivers."""
    driver = LocalDriver() if request.param == "local" else await _connected(request)
    async with driver.stack:
        yield driver


@pytest.fixture(params=["time-skipping", "dev-server"])
async def temporal_driver(request: pytest.FixtureRequest) -> AsyncIterator[TemporalDriver]:
    """Runs flows on each of the Temporal servers."""
    driver = await _connected(request)
    async with driver.stack:
        yield driver


async def _connected(request: pytest.FixtureRequest) -> TemporalDriver:
    if request.param == "time-skipping":
        return await TimeSkippingDriver.connect(request.getfixturevalue("skipping_server"))
    return await TemporalDriver.connect(request.getfixturevalue("dev_server").address)
