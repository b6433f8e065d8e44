"""Which version a worker is, by its environment: what Temporal's Worker Controller sets, and the behavior chosen."""

from __future__ import annotations

import pytest
from temporalio.common import VersioningBehavior

from everstep.errors import WorkflowConfigurationError
from everstep.temporal.deployment import deployment_from

SHOP = {"TEMPORAL_DEPLOYMENT_NAME": "shop", "TEMPORAL_WORKER_BUILD_ID": "2"}


def test_name_and_build_make_a_version() -> None:
    """Runs that have begun move on to the current one, unless they are to be pinned; without names there is none."""
    assert deployment_from({}) is None
    config = deployment_from(SHOP)
    assert config is not None
    assert (config.version.deployment_name, config.version.build_id) == ("shop", "2")
    assert config.use_worker_versioning
    assert config.default_versioning_behavior is VersioningBehavior.AUTO_UPGRADE
    pinned = deployment_from({**SHOP, "EVERSTEP_VERSIONING_BEHAVIOR": "PINNED"})
    assert pinned is not None
    assert pinned.default_versioning_behavior is VersioningBehavior.PINNED


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"TEMPORAL_DEPLOYMENT_NAME": "shop"}, "TEMPORAL_WORKER_BUILD_ID is not"),
        ({"TEMPORAL_WORKER_BUILD_ID": "2"}, "TEMPORAL_DEPLOYMENT_NAME is not"),
        ({**SHOP, "TEMPORAL_DEPLOYMENT_NAME": "a.b"}, "no dot"),
        ({"EVERSTEP_VERSIONING_BEHAVIOR": "both"}, "auto_upgrade or pinned"),
    ],
)
def test_what_makes_no_version_is_refused(environment: dict[str, str], told: str) -> None:
    """A worker that is half a version would take work that is not its own."""
    with pytest.raises(WorkflowConfigurationError, match=told):
        deployment_from(environment)
