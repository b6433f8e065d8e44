"""What counts as ready: that the server sees this worker ask for work."""

from __future__ import annotations

import asyncio

import grpc

from everstep import Workflow, step
from everstep.events import StartEvent, StopEvent
from everstep.temporal import serving
from everstep.temporal.devserver import DevServer
from everstep.temporal.health import Polling, Stage, WorkerHealth
from everstep.temporal.loop_watch import LoopWatch
from everstep.temporal.settings import ConnectionSettings, connect
from tests.support.grpc_proxy import GrpcProxy
from tests.support.waiting import until


class Hello(Workflow):
    @step
    async def greet(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result="Hello!")


async def test_ready_is_that_the_server_sees_it_poll(dev_server: DevServer, task_queue: str) -> None:
    """A worker that serves, whose server answers and whose polls do not come through, is not ready until they do."""
    with GrpcProxy(dev_server.address) as proxy:
        proxy.refused["PollActivityTaskQueue"] = grpc.StatusCode.UNAVAILABLE
        client = await connect(ConnectionSettings(address=proxy.address))
        async with serving(client, [Hello], task_queue=task_queue):

            async def faults() -> list[str]:
                health = WorkerHealth(LoopWatch())  # a new one each time: what was seen counts for two seconds
                health.stage, health.polling = Stage.SERVING, Polling(client, task_queue, lambda: False)
                return await asyncio.to_thread(health.ready)

            def unseen(what: str) -> str:
                return f"the server does not see this worker ask for {what} on task queue {task_queue!r}"

            async def only_steps() -> bool:
                return await faults() == [unseen("steps")]

            async def ready() -> bool:
                return not await faults()

            await until(only_steps)
            proxy.refused.clear()
            await until(ready, within=30)
