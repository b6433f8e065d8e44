"""The events of an agent's run: what its steps pass on, what followers see, and what people are asked."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, Field

from everstep.agent.messages import ChatMessage, ToolMetadata, ToolSelection, Usage
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

M = TypeVar("M", bound=BaseModel)


class AgentWorkflowStartEvent(StartEvent):
    """Begins a run of agents.

    Attributes:
        user_msg: what the user says.
        chat_history: the conversation before it. A run that goes on from another one's state has it there.
        max_iterations: how often models may be called in this run; by default the flow's `max_iterations`.
    """

    user_msg: str | None = None
    chat_history: list[ChatMessage] | None = None
    max_iterations: int | None = Field(default=None, ge=1)


class ListTools(Event):
    """A server is to be asked for its tools."""

    from_outside = False

    server: str


class ToolsListed(Event):
    """The tools that a server has."""

    from_outside = False

    server: str
    tools: list[ToolMetadata]


class AgentSetup(Event):
    """It is this agent's turn: its model is called with the run's chat history."""

    from_outside = False

    current_agent_name: str


class AgentInput(Event):
    """Shown before a model is called: what is new in the conversation since it was called last."""

    input: list[ChatMessage]
    current_agent_name: str


class AgentStream(Event):
    """A piece of a model's answer while it is written. Pieces are gathered for a tenth of a second.

    An attempt that fails may have shown some: `StreamItem.attempt` tells them from those of the next one.
    """

    delta: str
    current_agent_name: str


class AgentOutput(Event):
    """What a model answered: text, tools to call, or both."""

    response: ChatMessage
    current_agent_name: str
    usage: Usage = Usage()
    finish_reason: str = "stop"
    model: str = ""

    @property
    def tool_calls(self) -> list[ToolSelection]:
        """The tools that the model wants called."""
        return self.response.tool_calls


class ToolCall(Event):
    """A tool is to be called with these arguments. `unreadable`: what the model wrote instead of arguments.

    Nothing in it tells that a person has agreed: only the step that holds the call and has their answer runs it.
    """

    from_outside = False

    tool_name: str
    tool_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])
    tool_id: str
    current_agent_name: str
    unreadable: str | None = None


class ToolCallHeld(Event):
    """A call waits until a person has approved it; `tool_kwargs` are all its arguments, with the defaults."""

    from_outside = False

    tool_name: str
    tool_kwargs: dict[str, Any]
    tool_id: str
    current_agent_name: str


class ToolOutput(BaseModel):
    """What a tool gave, as the model reads it. `is_error`: it is why there is nothing else."""

    content: str
    is_error: bool = False


class ToolCallResult(Event):
    """A call has ended.

    `return_direct`: its output is the answer of the run. `handoff_to`: the agent that takes over.
    """

    from_outside = False

    tool_name: str
    tool_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])
    tool_id: str
    tool_output: ToolOutput
    return_direct: bool = False
    handoff_to: str | None = None


class AgentHandoff(Event):
    """Shown when one agent gives the conversation to another."""

    from_agent: str
    to_agent: str
    reason: str = ""


class ToolApproval(HumanResponseEvent):
    """A person's word on a call.

    Attributes:
        approved: whether it is made.
        reason: why not; the model reads it.
        arguments: those to change; the others stay as they were shown. They are validated like the model's.
    """

    approved: bool
    reason: str = ""
    arguments: dict[str, Any] | None = None


class ApproveToolCall(InputRequiredEvent):
    """Asks a person whether a tool may be called, with exactly these arguments.

    `parameters` is the JSON Schema of the arguments. `problem` says what is wrong with the arguments that a person
    gave before, where the tool has changed since.
    """

    response_event: ClassVar[type[HumanResponseEvent] | None] = ToolApproval

    tool_name: str
    tool_kwargs: dict[str, Any]
    problem: str = ""
    current_agent_name: str
    tool_id: str
    tool_description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])


class AgentResult(StopEvent):
    """The agents' answer; as text by `str()`.

    Attributes:
        response: the last message.
        current_agent_name: the agent that gave it.
        structured_response: the answer as plain JSON, where that agent has an `output_type`; see `get_pydantic_model`.
        usage: the tokens of all model calls of the run.
        num_iterations: how often models were called.
        finish_reason: `length` where the model ran out of tokens within its answer.
    """

    response: ChatMessage
    current_agent_name: str
    structured_response: Any = None
    usage: Usage = Usage()
    num_iterations: int = 0
    finish_reason: str = "stop"

    def __str__(self) -> str:
        return self.response.content

    def get_pydantic_model(self, model: type[M]) -> M:
        """The structured answer as an instance of `model`.

        Raises:
            pydantic.ValidationError: it is none.
        """
        return model.model_validate(self.structured_response)
