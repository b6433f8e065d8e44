"""Whether a worker is alive and ready, for whoever starts and stops it.

Alive: its event loops answer. Ready: the server sees it ask for work, or it has as much as it can take. Both are told
from what can be observed, not from what was meant.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from everstep.temporal.loop_watch import LoopWatch

LIVE_SECONDS = 60.0
"""How long a loop may be silent, unless the settings say otherwise."""

ANSWER_SECONDS = 3.0
"""How long the server has to answer, before the worker counts as not connected."""

LOOK_AGAIN_SECONDS = 2.0
"""How long what was seen counts, so that no number of askers makes work for the server."""

POLL_SECONDS = 90.0
"""A worker asks for work at least once a minute, while it can take some."""

_UNSEEN = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED)
"""The server answers, and will not tell who polls."""


class Stage(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    CONNECTING = "connecting to the server"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Polling:
    """What a worker that serves asks for, and how one sees that it has enough.

    `full` tells whether it can take no more steps now, `stuck` why it never will by itself. `runs` is whether it takes
    runs, too.
    """

    client: Client
    task_queue: str
    full: Callable[[], bool]
    runs: bool = True
    stuck: Callable[[], str | None] = lambda: None
    about: dict[str, Any] = field(default_factory=dict[str, Any])


class WorkerHealth:
    """The health of one worker process. `live` and `ready` may be asked from any thread but the worker's.

    Args:
        watch: looks after the event loops.
        live_seconds: how long a loop may be silent.
    """

    def __init__(self, watch: LoopWatch, live_seconds: float = LIVE_SECONDS) -> None:
        self.stage = Stage.STARTING
        self.polling: Polling | None = None
        self._watch = watch
        self._live_seconds = live_seconds
        self._loop = asyncio.get_running_loop()
        self._seen: tuple[float, list[str]] | None = None
        self._polled: dict[str, tuple[int | None, float]] = {}

    def live(self) -> list[str]:
        """Why the process should be started anew; empty while it need not."""
        return [
            f"the {name} loop has not answered for {seconds:.0f} s, over the bound of {self._live_seconds:g} s"
            for name, seconds in self._watch.silent().items()
            if seconds > self._live_seconds
        ]

    def ready(self) -> list[str]:
        """Why it cannot be counted on for work; empty where it can."""
        if self.stage is not Stage.SERVING or self.polling is None:
            return [f"the worker is {self.stage}"]
        asked = asyncio.run_coroutine_threadsafe(self._look(self.polling), self._loop)
        try:
            return asked.result(ANSWER_SECONDS + 1)
        except TimeoutError:
            asked.cancel()
            return ["the worker's loop does not answer"]

    async def _look(self, polling: Polling) -> list[str]:
        if self._seen is not None and time.monotonic() - self._seen[0] < LOOK_AGAIN_SECONDS:
            return self._seen[1]
        faults = await self._faults(polling)
        self._seen = time.monotonic(), faults
        return faults

    async def _faults(self, polling: Polling) -> list[str]:
        """What the server does not see this worker ask for, though it should; or why it can do none of it."""
        if (stuck := polling.stuck()) is not None:
            return [stuck]
        kinds = {"steps": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY}
        if polling.runs:
            kinds["runs"] = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
        faults: list[str] = []
        for name, kind in kinds.items():
            try:
                seen = self._is_new(name, await _last_poll(polling, kind))
            except RPCError as error:
                if error.status in _UNSEEN:
                    continue
                return [f"the server does not answer: {error.status.name.lower()}: {error.message}"]
            if not seen and not (name == "steps" and polling.full()):
                queue = polling.task_queue
                faults.append(f"the server does not see this worker ask for {name} on task queue {queue!r}")
        return faults

    def _is_new(self, kind: str, polled_at: int | None) -> bool:
        """Whether this worker's last poll, by the server's clock, is another than a while ago, by this one's."""
        if polled_at is None:
            return False
        before, since = self._polled.get(kind, (None, 0.0))
        if before != polled_at:
            since = time.monotonic()
            self._polled[kind] = polled_at, since
        return time.monotonic() - since < POLL_SECONDS


async def _last_poll(polling: Polling, kind: TaskQueueType.ValueType) -> int | None:
    """When this worker last asked for work, in nanoseconds of the server's clock."""
    client = polling.client
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=polling.task_queue), task_queue_type=kind
        ),
        timeout=timedelta(seconds=ANSWER_SECONDS),
    )
    times = [one.last_access_time.ToNanoseconds() for one in answer.pollers if one.identity == client.identity]
    return max(times, default=None)
