"""What traces tell of runs that are encrypted: unless contents are asked for, nothing that the server must not see."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from temporalio.client import Client

from everstep import Workflow, step
from everstep.errors import StepFailedError
from everstep.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.observe import ToolCall
from everstep.temporal import TemporalRuntime, serving
from everstep.temporal.devserver import DevServer
from tests.privacy.conftest import converter
from tests.support.traced import traced
from tests.support.waiting import until

SECRET = "tidewater-7391"


class Fails(Workflow):
    """Asks a person, and fails in a call, with what it holds."""

    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent(prompt=ev.secret, assignee=ev.secret)

    @step
    async def call(self, ev: HumanResponseEvent) -> StopEvent:
        with ToolCall("till", {}):
            raise ValueError(f"no {SECRET}")


@pytest.mark.parametrize("asked_for", [False, True])
async def test_errors_and_people_are_contents_where_payloads_are_encrypted(
    dev_server: DevServer, ring: Path, asked_for: bool
) -> None:
    """Of an error the type is told, of a request neither assignee nor who answered; unless contents are asked for."""
    queue = f"q-{uuid.uuid4().hex[:8]}"
    client = await Client.connect(dev_server.address, data_converter=converter(ring))
    with traced(payloads=asked_for) as traces:
        async with serving(client, [Fails], task_queue=queue):
            handler = await TemporalRuntime(client, task_queue=queue).start_flow("Fails", {"secret": SECRET})
            await until(handler.requests)
            await handler.respond({"approved": True}, by=SECRET)
            with pytest.raises(StepFailedError, match=SECRET):
                await handler
            traces.until("Fails failed")
    failed = {span.name: span.status.description for span in traces.spans() if not span.status.is_ok}
    told = [span.to_json() for span in traces.spans()]
    if asked_for:
        assert failed["call"] == failed["till"] == f"ValueError: no {SECRET}"
        assert SECRET in str(traces.named("wait for a person: InputRequiredEvent")[0].attributes)
    else:
        assert failed == {"till": "ValueError", "call": "ValueError", "Fails failed": "step"}
        assert not any(SECRET in one for one in told), told
