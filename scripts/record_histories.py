"""Record the histories that tests replay: `python scripts/record_histories.py 0.1`, once for each version or protocol.

Writes tests/histories/<version>/<run>.<execution>.json. A released version is never recorded again: what it wrote
stands in its users' servers.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from temporalio.client import Client

from everstep.temporal import Limits, TemporalRuntime, serving
from everstep.temporal.devserver import DevServer
from tests.support.recorded_flows import FLOWS, RECORDINGS, start
from tests.support.recorded_later import LATER, LATER_FLOWS

HISTORIES = Path(__file__).parents[1] / "tests" / "histories"


async def record(folder: Path) -> None:
    """Run every recording on a server of its own and write its histories, one file an execution."""
    async with DevServer.private() as server:
        client = await Client.connect(server.address)
        for name, (_, _, _, limits, drive) in RECORDINGS.items():
            async with serving(client, FLOWS, task_queue=name, limits=limits):
                handler = await start(TemporalRuntime(client, task_queue=name), name)
                await drive(handler)
            await write(client, folder, name)
        for name, run in LATER.items():
            begun = await TemporalRuntime(client, task_queue=name).start_flow(
                run.flow.__name__, run.start, run_id=name, state=run.state
            )

            def serve(queue: str = name, limits: Limits = run.limits) -> AbstractAsyncContextManager[Any]:
                return serving(client, LATER_FLOWS, task_queue=queue, limits=limits)

            await run.drive(begun, serve)
            for run_id in (name, *(f"{name}/{child}" for child in run.children)):
                await write(client, folder, run_id)


async def write(client: Client, folder: Path, name: str) -> None:
    """Write all executions of a run."""
    number = 0
    runs = [run async for run in client.list_workflows(f"WorkflowId = '{name}'")]
    for run in sorted(runs, key=lambda run: run.start_time):
        number += 1
        history = await client.get_workflow_handle(name, run_id=run.run_id).fetch_history()
        (folder / f"{name.replace('/', '-')}.{number}.json").write_text(history.to_json() + "\n")
    print(f"{name}: {number} execution{'s' if number > 1 else ''}")


def main() -> None:
    """Record into a new folder, named after the version."""
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/record_histories.py VERSION, such as 0.1")
    folder = HISTORIES / sys.argv[1]
    if folder.exists():
        sys.exit(f"{folder} is there already: what a version wrote is not recorded again")
    folder.mkdir(parents=True)
    asyncio.run(record(folder))
    sys.stdout.flush()
    os._exit(0)  # the Temporal client can crash a short process at its end


if __name__ == "__main__":
    main()
