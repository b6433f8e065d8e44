"""Agents deployed anew while a person is asked: what was approved runs as it was shown, or the model is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from temporalio.client import Client

from everstep.agent import Agent, AgentResult, AgentWorkflow, tool
from everstep.agent.testing import ScriptedModel, calls
from everstep.errors import ResponseRefusedError
from everstep.temporal import TemporalRuntime, serving
from tests.support.waiting import until

PAID: list[tuple[int, str]] = []


@tool(approval=True)
async def pay(cents: int, note: str = "with thanks") -> str:
    """Pay."""
    PAID.append((cents, note))
    return "paid"


@tool(name="pay", approval=lambda arguments: arguments["cents"] > 1_000_000)
async def pay_freely(cents: int, note: str = "greetings") -> str:
    """Pay; hardly anything needs approval, and the default is another one."""
    PAID.append((cents, note))
    return "paid freely"


@tool(name="pay")
async def pay_by_name(name: str) -> str:
    """Pay; it takes something else now."""
    PAID.append((0, name))
    return "paid by name"


class Desk(AgentWorkflow):
    """Has the tools of one version."""

    def __init__(self, tools: list[Callable[..., Any]]) -> None:
        self.model = ScriptedModel(calls(("pay", {"cents": 500})), "Done.")
        super().__init__([Agent(tools=tools, model=self.model)])


@pytest.mark.parametrize(
    ("after", "paid", "told"),
    [
        ([pay_freely], [(500, "with thanks")], "paid freely"),
        ([pay_by_name], [], "Error: the arguments do not fit: name: Field required; cents: Extra inputs"),
        ([], [], "Error: there is no tool 'pay'; there are: none"),
    ],
    ids=["other rules and defaults", "other arguments", "gone"],
)
async def test_what_was_approved_is_what_runs(
    client: Client, task_queue: str, after: list[Callable[..., Any]], paid: list[tuple[int, str]], told: str
) -> None:
    """The run waits under one version and is answered under the next."""
    PAID.clear()
    runtime = TemporalRuntime(client, task_queue=task_queue)
    async with serving(client, [Desk([pay])], task_queue=task_queue):
        run = await runtime.start_flow("Desk", {"user_msg": "Pay 500."})
        (request,) = await until(run.requests)
        assert request["question"]["tool_kwargs"] == {"cents": 500, "note": "with thanks"}
    later = Desk(after)
    async with serving(client, [later], task_queue=task_queue):
        if after != [pay_freely]:
            with pytest.raises(ResponseRefusedError, match=r"no tool|do not fit"):
                await run.respond({"approved": True, "arguments": {"cents": 5}})
        await run.respond({"approved": True})
        result = AgentResult.model_validate(await run)
    assert str(result) == "Done."
    assert paid == PAID
    assert later.model.requests[0].said("tool")[0].startswith(told)
