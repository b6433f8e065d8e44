"""Which version of which worker deployment a worker is, by its environment; Temporal's Worker Controller sets it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import WorkerDeploymentConfig

from everstep.errors import WorkflowConfigurationError

BUILD_ID = f"everstep-{version('everstep')}"
"""What runs workflow code, where no deployment says more. Without one the SDK hashes all loaded code, for seconds."""

_BEHAVIORS: Mapping[str, VersioningBehavior] = {
    "auto_upgrade": VersioningBehavior.AUTO_UPGRADE,
    "pinned": VersioningBehavior.PINNED,
}


def deployment_from(environment: Mapping[str, str]) -> WorkerDeploymentConfig | None:
    """The worker deployment version that TEMPORAL_DEPLOYMENT_NAME and TEMPORAL_WORKER_BUILD_ID name; None without them.

    EVERSTEP_VERSIONING_BEHAVIOR says which version takes a run that has begun: `auto_upgrade` (the default) the one
    that is current, `pinned` the one that it began with. A run survives either.

    Args:
        environment: such as `os.environ`.

    Raises:
        WorkflowConfigurationError: one of the two names is missing, or there is no such behavior.

    Example:
        >>> async with serving(client, [MyFlow], deployment_config=deployment_from(os.environ)): ...
    """
    name, build = environment.get("TEMPORAL_DEPLOYMENT_NAME"), environment.get("TEMPORAL_WORKER_BUILD_ID")
    wanted = environment.get("EVERSTEP_VERSIONING_BEHAVIOR") or "auto_upgrade"
    behavior = _BEHAVIORS.get(wanted.lower().replace("-", "_"))
    if behavior is None:
        raise WorkflowConfigurationError(
            f"EVERSTEP_VERSIONING_BEHAVIOR is {wanted!r}, which is none: give {' or '.join(_BEHAVIORS)}."
        )
    if not name and not build:
        return None
    if not name or not build:
        names = ("DEPLOYMENT_NAME", "WORKER_BUILD_ID")
        given, missing = names if name else reversed(names)
        raise WorkflowConfigurationError(
            f"TEMPORAL_{given} is set and TEMPORAL_{missing} is not: a worker is a version of a deployment by both of "
            "them, or of none."
        )
    if "." in name:
        raise WorkflowConfigurationError(
            f"TEMPORAL_DEPLOYMENT_NAME is {name!r}: Temporal allows no dot in the name of a deployment."
        )
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name=name, build_id=build),
        use_worker_versioning=True,
        default_versioning_behavior=behavior,
    )
