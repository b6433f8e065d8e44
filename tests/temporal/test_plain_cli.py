"""A run is started, watched and answered with nothing but the `temporal` command and plain JSON."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client

from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import serving
from everstep.temporal.devserver import DevServer
from everstep.temporal.serverprocess import find_temporal_binary
from tests.support.drivers import eventually

QUEUE = "plain-cli"


class Refund(StartEvent):
    amount: float
    people: int = 1


class Approve(InputRequiredEvent):
    amount: float


class Approval(HumanResponseEvent):
    approved: bool
    limit: int = 0


class Note(Event):
    text: str


class PlainRefund(Workflow):
    """Asks as many people as it is told, and ends when all have approved, or one has not."""

    @step
    async def ask(self, ev: Refund) -> list[Approve]:
        return [Approve(amount=ev.amount, assignee=f"person {n + 1}") for n in range(ev.people)]

    @step(num_workers=1)
    async def decide(self, ctx: Context, ev: Approval) -> StopEvent | None:
        approvals = await ctx.store.get("approvals", default=0) + 1
        await ctx.store.set("approvals", approvals)
        await ctx.store.set("limit", ev.limit)
        if not ev.approved:
            raise PermissionError("not approved")
        people = len(await ctx.store.get("notes", default=[])) + 1
        return StopEvent(result={"approvals": approvals}) if approvals >= people else None

    @step(num_workers=1, skip_graph_checks=["reachability"])
    async def note(self, ctx: Context, ev: Note) -> None:
        await ctx.store.set("notes", [*await ctx.store.get("notes", default=[]), ev.text])


class Cli:
    """The `temporal` command against one server and one run."""

    def __init__(self, server: DevServer, run_id: str) -> None:
        self.server = server
        self.run_id = run_id

    async def __call__(self, *arguments: str, ok: bool = True) -> Any:
        """Run a command; gives what it printed, as JSON if it is, or what it complained of."""
        process = await asyncio.create_subprocess_exec(
            find_temporal_binary(),
            *arguments,
            "--address",
            self.server.address,
            "-o",
            "json",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            printed, complaints = await process.communicate()
        if not ok:
            assert process.returncode != 0, printed.decode()
            return (printed + complaints).decode()
        assert process.returncode == 0, (printed + complaints).decode()
        try:
            return json.loads(printed)
        except ValueError:
            return printed.decode()

    async def workflow(self, command: str, *arguments: str, ok: bool = True) -> Any:
        """A command about the run."""
        return await self("workflow", *command.split(), "--workflow-id", self.run_id, *arguments, ok=ok)

    async def start(self, body: str) -> None:
        """Start the run."""
        await self.workflow("start", "--type", "PlainRefund", "--task-queue", QUEUE, "--input", body)

    async def query(self, name: str, *arguments: str) -> Any:
        """The answer to a query."""
        told = await self.workflow("query", "--name", name, *arguments)
        (result,) = told["queryResult"]
        return [] if result is None else result  # the command prints an empty list as null

    async def requests(self, count: int) -> list[dict[str, Any]]:
        """The open requests, once there are this many."""

        async def found() -> Any:
            requests = await self.query("requests", "--input", "true")
            return requests if len(requests) == count else None

        return await eventually(found)

    async def signal(self, name: str, *inputs: str) -> None:
        """Send a signal."""
        await self.workflow("signal", "--name", name, *(part for text in inputs for part in ("--input", text)))

    async def update(self, name: str, body: str, *, ok: bool = True) -> Any:
        """Send an update and wait for what becomes of it."""
        return await self.workflow("update execute", "--name", name, "--input", body, ok=ok)

    async def refused(self, count: int) -> list[dict[str, Any]]:
        """The refused messages that belong to no request, once there are this many."""

        async def found() -> Any:
            refused = (await self.query("progress"))["refused_messages"]
            return refused if len(refused) == count else None

        return await eventually(found)


@pytest.fixture(params=["dev_server", "plain_server"])
async def server(request: pytest.FixtureRequest) -> DevServer:
    """A server that knows everstep's search attribute, and one that does not."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def cli(server: DevServer) -> AsyncIterator[Cli]:
    """The command line, with a worker at work."""
    async with serving(await Client.connect(server.address), [PlainRefund], task_queue=QUEUE):
        yield Cli(server, f"refund-{uuid.uuid4().hex[:8]}")


async def waiting(cli: Cli) -> list[str]:
    """The ids of this run, while visibility has it as waiting."""
    query = f"EverstepWaiting = true AND WorkflowId = '{cli.run_id}'"
    return [run["execution"]["workflowId"] for run in await cli("workflow", "list", "--query", query) or []]


async def test_approved_by_signal(cli: Cli, dev_server: DevServer) -> None:
    """Started with JSON, found waiting, its question read, answered by signal: it ends, and the result is plain."""
    await cli.start('{"amount": 120.5}')
    (request,) = await cli.requests(1)
    assert request["id"] == "ask-1"
    assert (request["question"]["amount"], request["assignee"]) == (120.5, "person 1")
    assert request["answer_schemas"]["Approval"]["required"] == ["approved"]
    described = await cli.workflow("describe")
    assert described["workflowExecutionInfo"]["status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING"
    has_attribute = cli.server is dev_server
    if has_attribute:
        await eventually(lambda: waiting(cli))
    await cli.signal("respond", '{"approved": true, "by": "ann"}')
    assert (await cli.workflow("result"))["result"] == {"approvals": 1}
    (request,) = await cli.query("requests")
    assert (request["status"], request["answered_by"]) == ("answered", "ann")
    assert await cli.query("state") == {"approvals": 1, "limit": 0}
    if has_attribute:

        async def no_more() -> bool:
            return await waiting(cli) == []

        await eventually(no_more)


async def test_approved_by_update(cli: Cli) -> None:
    """An update answers, and its sender is told that it was taken, and by which request."""
    await cli.start('{"amount": 5, "people": 2}')
    await cli.requests(2)
    await cli.update("send_event", '{"type": "Note", "data": {"text": "two people"}}')
    taken = await cli.update("respond", '{"request": "ask-2", "by": "bo", "answer": {"approved": true, "limit": "3"}}')
    assert taken["result"] == {"accepted": True, "request": "ask-2"}
    await cli.update("respond", '{"approved": true}')
    assert (await cli.workflow("result"))["result"] == {"approvals": 2}


BAD_SIGNALS = {
    "text": '"yes"',
    "number": "7",
    "list": '["approved"]',
    "null": "null",
    "key is no string": '{"request": 5, "approved": true}',
    "unknown request": '{"request": "ask-9", "approved": true}',
}
"""What is no answer to anything."""


async def test_bad_signals_are_refused_and_the_run_goes_on(cli: Cli) -> None:
    """Whatever comes as a signal, the run is neither stuck nor failed; each refusal is on record, with its reason."""
    await cli.start('{"amount": 5}')
    await cli.requests(1)
    for body in BAD_SIGNALS.values():
        await cli.signal("respond", body)
    await cli.signal("respond")
    await cli.signal("respond", '{"approved": true}', '{"approved": true}')
    await cli.signal("aprove", '{"approved": true}')
    await cli.signal("send_event", '{"data": {"text": "x"}}')
    await cli.signal("send_event", '{"type": "Nope", "data": {}}')
    refused = await cli.refused(len(BAD_SIGNALS) + 5)
    reasons = [item["reason"] for item in refused]
    assert "a string came" in reasons[0]
    assert "a number came" in reasons[1]
    assert "a list came" in reasons[2]
    assert "null came" in reasons[3]
    assert "'request' must be a string" in reasons[4]
    assert reasons[5] == "there is no request 'ask-9'; open are: ask-1"
    assert "0 values came" in reasons[6]
    assert "2 values came" in reasons[7]
    assert reasons[8] == "there is no signal 'aprove'; send 'respond' or 'send_event'"
    assert "names no type" in reasons[9]
    assert "Nope" in reasons[10]
    for body in ('{"by": "bo"}', '{"approved": "perhaps"}', '{"approved": true, "limit": "many"}'):
        await cli.signal("respond", body)

    async def tried() -> Any:
        (request,) = await cli.query("requests", "--input", "true")
        return request["refused"] if len(request["refused"]) == 3 else None

    missing, wrong, wrong_too = await eventually(tried)
    assert missing["by"] == "bo"
    assert "approved" in missing["reason"]
    assert "approved" in wrong["reason"]
    assert "limit" in wrong_too["reason"]
    await cli.signal("respond", '{"approved": true}')
    assert (await cli.workflow("result"))["result"] == {"approvals": 1}


async def test_the_sender_of_a_bad_update_is_told(cli: Cli) -> None:
    """An update that is refused fails with the reason; duplicate and late ones too, and the run ends right."""
    await cli.start('{"amount": 5, "people": 2}')
    await cli.requests(2)
    await cli.update("send_event", '{"type": "Note", "data": {"text": "two people"}}')
    bad = {
        '"yes"': "a string came",
        '{"approved": true}': "several requests are open; name one",
        '{"request": "ask-1"}': "approved",
        '{"request": "ask-1", "approved": "perhaps"}': "approved",
        '{"request": "ask-9", "approved": true}': "there is no request 'ask-9'",
    }
    for body, reason in bad.items():
        assert reason in await cli.update("respond", body, ok=False)
    assert "text" in await cli.update("send_event", '{"type": "Note", "data": {}}', ok=False)
    await cli.update("respond", '{"request": "ask-1", "approved": true, "by": "ann"}')
    duplicate = await cli.update("respond", '{"request": "ask-1", "approved": false}', ok=False)
    assert "request ask-1 was already answered at" in duplicate
    assert "by ann" in duplicate
    await cli.update("respond", '{"request": "ask-2", "approved": true}')
    assert (await cli.workflow("result"))["result"] == {"approvals": 2}
    assert "already completed" in await cli.update("respond", '{"request": "ask-1", "approved": true}', ok=False)


async def test_a_failure_is_readable(cli: Cli) -> None:
    """A run that failed says in the command's output which step, on what, and why."""
    await cli.start('{"amount": 5}')
    await cli.requests(1)
    await cli.signal("respond", '{"approved": false}')
    printed = json.dumps(await cli.workflow("result", ok=False))
    assert "step 'decide' failed: PermissionError: not approved" in printed
    history = await cli.workflow("show")
    failure = history["events"][-1]["workflowExecutionFailedEventAttributes"]["failure"]
    assert failure["message"] == "step 'decide' failed: PermissionError: not approved"
    assert failure["applicationFailureInfo"]["type"] == "StepFailed"


@pytest.mark.parametrize("body", ['{"people": 1}', '{"amount": "much"}', '"text"', "[1, 2]"])
async def test_a_bad_start_fails_with_the_reason(cli: Cli, body: str) -> None:
    """A start event that does not fit fails the run at once, and names flow and fault."""
    await cli.start(body)
    printed = json.dumps(await cli.workflow("result", ok=False))
    assert "PlainRefund" in printed
    assert "amount" in printed or "takes one JSON object" in printed
