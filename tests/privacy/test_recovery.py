"""What lacks the key, or the storage, says so; runs wait for it, and go on when it is there."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from temporalio.client import Client

from everstep import Workflow, step
from everstep.errors import SettingsError, WorkflowRuntimeError
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import EverstepPlugin, TemporalRuntime, serving
from everstep.temporal.batch import Batch, BatchOptions
from everstep.temporal.batch_lines import Line
from everstep.temporal.batch_results import Record
from everstep.temporal.devserver import DevServer
from everstep.temporal.live import put_query
from everstep.temporal.obstacles import obstacles
from everstep.temporal.runs import inbox
from everstep.testing import TemporalEnvironment, TimeSkippingEnvironment
from tests.privacy.conftest import KEYS, converter
from tests.support.waiting import until


class Far(Event):
    text: str


class Two(Workflow):
    """Its second step is for other machines."""

    @step
    async def near(self, ev: StartEvent) -> Far:
        return Far(text=ev.text)

    @step(task_queue="far")
    async def far(self, ev: Far) -> StopEvent:
        return StopEvent(result=ev.text)


class Asks(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent(prompt=ev.text)

    @step
    async def end(self, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent(result=ev.approved)


@pytest.mark.slow  # the server gives a workflow task that failed twice ten seconds
async def test_a_run_waits_for_a_worker_with_the_key(dev_server: DevServer, ring: Path) -> None:
    """A worker without it fails the run's workflow task, visibly; with the key the run goes on and ends."""
    queue = f"q-{uuid.uuid4().hex[:8]}"
    private = await Client.connect(dev_server.address, data_converter=converter(ring))
    bare = await Client.connect(dev_server.address, data_converter=converter())
    handler = await TemporalRuntime(private, task_queue=queue).start_flow("Asks", {"text": "well?"})
    async with serving(bare, [Asks], task_queue=queue, max_cached_workflows=0):

        async def told() -> bool:
            found = await obstacles(private, handler.run_id)
            return any(one.kind == "fault" and "EVERSTEP_ENCRYPTION_KEYS is not set here" in one.text for one in found)

        await until(told)
    async with serving(private, [Asks], task_queue=queue):
        await until(handler.requests, within=60)
        with pytest.raises(WorkflowRuntimeError, match="Query handler for 'nothing' expected but not found"):
            await put_query(private, handler.run_id, "nothing")
        box = await inbox(bare, flow="Asks")  # who lacks the key sees that there is something, and why not what
        assert "EVERSTEP_ENCRYPTION_KEYS is not set here" in box.silent[handler.run_id]
        await handler.respond({"approved": True})
        assert await handler is True


async def test_attempts_without_the_key_use_up_nothing(skipping_server: str, ring: Path) -> None:
    """However often a worker without the key has taken a step: it counts neither as a failure nor as a lost worker."""
    private = await Client.connect(skipping_server, data_converter=converter(ring))
    bare = await Client.connect(skipping_server, data_converter=converter())
    environment = TimeSkippingEnvironment(private)
    queue = f"q-{uuid.uuid4().hex[:8]}"
    handler = await TemporalRuntime(private, task_queue=queue).start_flow("Two", {"text": "tide"})

    async def attempts() -> int:
        found = await handler.workflow.describe()
        return max((one.attempt for one in found.raw_description.pending_activities), default=0)

    async with serving(private, [Two], task_queue=queue):
        async with serving(bare, [Two], task_queue="far"):
            await until(attempts)
            while await attempts() < 7:
                await environment.let_pass(20)
            assert "EVERSTEP_ENCRYPTION_KEYS is not set here" in (await obstacles(private, handler.run_id))[0].text
        async with serving(private, [Two], task_queue="far"):
            await environment.let_pass(40)
            assert await handler == "tide"


async def test_plain_and_encrypted_payloads_mix(client: Client, ring: Path) -> None:
    """What the `temporal` command sends without a codec is taken by a run that began encrypted, and the reverse."""
    queue = f"q-{uuid.uuid4().hex[:8]}"
    private = await Client.connect(client.service_client.config.target_host, data_converter=converter(ring))
    async with serving(private, [Asks], task_queue=queue):
        for starter, answers in ((client, private), (private, client)):
            run = await TemporalRuntime(starter, task_queue=queue).start_flow("Asks", {"text": "well?"})
            await until(TemporalRuntime(private).handle(run.run_id).requests)
            await answers.get_workflow_handle(run.run_id).signal("respond", {"approved": False})
            assert await TemporalRuntime(private).handle(run.run_id) is False


async def test_a_batch_goes_on_past_results_that_it_cannot_read(client: Client, ring: Path) -> None:
    """Such a line is told with the setting that is missing, and read when the batch is called again with it."""
    queue, records = f"q-{uuid.uuid4().hex[:8]}", list[Record]()
    private = await Client.connect(client.service_client.config.target_host, data_converter=converter(ring))
    bare = await Client.connect(client.service_client.config.target_host, data_converter=converter())
    lines = [Line(number, f"{queue}-{number}", {"text": "tide"}) for number in (1, 2)]
    async with serving(private, [Two], task_queue=queue), serving(private, [Two], task_queue="far"):
        for reader in (bare, private):
            await Batch(reader, "Two", BatchOptions(in_flight=1), records.append, task_queue=queue).run(lines)
    assert [(one.line, one.status) for one in records[:2]] == [(1, "unread"), (2, "unread")]
    assert "EVERSTEP_ENCRYPTION_KEYS is not set here" in str(records[0].error)
    assert [(one.line, one.status, one.result) for one in records[2:]] == [(n, "completed", "tide") for n in (1, 2)]


async def test_a_payload_larger_than_the_server_takes(dev_server: DevServer, ring: Path, tmp_path: Path) -> None:
    """With storage set events, state, answers and results may have up to 20 MB."""
    large = "tide " * 600_000
    queue = f"q-{uuid.uuid4().hex[:8]}"
    settings = {"everstep_storage": str(tmp_path / "store"), "everstep_compress_above": "off"}
    stored = await Client.connect(dev_server.address, data_converter=converter(ring, **settings))
    runtime = TemporalRuntime(stored, task_queue=queue)
    async with serving(stored, [Two], task_queue=queue), serving(stored, [Two], task_queue="far"):
        handler = await runtime.start_flow("Two", {"text": large})
        assert await handler == large
        shown = [item.event.type async for item in handler.stream_published(internal=True)]
    assert "StopEvent" in shown
    history = await handler.workflow.fetch_history()
    assert len(json.dumps(history.to_json())) < 100_000


async def test_a_client_without_what_the_environment_asks_for_is_refused(
    client: Client, ring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written in plain text by oversight; a plugin on the client brings the codec along."""
    monkeypatch.setenv(KEYS, str(ring))
    with pytest.raises(SettingsError, match=r"EVERSTEP_ENCRYPTION_KEYS is set.*private_converter"):
        TemporalRuntime(client)
    with pytest.raises(SettingsError, match="EVERSTEP_ENCRYPTION_KEYS is set"):
        async with serving(client, [Two]):
            pass
    address = client.service_client.config.target_host
    plugged = await Client.connect(address, plugins=[EverstepPlugin(flows=[Two])])
    TemporalRuntime(plugged)
    (payload,) = await plugged.data_converter.encode([7])
    assert payload.metadata["encoding"] == b"binary/encrypted"


async def test_environments_of_tests_do_what_the_settings_ask_for(
    dev_server: DevServer, ring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A developer who has a key ring set runs tests as ever."""
    monkeypatch.setenv(KEYS, str(ring))
    async with await TemporalEnvironment.connect(dev_server.address) as environment:
        handler = await environment.run(Asks, text="well?")
        await environment.respond(handler, {"approved": True})
        assert await handler is True
