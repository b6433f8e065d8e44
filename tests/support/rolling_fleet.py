"""A fleet of real workers of two versions, and many open runs of theirs, for the tests of the rolling update."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from everstep.temporal import TemporalRuntime, names
from everstep.temporal.obstacles import obstacles
from everstep.temporal.payloads import raw
from tests.support import rolling_parts
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
KINDS = ("person", "step", "hops", "timer")
EFFECTS = {
    "person": {"check", "charge", "accept", "finish"},
    "step": {"check", "charge", "finish"},
    "hops": {"check", "charge", "finish", *(f"hop-{number + 1}" for number in range(rolling_parts.HOPS))},
    "timer": {"check", "charge", "rest", "awake", "finish"},
}
"""What a run of each kind does outside, each once."""


class RollingWorker:
    """A process of `worker.py` that serves one version of the flow."""

    def __init__(self, address: str, queue: str, version: int, folder: Path, **environment: str) -> None:
        self.version = version
        self.log = folder / f"worker-{version}-{len(list(folder.iterdir()))}.log"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("TEMPORAL_", "EVERSTEP_"))}
        self._file = self.log.open("wb")
        flow = f"tests.support.rolling_{version}:Rolling"
        self.process = subprocess.Popen(
            [sys.executable, "worker.py", "--flows", flow, "--task-queue", queue, "--graceful-shutdown", "1"],
            cwd=ROOT,
            env={**kept, "TEMPORAL_ADDRESS": address, "ROLLING_VERSION": str(version), **environment},
            stderr=self._file,
        )

    async def polls(self) -> None:
        """Return once it polls its task queue."""

        async def seen() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return "polls task queue" in self.log.read_text()

        await until(seen, within=60)

    async def stop(self) -> None:
        """SIGTERM, as from Kubernetes; return when it has ended."""
        self.process.terminate()
        assert await asyncio.to_thread(self.process.wait, 30) == 0, self.log.read_text()

    def kill(self) -> None:
        """SIGKILL, as from a machine that is gone."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.kill()
        self._file.close()


class Fleet:
    """Workers and runs on one task queue.

    Args:
        client: connected to `address`.
        versioned: workers are versions of a deployment, named as the queue.
        folder: for logs, and for the journal of what was done.
        behavior: of versioned workers, towards runs that have begun.
    """

    def __init__(
        self, client: Client, address: str, queue: str, folder: Path, *, versioned: bool, behavior: str = ""
    ) -> None:
        self.client = client
        self.queue = queue
        self._address = address
        self._folder = folder
        self._versioned = versioned
        self._behavior = behavior
        self._runtime = TemporalRuntime(client, task_queue=queue)
        self._workers = ExitStack()
        self.kinds: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._workers.close()

    def worker(self, version: int) -> RollingWorker:
        """Start a worker of a version; in a deployment it gets what Temporal's Worker Controller would set."""
        environment = {"ROLLING_FOLDER": str(self._folder)}
        if self._versioned:
            environment |= {"TEMPORAL_DEPLOYMENT_NAME": self.queue, "TEMPORAL_WORKER_BUILD_ID": f"build-{version}"}
        if self._behavior:
            environment["EVERSTEP_VERSIONING_BEHAVIOR"] = self._behavior
        worker = RollingWorker(self._address, self.queue, version, self._folder, **environment)
        return self._workers.enter_context(worker)

    async def make_current(self, version: int) -> None:
        """New work goes to this version; nothing to do without a deployment."""
        if not self._versioned:
            return
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=self.client.namespace, deployment_name=self.queue, build_id=f"build-{version}"
        )

        async def accepted() -> bool:
            try:
                await self.client.workflow_service.set_worker_deployment_current_version(request)
            except RPCError as error:
                if error.status != RPCStatusCode.FAILED_PRECONDITION and error.status != RPCStatusCode.NOT_FOUND:
                    raise
                return False  # the server has not heard of this version's pollers yet
            return True

        await until(accepted, every=0.2)

    async def start(self, count: int, prefix: str, kinds: tuple[str, ...] = KINDS) -> None:
        """Start so many runs, of the kinds in turn."""
        gate = asyncio.Semaphore(20)

        async def start(number: int) -> None:
            kind, run_id = kinds[number % len(kinds)], f"{self.queue}-{prefix}-{number}"
            async with gate:
                await self._runtime.start_flow("Rolling", {"kind": kind}, run_id=run_id)
            self.kinds[run_id] = kind

        await asyncio.gather(*(start(number) for number in range(count)))

    def count(self, effect: str) -> int:
        """How many runs have done something outside."""
        return sum(effect in effects for effects in rolling_parts.done().values())

    async def approve_all(self) -> None:
        """Answer all that ask, by plain signals."""
        people = [run_id for run_id, kind in self.kinds.items() if kind == "person"]
        body = raw({"approved": True, "by": "ann"})
        await asyncio.gather(
            *(self.client.get_workflow_handle(run_id).signal(names.RESPOND, body) for run_id in people)
        )

    async def results(self, within: float = 60.0) -> Counter[int]:
        """By which version the runs were finished; raises where one fails, or does not end in time."""
        open_runs = set(self.kinds)

        async def result(run_id: str) -> int:
            value: Any = await self.client.get_workflow_handle(run_id).result()
            open_runs.discard(run_id)
            return value["finished_by"]

        try:
            return Counter(await asyncio.wait_for(asyncio.gather(*map(result, self.kinds)), within))
        except TimeoutError:
            held = {run_id: await obstacles(self.client, run_id) for run_id in sorted(open_runs)[:5]}
            kinds = Counter(self.kinds[run_id] for run_id in open_runs)
            raise AssertionError(f"not ended after {within:g} s: {dict(kinds)}, such as {held}") from None

    async def workflow_task_failures(self) -> list[str]:
        """What went wrong in workflow tasks, over all histories."""
        found: list[str] = []

        async def look(run_id: str) -> None:
            async for event in self.client.get_workflow_handle(run_id).fetch_history_events():
                if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                    found.append(f"{run_id}: {event.workflow_task_failed_event_attributes.failure.message}")

        await asyncio.gather(*(look(run_id) for run_id in self.kinds))
        return found

    def check_effects(self) -> int:
        """Each run has done all of its effects, each under one key; gives how many attempts were repeated."""
        everything = rolling_parts.done()
        repeated = 0
        for run_id, kind in self.kinds.items():
            effects = {name: keys for name, keys in everything[run_id].items() if "@" not in name}
            # Audited are those that began with version 2.
            assert effects.keys() - {"audit"} == EFFECTS[kind], (run_id, kind, sorted(effects))
            doubled = {name: keys for name, keys in effects.items() if len(set(keys)) != 1}
            assert not doubled, (run_id, doubled)
            repeated += sum(len(keys) - 1 for keys in effects.values())
        return repeated
