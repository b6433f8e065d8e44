"""Who polls a task queue, as the server sees it: which workers, of which version, with which flows."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType, WorkerStatus
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, ListWorkersRequest
from temporalio.client import Client
from temporalio.service import RPCError

PLUGIN, _ENCRYPTED = "everstep", ", encrypted"
"""What the name of the plugin begins with that tells the flows of a worker; what stands in it where that encrypts."""

ANSWER_SECONDS = 5.0

POLLER_SECONDS = 90
"""A worker asks for work at least once a minute; one that was silent for longer is gone."""


@dataclass(slots=True)
class Poller:
    """One worker. `asks_for` has "runs" and "steps"; `version` is its deployment and build.

    `flows` are None where it has not told them to the server. `encrypted` is whether it told that it writes with a key.
    """

    identity: str
    asks_for: list[str] = field(default_factory=list[str])
    version: tuple[str, str] | None = None
    flows: list[str] | None = None
    encrypted: bool = False

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        version = None if self.version is None else dict(zip(("deployment", "build"), self.version, strict=True))
        told = {"identity": self.identity, "asks_for": self.asks_for, "version": version, "flows": self.flows}
        return told | ({"encrypted": True} if self.encrypted else {})


def plugin_name(flows: list[str], *, runs: bool, encrypted: bool = False) -> str:
    """The name under which a worker tells the server what it serves; workers report the names of their plugins."""
    return f"{PLUGIN} {'flows' if runs else 'steps'}{_ENCRYPTED if encrypted else ''}: {', '.join(flows)}"


async def pollers(client: Client, task_queue: str) -> list[Poller]:
    """The workers that have lately asked a task queue for work.

    Raises:
        RPCError: the server does not tell.
    """
    found: dict[str, Poller] = {}
    for name, kind in _KINDS.items():
        for one in await _described(client, task_queue, kind):
            poller = found.setdefault(one.identity, Poller(one.identity))
            poller.asks_for.append(name)
            options = one.deployment_options
            if options.deployment_name:
                poller.version = options.deployment_name, options.build_id
    for identity, told in (await _served(client, task_queue)).items():
        if told is None:
            found.pop(identity, None)
        elif identity in found:
            what, _, flows = told.partition(": ")
            found[identity].flows, found[identity].encrypted = flows.split(", "), what.endswith(_ENCRYPTED)
    return list(found.values())


_KINDS = {"runs": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, "steps": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY}


async def _described(client: Client, task_queue: str, kind: TaskQueueType.ValueType) -> list[PollerInfo]:
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=kind
        ),
        timeout=timedelta(seconds=ANSWER_SECONDS),
    )
    newest = max((one.last_access_time.seconds for one in answer.pollers), default=0)
    oldest = max(newest, int(time.time())) - POLLER_SECONDS
    return [one for one in answer.pollers if one.last_access_time.seconds >= oldest]


async def _served(client: Client, task_queue: str) -> dict[str, str | None]:
    """What each worker tells, by its identity, None for one that stops; servers before 1.29 know nothing of it."""
    out: dict[str, str | None] = {}
    with contextlib.suppress(RPCError):
        query = f"TaskQueue = '{task_queue}'" if "'" not in task_queue else ""
        answer = await client.workflow_service.list_workers(
            ListWorkersRequest(namespace=client.namespace, page_size=200, query=query),
            timeout=timedelta(seconds=ANSWER_SECONDS),
        )
        for worker in answer.workers:
            told = [one.name for one in worker.plugins if one.name.startswith(f"{PLUGIN} ")]
            if worker.task_queue != task_queue:
                continue
            if worker.status in _LEAVING:
                out.setdefault(worker.worker_identity, None)
            elif told:
                out[worker.worker_identity] = told[0]
    return out


_LEAVING = (WorkerStatus.WORKER_STATUS_SHUTTING_DOWN, WorkerStatus.WORKER_STATUS_SHUTDOWN)
