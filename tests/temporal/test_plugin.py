"""`EverstepPlugin` adds flows to a user's own Temporal client and worker, beside the user's own workflows."""

from __future__ import annotations

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from everstep import Context, Workflow, step
from everstep.errors import WorkflowConfigurationError
from everstep.events import Event, StartEvent, StopEvent
from everstep.temporal import EverstepPlugin, TemporalRuntime
from everstep.temporal.devserver import DevServer
from tests.support.own_workflow import TripleWorkflow, triple


class Doubled(Event):
    number: int


class DoubleFlow(Workflow):
    """Doubles a number, by a sync and an async step."""

    @step
    def double(self, ev: StartEvent) -> Doubled:
        return Doubled(number=ev.number * 2)

    @step
    async def end(self, ctx: Context, ev: Doubled) -> StopEvent:
        await ctx.store.set("number", ev.number)
        return StopEvent(result=ev.number)


@pytest.mark.parametrize("where", ["client", "worker"])
async def test_flows_run_beside_the_users_own_workflows(dev_server: DevServer, task_queue: str, where: str) -> None:
    """On the client or on the worker, with the user's data converter, both kinds run."""
    plugins = [EverstepPlugin(flows=[DoubleFlow])]
    client = await Client.connect(
        dev_server.address, data_converter=pydantic_data_converter, plugins=plugins if where == "client" else []
    )
    worker = Worker(
        client,
        task_queue=task_queue,
        workflows=[TripleWorkflow],
        activities=[triple],
        plugins=plugins if where == "worker" else [],
    )
    async with worker:
        handler = DoubleFlow(runtime=TemporalRuntime(client, task_queue=task_queue)).run(number=21)
        assert await handler == 42
        assert await handler.state() == {"number": 42}
        own = await client.execute_workflow(TripleWorkflow.run, 3, id=task_queue, task_queue=task_queue)
        assert own == 9


async def test_one_plugin_serves_several_workers(dev_server: DevServer, task_queue: str) -> None:
    """The steps' threads live as long as any worker of the plugin."""
    client = await Client.connect(dev_server.address, plugins=[EverstepPlugin(flows=[DoubleFlow])])
    queues = [f"{task_queue}-{n}" for n in range(2)]
    flows = [DoubleFlow(runtime=TemporalRuntime(client, task_queue=queue)) for queue in queues]
    async with Worker(client, task_queue=queues[0]):
        async with Worker(client, task_queue=queues[1]):
            assert await flows[1].run(number=1) == 2
        assert await flows[0].run(number=2) == 4
    async with Worker(client, task_queue=queues[1]):
        assert await flows[1].run(number=3) == 6


def test_a_plugin_needs_flows_with_names_of_their_own() -> None:
    """No flow, or two of one name, is refused when the plugin is made."""
    with pytest.raises(WorkflowConfigurationError, match="at least one flow"):
        EverstepPlugin(flows=[])
    with pytest.raises(WorkflowConfigurationError, match="Two flows are named 'DoubleFlow'"):
        EverstepPlugin(flows=[DoubleFlow, DoubleFlow])
