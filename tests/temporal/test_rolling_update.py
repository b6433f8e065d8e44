"""A rolling update under 200 open runs: none is lost, none fails, nothing is done twice, no workflow task fails.

Two workers of version 1 give way to one of version 2, by SIGTERM and by SIGKILL, with a worker deployment and without.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import Client

from everstep.temporal.devserver import DevServer
from everstep.temporal.runs import list_runs
from tests.support.rolling_fleet import Fleet
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

OPEN, LATE = 200, 20


@pytest.mark.parametrize("versioned", [False, True], ids=["without a deployment", "with deployment versions"])
async def test_open_runs_survive_a_rolling_update(
    client: Client,
    dev_server: DevServer,
    task_queue: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    versioned: bool,
) -> None:
    """Runs wait for people, are amid steps, between steps and on timers; one old worker drains, the other is killed."""
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
        await old[0].stop()
        old[1].kill()
        await fleet.start(LATE, "late", ("step", "hops"))
        await fleet.approve_all()
        by = await fleet.results()
        repeated = fleet.check_effects()
        assert await fleet.workflow_task_failures() == []
    print(f"{len(running)} open at the update, {dict(by)} finished by version, {repeated} attempts repeated")
    assert by[1] + by[2] == OPEN + LATE
    assert by[2] > OPEN // 2 + LATE
