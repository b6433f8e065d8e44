"""A rolling update under 200 open runs: none is lost, none fails, nothing is done twice, no workflow task fails.

Two workers of version 1 give way to one of version 2, by SIGTERM and by SIGKILL, with a worker deployment and without.
The workers are processes of `worker.py`, with the environment that Temporal's Worker Controller sets.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import VersionDrainageStatus
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentVersionRequest
from temporalio.client import Client

from everstep.temporal.devserver import DevServer
from everstep.temporal.runs import list_runs
from tests.support import rolling_parts
from tests.support.rolling_fleet import Fleet
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

OPEN, LATE = 200, 20


@pytest.mark.parametrize(
    ("versioned", "killed"), [(False, True), (True, False)], ids=["killed, no deployment", "drained, in a deployment"]
)
async def test_open_runs_survive_a_rolling_update(
    client: Client,
    dev_server: DevServer,
    task_queue: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    versioned: bool,
    killed: bool,
) -> None:
    """Runs wait for people, are amid steps, between steps and on timers; the old workers drain, or one is killed."""
    monkeypatch.setenv("ROLLING_FOLDER", str(tmp_path))
    with Fleet(client, dev_server.address, task_queue, tmp_path, versioned=versioned) as fleet:
        old = [fleet.worker(1), fleet.worker(1)]
        for worker in old:
            await worker.polls()
        await fleet.make_current(1)
        await fleet.start(OPEN - OPEN // 4, "open", ("person", "step", "timer"))

        async def all_open() -> bool:
            asking = await list_runs(client, waiting=True, task_queue=task_queue, limit=1000)
            return len(asking) == fleet.count("rest") == OPEN // 4 and fleet.count("charge") == len(fleet.kinds)

        await until(all_open, within=60)
        new = fleet.worker(2)
        await fleet.start(OPEN // 4, "hops", ("hops",))
        running = await list_runs(client, statuses=["running"], task_queue=task_queue, limit=1000)
        await new.polls()
        await fleet.make_current(2)
        rolling_parts.go().touch()
        if killed:
            old.pop().kill()
        await asyncio.gather(*(worker.stop() for worker in old))
        await fleet.start(LATE, "late", ("step", "hops"))
        await fleet.approve_all()
        by = await fleet.results()
        repeated = fleet.check_effects()
        assert await fleet.workflow_task_failures() == []
    print(f"{len(running)} open at the update, {dict(by)} finished by version, {repeated} attempts repeated")
    assert len(running) >= OPEN - OPEN // 4, "but those on timers all wait for the update"
    assert by[1] + by[2] == OPEN + LATE
    assert by[2] > OPEN // 2 + LATE


async def _drainage(client: Client, deployment: str, build: str) -> VersionDrainageStatus.ValueType:
    described = await client.workflow_service.describe_worker_deployment_version(
        DescribeWorkerDeploymentVersionRequest(
            namespace=client.namespace,
            deployment_version=WorkerDeploymentVersion(deployment_name=deployment, build_id=build),
        )
    )
    return described.worker_deployment_version_info.drainage_info.status


async def test_pinned_runs_stay_with_their_version_until_it_is_drained(
    task_queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a controller waits for before it takes the old workers away: the version says that it is drained."""
    monkeypatch.setenv("ROLLING_FOLDER", str(tmp_path))
    soon = {f"matching.wv.VersionDrainageStatus{name}": '"1s"' for name in ("VisibilityGracePeriod", "RefreshInterval")}
    async with DevServer.private(dynamic_config=soon) as server:
        client = await Client.connect(server.address)
        with Fleet(client, server.address, task_queue, tmp_path, versioned=True, behavior="pinned") as fleet:
            old, new = fleet.worker(1), fleet.worker(2)
            await old.polls()
            await fleet.make_current(1)
            await fleet.start(6, "open", ("person",))

            async def asking() -> bool:
                return len(await list_runs(client, waiting=True)) == 6

            await until(asking)
            await new.polls()
            await fleet.make_current(2)
            await fleet.start(3, "late", ("hops",))
            assert (
                await _drainage(client, task_queue, "build-1") == VersionDrainageStatus.VERSION_DRAINAGE_STATUS_DRAINING
            )
            await fleet.approve_all()
            assert await fleet.results() == {1: 6, 2: 3}

            async def drained() -> bool:
                status = await _drainage(client, task_queue, "build-1")
                return status == VersionDrainageStatus.VERSION_DRAINAGE_STATUS_DRAINED

            await until(drained)
            await old.stop()
            fleet.check_effects()
            assert await fleet.workflow_task_failures() == []
