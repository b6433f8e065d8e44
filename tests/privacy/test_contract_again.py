"""Parts of the contract once more, on a dev server, with payloads encrypted, compressed and mostly stored outside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from everstep.temporal.devserver import DevServer
from tests.contract import (
    test_children,
    test_continue_as_new,
    test_edit_state,
    test_failures,
    test_internal_events,
    test_published_events,
    test_requests,
)
from tests.privacy.conftest import converter
from tests.support.drivers import TemporalDriver

pytestmark = pytest.mark.slow

WHOLE = (test_failures, test_published_events, test_requests)
SOME = (
    test_children.test_a_failed_child_is_an_error_of_the_step,
    test_children.test_requests_of_children_are_answered_at_the_run_above,
    test_continue_as_new.test_an_open_request_crosses,
    test_edit_state.test_no_change_is_lost_to_another_step,
    test_internal_events.test_the_states_of_steps_are_told,
    test_internal_events.test_an_outcome_that_does_not_count_is_told,
)
for module in WHOLE:
    globals().update({name: test for name, test in vars(module).items() if name.startswith("test_")})
globals().update({test.__name__: test for test in SOME})


@pytest.fixture
async def temporal_driver(dev_server: DevServer, ring: Path, tmp_path: Path) -> AsyncIterator[TemporalDriver]:
    """A dev server, reached with everything on."""
    settings = {"everstep_storage": str(tmp_path / "store"), "everstep_storage_above": "400"}
    private = converter(ring, **settings, everstep_compress_above="200")
    driver = TemporalDriver(await Client.connect(dev_server.address, data_converter=private))
    async with driver.stack:
        yield driver


@pytest.fixture
def driver(temporal_driver: TemporalDriver) -> TemporalDriver:
    """The same, where the contract asks for any driver."""
    return temporal_driver
