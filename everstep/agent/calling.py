"""Carrying out one call of a tool. Whatever goes wrong becomes an output that tells the model so."""

from __future__ import annotations

from typing import Any

from everstep.agent.errors import ToolError
from everstep.agent.events import ToolCall, ToolCallHeld, ToolCallResult, ToolOutput
from everstep.agent.servers import Listed
from everstep.agent.team import HANDOFF, Team
from everstep.agent.tool_base import Tool
from everstep.context import Context
from everstep.events import Event, StepFailedEvent
from everstep.observe.calls import ToolCall as ToolSpan
from everstep.retry_policy import RetryPolicy

UNREADABLE_SHOWN = 500
"""How many characters of arguments that are no JSON are told to the model again."""


class ToolFailedError(ToolError):
    """A tool that has a retry policy raised an error; the text is that error's.

    Args:
        policy: the tool's.
        cause: what it raised.
    """

    def __init__(self, policy: RetryPolicy, cause: Exception) -> None:
        super().__init__(_told(cause))
        self.policy = policy
        self.cause = cause


class ToolRetries:
    """The retry policy of the step that calls tools: it asks that of the tool which failed."""

    def next(self, elapsed_time: float, attempts: int, error: Exception, *, seed: int | None = None) -> float | None:
        """Seconds until the next try, or None to stop."""
        if not isinstance(error, ToolFailedError):
            return None
        return error.policy.next(elapsed_time, attempts, error.cause, seed=seed)


async def carry_out(ctx: Context[Any], team: Team, call: ToolCall, listed: Listed) -> ToolCallResult | ToolCallHeld:
    """Call a tool; or hold the call, if a person must approve it: nothing that a call says of itself spares it that.

    Raises:
        ToolFailedError: the tool failed, and its own retry policy is to be asked.
    """
    try:
        if call.unreadable is not None:
            raise ToolError(f"the arguments are no JSON object, but: {call.unreadable[:UNREADABLE_SHOWN]}")
        if call.tool_name == HANDOFF and team.hands_over(call.current_agent_name):
            ctx.write_event_to_stream(call)
            return _handoff(team, call)
        tool = team.tool(call.current_agent_name, call.tool_name, listed)
        held = tool.needs_approval(call.tool_kwargs)
        arguments = tool.complete(call.tool_kwargs) if held else call.tool_kwargs
    except Exception as error:
        return result_of(call, _error(error))
    if held:
        return ToolCallHeld(
            tool_name=call.tool_name,
            tool_kwargs=arguments,
            tool_id=call.tool_id,
            current_agent_name=call.current_agent_name,
        )
    return await run_tool(ctx, tool, call)


async def run_tool(ctx: Context[Any], tool: Tool, call: ToolCall, *, remark: str = "") -> ToolCallResult:
    """Call a tool that may be called; the model reads `remark` before the output.

    Raises:
        ToolFailedError: the tool failed, and its own retry policy is to be asked.
    """
    ctx.write_event_to_stream(call)
    try:
        with ToolSpan(call.tool_name, call.tool_kwargs, tool.metadata.description) as span:
            output = await tool.call(ctx, call.tool_kwargs)
            span.gave(output)
    except Exception as error:
        if tool.options.retry_policy is not None and not isinstance(error, ToolError):
            raise ToolFailedError(tool.options.retry_policy, error) from error
        return result_of(call, _error(error))
    return result_of(call, ToolOutput(content=f"{remark}{output}"), return_direct=tool.options.return_direct)


def result_of(call: ToolCall | ToolCallHeld, output: ToolOutput, *, return_direct: bool = False) -> ToolCallResult:
    """The result of a call."""
    return ToolCallResult(
        tool_name=call.tool_name,
        tool_kwargs=call.tool_kwargs,
        tool_id=call.tool_id,
        tool_output=output,
        return_direct=return_direct,
    )


def failed_result(failure: StepFailedEvent) -> ToolCallResult:
    """The result of a call whose step has failed for good: its retries are used up, or its workers were lost."""
    call: Event = failure.input_event
    error = failure.exception
    why = str(error) if failure.exception_type.endswith(ToolFailedError.__name__) else _told(error)
    return ToolCallResult(
        tool_name=call.tool_name,
        tool_kwargs=call.tool_kwargs,
        tool_id=call.tool_id,
        tool_output=ToolOutput(content=f"Error: {why}", is_error=True),
    )


def _handoff(team: Team, call: ToolCall) -> ToolCallResult:
    to_agent, reason = team.takes_over(call.current_agent_name, call.tool_kwargs)
    result = result_of(call, ToolOutput(content=f"{to_agent} takes over now: {reason}\nGo on with what the user asks."))
    result.handoff_to = to_agent
    return result


def _error(error: Exception) -> ToolOutput:
    return ToolOutput(content=f"Error: {error if isinstance(error, ToolError) else _told(error)}", is_error=True)


def _told(error: Exception) -> str:
    """An error for a model: its class and its text."""
    return f"{type(error).__name__}: {error}"
