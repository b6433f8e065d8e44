"""A sender without the key ring of the workers: each command refuses before it sends, and names the setting."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import PayloadCodec
from temporalio.runtime import Runtime, TelemetryConfig

from everstep import Workflow, step
from everstep.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import TemporalRuntime, serving
from everstep.temporal.devserver import DevServer
from everstep.temporal.pollers import pollers
from tests.cli.conftest import Ended, Shell
from tests.cli.test_doctor import findings
from tests.privacy.conftest import KEYS, converter, write_ring
from tests.support.waiting import until

ORDER = ("Order", "item=tea")


class Order(Workflow):
    """Asks a person."""

    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent(prompt=ev.item)

    @step
    async def end(self, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent(result=ev.approved)


class OwnCodec(PayloadCodec):
    """A codec of somebody's own, of which nobody can tell that it encrypts."""

    def __init__(self, ring: Path) -> None:
        inner = converter(ring).payload_codec
        assert inner is not None
        self._inner = inner

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self._inner.encode(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self._inner.decode(payloads)


async def test_what_would_be_sent_in_plain_text_is_refused(shell: Shell, server: DevServer, tmp_path: Path) -> None:
    """Starts, batches and schedules by what the workers tell; answers and events by the run's own input, too."""
    ring, queue = write_ring(tmp_path / "keys.json", "2026-11"), f"q-{uuid.uuid4().hex[:8]}"
    inputs = tmp_path / "orders.jsonl"
    inputs.write_text(json.dumps({"item": "tea"}) + "\n")

    async def call(*arguments: str, **environment: str) -> Ended:
        return await asyncio.to_thread(shell.starter, *arguments, TEMPORAL_TASK_QUEUE=queue, **environment)

    async def told() -> bool:
        return any(one.encrypted for one in await pollers(client, queue))

    often = Runtime(telemetry=TelemetryConfig(), worker_heartbeat_interval=timedelta(seconds=1))
    client = await Client.connect(server.address, data_converter=converter(ring), runtime=often)
    async with serving(client, [Order], task_queue=queue):
        handler = await TemporalRuntime(client, task_queue=queue).start_flow("Order", {"item": "tea"})
        await until(handler.requests)
        await until(told)
        seen = findings(await call("doctor"))["task queue"]
        assert (seen["status"], seen["data"]["workers"][0]["flows"]) == ("warning", ["Order"])
        assert KEYS in seen["remedy"]
        for command in (("run", *ORDER), ("batch", "Order", str(inputs)), ("schedule", "create", "x", *ORDER)):
            ended = await call(*command, *(("--every", "1d") if command[0] == "schedule" else ()))
            assert (ended.code, ended.out) == (2, "")
            assert f"The workers of task queue '{queue}' encrypt" in ended.err
            assert f"{KEYS} is not set here: nothing was sent. Set it to" in ended.err
        assert (await call("run", *ORDER, "--id", f"with-{queue}", **{KEYS: str(ring)})).code == 0
    for command in (
        ("respond", handler.run_id, "approved=true"),
        ("send", handler.run_id, "HumanResponseEvent", "approved=true"),
    ):
        ended = await call(*command, "--no-wait")
        assert (ended.code, f"Run {handler.run_id} is encrypted" in ended.err) == (2, True), ended.err
    for run in (handler.run_id, f"with-{queue}"):
        history = await client.get_workflow_handle(run).fetch_history()
        assert not any(event.HasField("workflow_execution_signaled_event_attributes") for event in history.events)
        await client.get_workflow_handle(run).terminate()
    assert [one async for one in client.list_workflows(f"TaskQueue = '{queue}' AND ExecutionStatus = 'Running'")] == []


async def test_a_run_that_has_started_is_told_whatever_becomes_of_it(
    shell: Shell, server: DevServer, tmp_path: Path
) -> None:
    """Where what the workers answer cannot be read, the run's id is told all the same: nobody starts it twice."""
    ring, queue = write_ring(tmp_path / "keys.json", "2026-11"), f"q-{uuid.uuid4().hex[:8]}"
    own = replace(converter(ring), payload_codec=OwnCodec(ring))
    client = await Client.connect(server.address, data_converter=own)
    async with serving(client, [Order], task_queue=queue):
        ended = await asyncio.to_thread(shell.starter, "run", *ORDER, "--task-queue", queue)
        assert (ended.code, f"{KEYS} is not set here" in ended.err) == (0, True), ended.err
        assert f"Run {ended.json['run']} has started; " in ended.err
        await client.get_workflow_handle(ended.json["run"]).terminate()
