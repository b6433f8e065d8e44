"""Agents: models that call tools, side by side, whose errors go back to them, until they have an answer."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from pydantic import BaseModel

from everstep import Context
from everstep.agent import (
    Agent,
    AgentHandoff,
    AgentInput,
    AgentOutput,
    AgentResult,
    AgentStream,
    AgentWorkflow,
    ToolCallResult,
    tool,
)
from everstep.agent.memory import estimated_tokens, message_tokens
from everstep.agent.testing import ScriptedModel, calls
from everstep.agent.workflow import TOOLS_AT_ONCE
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from everstep.temporal import Limits
from tests.support.drivers import Driver


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def divide(a: int, b: int) -> float:
    """Divide a by b."""
    return a / b


async def remember(ctx: Context, name: str) -> str:
    """Keep the user's name."""
    await ctx.store.set("state.name", name)
    return f"kept, {ctx.idempotency_key}"


class Meeting(BaseModel):
    """When people meet."""

    day: str
    people: int


def results(events: list[Any]) -> list[tuple[str, bool, str]]:
    """The results of tools on a stream: name, whether it is an error, content."""
    return [
        (event.tool_name, event.tool_output.is_error, event.tool_output.content)
        for event in events
        if isinstance(event, ToolCallResult)
    ]


async def test_an_agent_calls_tools_until_it_has_an_answer(driver: Driver) -> None:
    """Each call of the model and of a tool is seen; results reach the model in the order in which it asked."""
    model = ScriptedModel(
        calls(("add", {"a": 7, "b": 5}), ("divide", {"a": 1, "b": 4}), ("remember", {"name": "Ann"})),
        "It is 12,\nand a quarter.",
    )
    desk = AgentWorkflow.from_tools(
        [add, divide, remember], model, system_prompt="Reckon.", initial_state={"tone": "dry"}
    )
    handler = await driver.run(desk, user_msg="What is 7 + 5, and 1 / 4?", run_id="sums")
    seen = await driver.seen(handler)
    assert isinstance(seen.result, AgentResult)
    assert str(seen.result) == "It is 12,\nand a quarter."
    assert (seen.result.num_iterations, seen.result.current_agent_name) == (2, "Agent")
    second = model.requests[1]
    assert second.messages[0].content == 'Reckon.\n\nWhat is known so far, as JSON: {"tone": "dry", "name": "Ann"}'
    assert second.said("tool")[:2] == ["12", "0.25"]
    assert second.said("tool")[2].startswith("kept, sums/call_tool/")
    assert [each.tool_call_id for each in second.messages if each.role == "tool"] == [
        "call_1_0",
        "call_1_1",
        "call_1_2",
    ]
    assert sorted(results(seen.events))[:2] == [("add", False, "12"), ("divide", False, "0.25")]
    inputs = [[message.role for message in each.input] for each in seen.events if isinstance(each, AgentInput)]
    assert inputs == [["user"], ["tool", "tool", "tool"]]
    text = "".join(each.delta for each in seen.events if isinstance(each, AgentStream))
    assert text == "It is 12,\nand a quarter."
    used = [each.usage for each in seen.events if isinstance(each, AgentOutput)]
    assert seen.result.usage == used[0] + used[1]
    assert seen.state["state"] == {"tone": "dry", "name": "Ann"}
    assert [each["role"] for each in seen.state["chat_history"]] == [
        "user", "assistant", "tool", "tool", "tool", "assistant"
    ]  # fmt: skip


async def test_what_goes_wrong_with_a_tool_is_told_to_the_model(driver: Driver) -> None:
    """Errors, unknown tools and arguments that do not fit are outputs that say so; the run goes on."""
    model = ScriptedModel(
        calls(("divide", {"a": 1, "b": 0}), ("multiply", {"a": 1}), ("add", {"a": "one", "c": 3})), "I cannot."
    )
    seen = await driver.see(AgentWorkflow.from_tools([add, divide], model), user_msg="Try.")
    assert str(seen.result) == "I cannot."
    division, unknown, misfit = model.requests[1].said("tool")
    assert division == "Error: ZeroDivisionError: division by zero"
    assert unknown == "Error: there is no tool 'multiply'; there are: add, divide"
    assert misfit.startswith("Error: the arguments do not fit: a: Input should be a valid integer")
    assert "b: Field required" in misfit
    assert "c: Extra inputs are not permitted" in misfit
    assert all(is_error for _, is_error, _ in results(seen.events))


async def test_a_tool_is_retried_by_its_own_policy(driver: Driver) -> None:
    """Each attempt has the same idempotency key; what fails for good is told to the model, in place of a result."""
    keys: list[str] = []

    @tool(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(3)))
    async def flaky(ctx: Context, until: int) -> str:
        """Fails at first."""
        keys.append(ctx.idempotency_key)
        if keys.count(ctx.idempotency_key) < until:
            raise ConnectionError("line is busy")
        return "through"

    model = ScriptedModel(calls(("flaky", {"until": 2}), ("flaky", {"until": 99})), "Well.")
    await driver.see(AgentWorkflow.from_tools([flaky], model), user_msg="Call.")
    assert model.requests[1].said("tool") == ["through", "Error: ConnectionError: line is busy"]
    assert sorted(keys.count(key) for key in set(keys)) == [2, 3]


async def test_tools_run_side_by_side(driver: Driver) -> None:
    """Two calls of one message wait for each other, which only works when both are under way."""
    here = {name: asyncio.Event() for name in ("a", "b")}

    async def meet(name: str, other: str) -> str:
        """Wait until the other one is here."""
        here[name].set()
        await here[other].wait()
        return f"{name} met {other}"

    model = ScriptedModel(calls(("meet", {"name": "a", "other": "b"}), ("meet", {"name": "b", "other": "a"})), "Done.")
    await driver.see(AgentWorkflow.from_tools([meet], model), user_msg="Meet.")
    assert model.requests[1].said("tool") == ["a met b", "b met a"]


async def test_sync_tools_run_side_by_side(driver: Driver) -> None:
    """As many as tools may at one time: each has a thread, whatever the number of processors."""
    all_here = threading.Barrier(TOOLS_AT_ONCE)

    def meet() -> str:
        """Wait until all are here."""
        return "met" if all_here.wait(timeout=10) >= 0 else ""

    model = ScriptedModel(calls(*[("meet", {})] * TOOLS_AT_ONCE), "Done.")
    await driver.see(AgentWorkflow.from_tools([meet], model), user_msg="Meet.")
    assert model.requests[1].said("tool") == ["met"] * TOOLS_AT_ONCE


async def test_the_output_of_a_direct_tool_is_the_answer(driver: Driver) -> None:
    """No model sees it first; an error of such a tool goes to the model like any other."""

    @tool(return_direct=True)
    def quote(line: int) -> str:
        """Give a line as it stands."""
        return ["To be", "or not"][line]

    model = ScriptedModel(calls(("quote", {"line": 9})), calls(("quote", {"line": 1})))
    seen = await driver.see(AgentWorkflow.from_tools([quote], model), user_msg="Line two, please.")
    assert str(seen.result) == "or not"
    assert model.requests[1].said("tool") == ["Error: IndexError: list index out of range"]
    assert seen.state["chat_history"][-1]["content"] == "or not"


async def test_agents_hand_over_to_each_other(driver: Driver) -> None:
    """The one that takes over goes on with its own prompt and tools, and begins the next run of the conversation."""
    model = ScriptedModel(
        calls(("handoff", {"to_agent": "sums", "reason": "it is arithmetic"}), ("handoff", {"to_agent": "nobody"})),
        calls(("add", {"a": 1, "b": 1}), ("handoff", {"to_agent": "desk", "reason": "?"})),
        "It is 2.",
        "Still here.",
    )
    agents = [
        Agent("desk", "Greets people.", "You greet.", model=model),
        Agent("sums", "Reckons.", "You reckon.", [add], can_handoff_to=[], model=model),
    ]
    team = AgentWorkflow(agents, root_agent="desk", workflow_name="Team")
    handler = await driver.run(team, user_msg="1 + 1?")
    seen = await driver.seen(handler)
    assert (str(seen.result), seen.result.current_agent_name) == ("It is 2.", "sums")
    (handoff,) = [event for event in seen.events if isinstance(event, AgentHandoff)]
    assert (handoff.from_agent, handoff.to_agent, handoff.reason) == ("desk", "sums", "it is arithmetic")
    assert [[each.name for each in request.tools] for request in model.requests] == [["handoff"], ["add"], ["add"]]
    assert [request.said("system") for request in model.requests] == [["You greet."], ["You reckon."], ["You reckon."]]
    assert model.requests[1].said("tool") == [
        "sums takes over now: it is arithmetic\nGo on with what the user asks.",
        "Error: 'nobody' cannot take over; these can: sums",
    ]
    assert model.requests[2].said("tool")[2:] == ["2", "Error: there is no tool 'handoff'; there are: add"]
    again = await driver.see(team, ctx=handler.ctx, user_msg="And?")
    assert (str(again.result), again.result.current_agent_name) == ("Still here.", "sums")


async def test_a_conversation_goes_on_over_runs(driver: Driver) -> None:
    """The state of a run is the next one's memory; within the budget of tokens, whole turns, the latest first."""
    model = ScriptedModel("Hello Ann.", "You are Ann.", "Long ago.")
    talk = AgentWorkflow.from_tools([], model, token_budget=40)
    first = await driver.run(talk, user_msg="I am Ann.")
    await driver.seen(first)
    second = await driver.run(talk, ctx=first.ctx, user_msg="Who am I?")
    seen = await driver.seen(second)
    assert str(seen.result) == "You are Ann."
    assert [message.content for message in model.requests[1].messages] == ["I am Ann.", "Hello Ann.", "Who am I?"]
    assert seen.result.num_iterations == 1
    asked = "When was that?" + " Say." * 20
    third = await driver.see(talk, ctx=second.ctx, user_msg=asked)
    assert [message.content for message in model.requests[2].messages] == [asked]
    assert str(third.result) == "Hello Ann."


async def test_requests_of_one_long_turn_keep_to_the_budget(driver: Driver) -> None:
    """The oldest outputs of tools are left out, each call keeps a result; prompt and tools count too."""

    @tool(description="Fetch a page. " * 70)  # some 240 tokens, as the prompt
    async def fetch(page: int) -> str:
        return f"{page}" * 2_400  # 600 tokens

    model = ScriptedModel(*(calls(("fetch", {"page": page})) for page in range(1, 7)), "Read.", "Yes.")
    desk = AgentWorkflow.from_tools([fetch], model, system_prompt="Read. " * 160, token_budget=2_200)
    handler = await driver.run(desk, user_msg="What do they say?")
    await driver.seen(handler)
    await driver.see(desk, ctx=handler.ctx, user_msg="All of them?")
    sizes = [
        sum(map(message_tokens, each.messages)) + estimated_tokens(each.tools[0].model_dump_json())
        for each in model.requests
    ]
    assert max(sizes) <= 2_200
    last, following = model.requests[-2:]
    assert last.said("tool") == ["[left out: about 600 tokens]"] * 4 + ["5" * 2_400, "6" * 2_400]
    assert len({each.tool_call_id for each in last.messages if each.role == "tool"}) == 6
    assert following.said("user") == ["What do they say?", "All of them?"]


async def test_a_run_begins_with_the_history_it_is_given(driver: Driver) -> None:
    """Plain JSON does; calls without results, as a run that failed leaves them, are settled first."""
    model = ScriptedModel("", "You said 4.")
    history = [
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": "", "tool_calls": [{"tool_id": "x", "tool_name": "add"}]},
        {"role": "user", "content": "What did I say?"},
    ]
    seen = await driver.see(AgentWorkflow.from_tools([add], model), chat_history=history)
    assert str(seen.result) == "You said 4."
    assert model.requests[0].said("tool") == ["This call was not carried out."]


async def test_an_answer_is_corrected_until_it_has_its_form(driver: Driver) -> None:
    """The model is told what is wrong with its JSON; the result has it as data and as the model's instance."""
    model = ScriptedModel("On Monday!", '{"day": "Monday"}', Meeting(day="Monday", people=3))
    seen = await driver.see(AgentWorkflow.from_tools([], model, output_type=Meeting), user_msg="When?")
    assert seen.result.structured_response == {"day": "Monday", "people": 3}
    assert seen.result.get_pydantic_model(Meeting) == Meeting(day="Monday", people=3)
    assert model.requests[0].schema is Meeting
    assert "no valid Meeting: data: Invalid JSON" in model.requests[1].said("user")[-1]
    assert "no valid Meeting: people: Field required" in model.requests[2].said("user")[-1]


async def failure(driver: Driver, flow: AgentWorkflow, **start: Any) -> str:
    """How a run fails."""
    seen = await driver.see(flow, **start)
    assert seen.error is not None
    return str(seen.error)


async def test_a_run_that_cannot_come_to_an_answer_fails_and_says_why(driver: Driver) -> None:
    """Rounds without end, answers that never have their form, and nothing to begin with, are errors with names."""
    endless = ScriptedModel(*[calls(("add", {"a": 1, "b": 1}))] * 9)
    said = await failure(driver, AgentWorkflow.from_tools([add], endless), user_msg="Go.", max_iterations=2)
    assert "no answer after 2 calls of its model" in said
    assert len(endless.requests) == 2
    stubborn = ScriptedModel(*["no"] * 9)
    agent = Agent(model=stubborn, output_type=Meeting, max_corrections=1)
    assert "gave 2 answers, and the last one is no Meeting" in await failure(
        driver, AgentWorkflow([agent]), user_msg="When?"
    )
    assert "was told nothing" in await failure(driver, AgentWorkflow([agent]))


async def test_a_conversation_goes_on_behind_continue_as_new(driver: Driver) -> None:
    """A run that crosses to new executions keeps its conversation, its counts, and the tools under way."""
    driver.limits = Limits(continue_at_events=40)
    rounds = 5
    model = ScriptedModel(*(calls(*(("add", {"a": n, "b": k}) for k in range(3))) for n in range(rounds)), "Done.")
    seen = await driver.see(AgentWorkflow.from_tools([add], model), user_msg="Go.")
    assert (str(seen.result), seen.result.num_iterations) == ("Done.", rounds + 1)
    told = [int(each["content"]) for each in seen.state["chat_history"] if each["role"] == "tool"]
    assert told == [n + k for n in range(rounds) for k in range(3)]
    assert len(results(seen.events)) == 3 * rounds


async def test_an_empty_answer_is_asked_for_again(driver: Driver) -> None:
    """A model that says nothing at all gets another try."""
    left = ["", "There."]
    model = ScriptedModel(lambda _: left.pop(0))
    assert str((await driver.see(AgentWorkflow.from_tools([], model), user_msg="Hm?")).result) == "There."
