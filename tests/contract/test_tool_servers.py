"""Tools of servers that speak MCP: listed when a run begins, called by steps, approved like functions."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from everstep.agent import Agent, AgentDefinitionError, AgentWorkflow, ToolError
from everstep.agent.mcp import MCPServer, ToolServerError
from everstep.agent.testing import ScriptedModel, calls
from everstep.errors import ResponseRefusedError
from tests.support.drivers import Driver

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def program(log: Path, **options: Any) -> MCPServer:
    """The test's server, as a program that is started when it is needed."""
    args = ["-m", "tests.support.mcp_tools", str(log)]
    return MCPServer("office", command=sys.executable, args=args, cwd=str(ROOT), **options)


async def test_tools_of_a_program_are_listed_and_called_by_steps(driver: Driver, tmp_path: Path) -> None:
    """One program serves the run; a call that needs approval waits; errors of tools go to the model."""
    log = tmp_path / "calls"
    server = program(log, prefix="office_", only=["add", "wipe", "fail"], approval=["office_wipe"], assignee="it")
    model = ScriptedModel(
        calls(("office_add", {"a": 1, "b": 2}), ("office_wipe", {"disk": "C"}), ("office_fail", {})), "Done."
    )
    flow = AgentWorkflow.from_tools([server], model)
    handler = await driver.run(flow, user_msg="Clean up.", run_id="office-1")
    (request,) = await driver.open_requests(handler)
    assert (request["assignee"], request["question"]["tool_kwargs"]) == ("it", {"disk": "C"})
    assert request["question"]["tool_description"] == "Wipe a disk."
    with pytest.raises(ResponseRefusedError, match="the arguments do not fit: disk: 7 is not of type 'string'"):
        await handler.respond({"approved": True, "arguments": {"disk": 7}})
    await handler.respond({"approved": True, "arguments": {"disk": "D"}})
    assert str((await driver.seen(handler)).result) == "Done."
    assert [each.name for each in model.requests[0].tools] == ["office_add", "office_wipe", "office_fail"]
    added, wiped, failed = model.requests[1].said("tool")
    assert (added, wiped.splitlines()[1]) == ("3", "D is empty")
    assert failed.startswith("Error: Error executing tool fail")
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(name for name, _, _ in lines) == ["add", "fail", "wipe"]
    steps = {name: key.split("/")[:2] for name, key, _ in lines}
    assert steps == {"add": ["office-1", "call_tool"], "fail": ["office-1", "call_tool"],
                     "wipe": ["office-1", "approve_tool"]}  # fmt: skip
    if driver.name == "local":
        await server.aclose()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of tools by HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    call = [sys.executable, "-m", "tests.support.mcp_tools", str(tmp_path / "calls"), str(port)]
    with subprocess.Popen(call, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.kill()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


async def test_tools_are_called_by_http(address: str) -> None:
    """The same, by an address; the headers it was given go with each call."""
    server = MCPServer("office", url=address, headers={"authorization": "Bearer k"}, only=["add", "who"])
    model = ScriptedModel(calls(("add", {"a": 1, "b": 2}), ("who", {})), "Three.")
    assert str(await AgentWorkflow.from_tools([server], model).run(user_msg="1 + 2?")) == "Three."
    assert model.requests[1].said("tool") == ["3", "Bearer k"]
    await server.aclose()


async def test_a_server_that_is_lost_is_opened_again(tmp_path: Path) -> None:
    """The call that it was lost in fails, and may be tried again; the next one finds another server."""
    server = program(tmp_path / "calls")
    with pytest.raises(ToolServerError, match=r"'office'.*did not answer: MCPError: Connection closed") as lost:
        await server.call_tool("die", {}, "k")
    assert lost.value.retryable
    assert await server.call_tool("add", {"a": 1, "b": 1}, "k") == "2"
    with pytest.raises(ToolError, match="Unknown tool: nope"):
        await server.call_tool("nope", {}, "k")
    await server.aclose()


async def test_a_server_that_cannot_be_reached_is_named() -> None:
    """Its name, its place and the reason; for the listing and for calls."""
    for server in (MCPServer("a", command="/no/such/program"), MCPServer("a", url="http://127.0.0.1:9/mcp")):
        with pytest.raises(ToolServerError, match=r"server 'a' \(.*\) did not answer: (FileNotFound|Connect)Error"):
            await server.list_tools()


async def test_tools_that_cannot_be_told_apart_fail_the_run(tmp_path: Path) -> None:
    """A function and a tool of a server with one name: the message says how to part them."""

    async def add(a: int) -> int:
        """Add."""
        return a

    server = program(tmp_path / "calls")
    with pytest.raises(AgentDefinitionError, match="two tools named 'add', one of server 'office': give the server a"):
        await AgentWorkflow.from_tools([add, server], ScriptedModel()).run(user_msg="Hm?")
    await server.aclose()


def test_servers_that_cannot_be_are_refused() -> None:
    """One of command and url; a name of its own."""
    given: list[dict[str, Any]] = [{}, {"command": "x", "url": "y"}]
    for options in given:
        with pytest.raises(AgentDefinitionError, match="needs one of command and url"):
            MCPServer("a", **options)
    agents = [Agent(name, tools=[MCPServer("a", command="x")], model=ScriptedModel()) for name in ("one", "two")]
    with pytest.raises(AgentDefinitionError, match="Two servers of tools are named 'a'"):
        AgentWorkflow(agents)
