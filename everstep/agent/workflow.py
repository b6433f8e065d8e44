"""`AgentWorkflow`: agents as a flow. Each call of a model and each call of a tool is a step.

    init_run → run_agent → call_tool (side by side) → join_results → run_agent … → AgentResult
    init_run → list_tools → tools_listed → run_agent      where agents have servers of tools
    call_tool → approve_tool → join_results               where a person must approve

Only the conversation and the names of agents and tools are data of a run. What agents are made of (prompts, functions,
models) is read where the steps run, so that a run goes on with what is deployed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, cast

from pydantic import BaseModel

from everstep.agent.agent import Agent, ModelSource, ToolSource
from everstep.agent.approval import answered, check_arguments, question_about, rejected, run_approved
from everstep.agent.calling import ToolRetries, carry_out, failed_result
from everstep.agent.conversation import (
    AGENT,
    CORRECTIONS,
    ITERATIONS,
    MAX_ITERATIONS,
    STATE,
    TOOLS,
    USAGE,
    Conversation,
)
from everstep.agent.errors import (
    AgentDefinitionError,
    EmptyAnswerError,
    MaxIterationsError,
    OutputInvalidError,
    ToolError,
)
from everstep.agent.events import (
    AgentHandoff,
    AgentInput,
    AgentOutput,
    AgentResult,
    AgentSetup,
    AgentWorkflowStartEvent,
    ApproveToolCall,
    ListTools,
    ToolApproval,
    ToolCall,
    ToolCallHeld,
    ToolCallResult,
    ToolOutput,
    ToolsListed,
)
from everstep.agent.memory import TokenCounter, estimated_tokens, tokens_beside, within_budget
from everstep.agent.messages import ChatMessage, ToolSelection, Usage
from everstep.agent.model import MODEL_RETRIES, ChatAnswer
from everstep.agent.output import correction, read_output
from everstep.agent.servers import Listed, listed_from
from everstep.agent.streaming import TokenStream
from everstep.agent.team import Team
from everstep.context import Context
from everstep.decorators import catch_error, step
from everstep.errors import WorkflowRuntimeError
from everstep.events import Event, StepFailedEvent
from everstep.workflow import Workflow

MODEL_SECONDS = 600.0
"""One attempt of a model call, at most. Models have shorter limits of their own; this is for those that have none."""

TOOLS_AT_ONCE = 16
"""How many calls of tools go on at one time in a run."""

STATE_PROMPT = "What is known so far, as JSON: {state}"


class AgentWorkflow(Workflow):
    """Agents that answer a user, call tools, and hand over to each other; durable like every flow.

    Args:
        agents: who takes part.
        root_agent: the name of the one that begins; by default the first. A run that goes on from another one's state
            begins with the agent that had the word last.
        initial_state: plain JSON that tools find under `state` in `ctx.store`, and models in their prompt.
        state_prompt: how models are told the state, with `{state}` in it; None: they are not.
        max_iterations: how often models may be called in one run.
        token_budget: how many tokens a request to a model may have: its prompt, its tools, and the latest of the
            conversation. Older turns are forgotten; in a long one, the oldest outputs of tools are left out.
        count_tokens: counts the tokens of a text; by default an estimate by its length.
        workflow_name: the flow's name; instances that one worker serves need one each. A subclass has its own.
        options: of `Workflow`.

    The result is an `AgentResult`. The state of a run, given to the next one, continues the conversation.

    Raises:
        AgentDefinitionError: the agents cannot work together.

    Example:
        >>> desk = AgentWorkflow(agents=[triage, billing], root_agent="triage")
        >>> handler = desk.run(user_msg="Where is order A-1001?")
        >>> print(await handler)
        >>> print(await desk.run(user_msg="Then pay it back, please.", ctx=handler.ctx))
    """

    span_kind = "AGENT"

    def __new__(cls, *_: Any, workflow_name: str | None = None, **__: Any) -> Self:
        if workflow_name is None or workflow_name == cls.__name__:
            return super().__new__(cls)
        if not workflow_name.isidentifier():
            raise AgentDefinitionError(f"workflow_name={workflow_name!r} is no name: give letters, digits and _.")
        named = type(workflow_name, (cls,), {"__module__": cls.__module__, "__doc__": cls.__doc__})
        return super().__new__(cast("Any", named))

    def __init__(
        self,
        agents: Sequence[Agent],
        root_agent: str | None = None,
        initial_state: Mapping[str, Any] | None = None,
        *,
        state_prompt: str | None = STATE_PROMPT,
        max_iterations: int = 20,
        token_budget: int = 100_000,
        count_tokens: TokenCounter = estimated_tokens,
        workflow_name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        for label, value in (("max_iterations", max_iterations), ("token_budget", token_budget)):
            if isinstance(value, bool) or value < 1:
                raise AgentDefinitionError(f"{self.workflow_name} has {label}={value!r}: give 1 or more.")
        self.team = Team(agents, root_agent)
        self.initial_state = dict(initial_state or {})
        self.state_prompt = state_prompt
        self.max_iterations = max_iterations
        self.token_budget = token_budget
        self.count_tokens = count_tokens

    @classmethod
    def from_tools(
        cls,
        tools: Iterable[ToolSource],
        model: ModelSource,
        *,
        system_prompt: str | None = None,
        output_type: type[BaseModel] | None = None,
        **options: Any,
    ) -> Self:
        """A flow of one agent.

        Args:
            tools: what it may call.
            model: a `ChatModel`, or a function that makes one.
            system_prompt: what its model is told before the conversation.
            output_type: a pydantic model that its answers must fit.
            options: of `AgentWorkflow`.

        Example:
            >>> result = await AgentWorkflow.from_tools([add, divide], OpenAIChat()).run(user_msg="What is 7 + 5?")
        """
        agent = Agent(tools=tools, model=model, system_prompt=system_prompt, output_type=output_type)
        return cls(agents=[agent], **options)

    @step
    async def init_run(self, ctx: Context, ev: AgentWorkflowStartEvent) -> list[ListTools] | AgentSetup:
        """Put what the user says behind the conversation so far, and ask servers for their tools."""
        if ev.user_msg is None and not ev.chat_history:
            raise WorkflowRuntimeError(f"{self.workflow_name} was told nothing: give user_msg, or chat_history.")
        talk = await Conversation.of(ctx)
        agent = talk.get(AGENT)
        if agent not in self.team.agents:
            agent = self.team.root
        await talk.begin(ev.chat_history, ev.user_msg, self.token_budget, self.count_tokens)
        await ctx.store.set(STATE, {**self.initial_state, **(talk.get(STATE) or {})})
        await ctx.store.set(AGENT, agent)
        await ctx.store.set(MAX_ITERATIONS, ev.max_iterations or self.max_iterations)
        await ctx.store.set(ITERATIONS, 0)
        await ctx.store.set(CORRECTIONS, 0)
        await ctx.store.set(USAGE, Usage())
        if self.team.servers:
            return [ListTools(server=name) for name in self.team.servers]
        return AgentSetup(current_agent_name=agent)

    @step(retry_policy=MODEL_RETRIES)
    async def list_tools(self, ev: ListTools) -> ToolsListed:
        """Ask one server for its tools; they are the run's until it ends."""
        return ToolsListed(server=ev.server, tools=await self.team.servers[ev.server].list_tools())

    @step
    async def tools_listed(self, ctx: Context, evs: list[ToolsListed]) -> AgentSetup:
        """Keep what the servers have, and begin."""
        listed = {ev.server: ev.tools for ev in evs}
        self.team.check(listed)
        await ctx.store.set(TOOLS, listed)
        return AgentSetup(current_agent_name=await ctx.store.get(AGENT))

    @step(retry_policy=MODEL_RETRIES, timeout=MODEL_SECONDS)
    async def run_agent(self, ctx: Context, ev: AgentSetup) -> list[ToolCall] | AgentSetup | AgentResult:
        """Let the agent's model say what comes next."""
        talk = await Conversation.of(ctx)
        agent = self.team.agent(ev.current_agent_name)
        iterations, limit = talk.get(ITERATIONS, 0) + 1, talk.get(MAX_ITERATIONS, self.max_iterations)
        if iterations > limit:
            raise MaxIterationsError(agent.name, limit)
        answer = await self._ask(ctx, agent, talk)
        message = _with_ids(answer.message, talk, agent.name)
        if not message.tool_calls and not message.content.strip():
            raise EmptyAnswerError(agent.name, agent.model.describe())
        usage = talk.usage + answer.usage
        await ctx.store.set(ITERATIONS, iterations)
        await ctx.store.set(USAGE, usage)
        await talk.add(message)
        ctx.write_event_to_stream(
            AgentOutput(
                response=message,
                current_agent_name=agent.name,
                usage=answer.usage,
                finish_reason=answer.finish_reason,
                model=answer.model,
            )
        )
        if message.tool_calls:
            return [ToolCall(**dict(call), current_agent_name=agent.name) for call in message.tool_calls]
        result = AgentResult(
            response=message,
            current_agent_name=agent.name,
            usage=usage,
            num_iterations=iterations,
            finish_reason=answer.finish_reason,
        )
        return result if agent.output_type is None else await self._formed(ctx, agent, talk, result)

    @step(retry_policy=ToolRetries(), num_workers=TOOLS_AT_ONCE)
    async def call_tool(self, ctx: Context, ev: ToolCall) -> ToolCallResult | ToolCallHeld:
        """Call one tool, or hold the call until a person has approved it."""
        done = await carry_out(ctx, self.team, ev, await self._listed(ctx))
        if isinstance(done, ToolCallResult):
            ctx.write_event_to_stream(done)
        return done

    @step(retry_policy=ToolRetries(), num_workers=TOOLS_AT_ONCE)
    async def approve_tool(self, ctx: Context, ev: ToolCallHeld) -> ToolCallResult:
        """Ask a person whether a call may be made, for as long as it takes, and make it as they approved it."""
        problem = ""
        listed = await self._listed(ctx)
        while True:
            question: ApproveToolCall = question_about(ev, self.team, listed, problem)
            try:
                answer = await ctx.wait_for_event(ToolApproval, waiter_event=question)
                decided = answered(ev, answer, self.team, listed)
            except TimeoutError:
                decided = rejected(ev, "Nobody approved this call in time.")
            except ToolError as error:
                problem = str(error)
                continue
            if isinstance(decided, ToolCall):
                decided = await run_approved(ctx, ev, decided, self.team, listed)
            ctx.write_event_to_stream(decided)
            return decided

    @catch_error(for_steps=["call_tool", "approve_tool"], max_recoveries=1_000_000)
    async def tool_failed(self, ctx: Context, ev: StepFailedEvent) -> ToolCallResult:
        """Give the model the error of a tool whose tries are used up."""
        result = failed_result(ev)
        ctx.write_event_to_stream(result)
        return result

    @step
    async def join_results(self, ctx: Context, evs: list[ToolCallResult]) -> AgentSetup | AgentResult:
        """Put the results into the conversation, in the order in which they were asked for."""
        talk = await Conversation.of(ctx)
        order = {tool_id: number for number, tool_id in enumerate(talk.last_calls())}
        results = sorted(evs, key=lambda result: order.get(result.tool_id, len(order)))
        handoffs = [result for result in results if result.handoff_to is not None]
        for late in handoffs[1:]:
            late.tool_output = ToolOutput(content="Error: only one agent can take over.", is_error=True)
        await talk.add(*map(_as_message, results))
        name = str(talk.get(AGENT))
        direct = next((each for each in results if each.return_direct and not each.tool_output.is_error), None)
        if direct is not None:
            message = ChatMessage(role="assistant", content=direct.tool_output.content, name=name)
            await talk.add(message)
            return AgentResult(
                response=message,
                current_agent_name=name,
                usage=talk.usage,
                num_iterations=talk.get(ITERATIONS, 0),
            )
        if handoffs:
            to_agent, reason = str(handoffs[0].handoff_to), str(handoffs[0].tool_kwargs.get("reason", ""))
            ctx.write_event_to_stream(AgentHandoff(from_agent=name, to_agent=to_agent, reason=reason))
            await ctx.store.set(AGENT, to_agent)
            name = to_agent
        return AgentSetup(current_agent_name=name)

    def check_answer(self, question: Event, answer: Event) -> None:
        """Refuse arguments that do not fit the tool that is to be approved.

        Raises:
            ToolError: they do not.
        """
        if isinstance(question, ApproveToolCall) and isinstance(answer, ToolApproval):
            check_arguments(question, answer, self.team)

    async def _listed(self, ctx: Context) -> Listed:
        return listed_from(await ctx.store.get(TOOLS, default={})) if self.team.servers else {}

    async def _ask(self, ctx: Context, agent: Agent, talk: Conversation) -> ChatAnswer:
        ctx.write_event_to_stream(AgentInput(input=talk.news(), current_agent_name=agent.name))
        prompt = [agent.system_prompt] if agent.system_prompt else []
        state = talk.get(STATE)
        if state and self.state_prompt is not None:
            prompt.append(self.state_prompt.replace("{state}", json.dumps(state, ensure_ascii=False)))
        system = [ChatMessage(role="system", content="\n\n".join(prompt))] if prompt else []
        tools = self.team.metadata(agent, talk.listed)
        beside = tokens_beside(system, tools, agent.output_type, self.count_tokens)
        history = within_budget(talk.messages, self.token_budget - beside, self.count_tokens)
        tokens = TokenStream(ctx, agent.name)
        answer = await agent.model.chat(
            [*system, *history],
            tools=tools,
            schema=agent.output_type,
            on_token=tokens.add,
        )
        tokens.flush()
        return answer

    async def _formed(
        self, ctx: Context, agent: Agent, talk: Conversation, result: AgentResult
    ) -> AgentResult | AgentSetup:
        """The result, if its text has the form that is asked for; else the agent's next try."""
        assert agent.output_type is not None
        data, faults = read_output(result.response.content, agent.output_type)
        if not faults:
            result.structured_response = data
            return result
        corrections = talk.get(CORRECTIONS, 0)
        if corrections >= agent.max_corrections:
            raise OutputInvalidError(agent.name, agent.output_type.__name__, faults, corrections + 1)
        await ctx.store.set(CORRECTIONS, corrections + 1)
        await talk.add(correction(agent.output_type, faults))
        return AgentSetup(current_agent_name=agent.name)


def _as_message(result: ToolCallResult) -> ChatMessage:
    return ChatMessage(
        role="tool", content=result.tool_output.content, tool_call_id=result.tool_id, name=result.tool_name
    )


def _with_ids(message: ChatMessage, talk: Conversation, agent: str) -> ChatMessage:
    """The message, with calls that can be told apart: some servers give no ids, or the same ones again."""
    taken = {call.tool_id for each in talk.messages for call in each.tool_calls}
    calls: list[ToolSelection] = []
    for number, call in enumerate(message.tool_calls):
        tool_id = call.tool_id
        if not tool_id or tool_id in taken:
            tool_id = f"call_{len(talk.messages)}_{number}"
        taken.add(tool_id)
        calls.append(call.model_copy(update={"tool_id": tool_id}))
    return message.model_copy(update={"tool_calls": calls, "name": agent})
