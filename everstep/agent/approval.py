"""What people are asked about a call, and what becomes of the call by their answer.

Rule: a call that needs approval is run by the invocation that has the answer, so that nobody can send one as approved.
"""

from __future__ import annotations

import json
from typing import Any

from everstep.agent.calling import result_of, run_tool
from everstep.agent.errors import ToolError
from everstep.agent.events import ApproveToolCall, ToolApproval, ToolCall, ToolCallHeld, ToolCallResult, ToolOutput
from everstep.agent.messages import ToolMetadata
from everstep.agent.servers import Listed
from everstep.agent.team import Team
from everstep.context import Context


def question_about(held: ToolCallHeld, team: Team, listed: Listed, problem: str) -> ApproveToolCall:
    """The request for a call; a tool that is gone meanwhile has nothing to say of itself."""
    tool = team.tools(team.agent(held.current_agent_name), listed).get(held.tool_name)
    return ApproveToolCall(
        tool_name=held.tool_name,
        tool_kwargs=held.tool_kwargs,
        tool_id=held.tool_id,
        tool_description="" if tool is None else tool.description,
        parameters={} if tool is None else tool.metadata.parameters,
        current_agent_name=held.current_agent_name,
        problem=problem,
        assignee=None if tool is None else tool.options.assignee,
        due=None if tool is None else tool.options.approve_within,
    )


def answered(held: ToolCallHeld, answer: ToolApproval, team: Team, listed: Listed) -> ToolCall | ToolCallResult:
    """The call as it was approved, with the arguments that were shown or those that were given; or why it is not made.

    Raises:
        ToolError: the arguments that were given do not fit.
    """
    if not answer.approved:
        return rejected(held, f"A person rejected this call: {answer.reason or 'no reason was given'}")
    arguments = held.tool_kwargs
    if answer.arguments:
        tool = team.tool(held.current_agent_name, held.tool_name, listed)
        arguments = tool.complete({**held.tool_kwargs, **answer.arguments})
    return ToolCall(
        tool_name=held.tool_name,
        tool_kwargs=arguments,
        tool_id=held.tool_id,
        current_agent_name=held.current_agent_name,
    )


async def run_approved(
    ctx: Context[Any], held: ToolCallHeld, call: ToolCall, team: Team, listed: Listed
) -> ToolCallResult:
    """Make a call as it was approved; that its tool is gone meanwhile is told to the model.

    Raises:
        ToolFailedError: the tool failed, and its own retry policy is to be asked.
    """
    try:
        tool = team.tool(call.current_agent_name, call.tool_name, listed)
    except ToolError as error:
        return result_of(call, ToolOutput(content=f"Error: {error}", is_error=True))
    changed = call.tool_kwargs != held.tool_kwargs
    shown = json.dumps(call.tool_kwargs, ensure_ascii=False)
    return await run_tool(ctx, tool, call, remark=f"A person changed the arguments to {shown}.\n" if changed else "")


def check_arguments(question: ApproveToolCall, answer: ToolApproval, team: Team) -> None:
    """Hold the arguments of an answer against the tool, as it was shown where it is a server's.

    Raises:
        ToolError: they do not fit.
    """
    if not (answer.approved and answer.arguments):
        return
    shown = ToolMetadata(name=question.tool_name, description=question.tool_description, parameters=question.parameters)
    agent = team.agent(question.current_agent_name)
    listed = {server: [shown] for server in agent.servers}
    tool = team.tool(agent.name, question.tool_name, listed)
    tool.complete({**question.tool_kwargs, **answer.arguments})


def rejected(held: ToolCallHeld, why: str) -> ToolCallResult:
    """The result of a call that is not made."""
    return result_of(held, ToolOutput(content=why, is_error=True))
