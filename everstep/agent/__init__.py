"""Agents as flows: models that call tools, ask people, and hand over to each other, each call a durable step.

Example:
    >>> from everstep.agent import Agent, AgentWorkflow, tool
"""

from everstep.agent.agent import Agent
from everstep.agent.errors import (
    AgentDefinitionError,
    AgentError,
    EmptyAnswerError,
    MaxIterationsError,
    OutputInvalidError,
    ToolError,
    ToolTimeoutError,
)
from everstep.agent.events import (
    AgentHandoff,
    AgentInput,
    AgentOutput,
    AgentResult,
    AgentSetup,
    AgentStream,
    AgentWorkflowStartEvent,
    ApproveToolCall,
    ToolApproval,
    ToolCall,
    ToolCallHeld,
    ToolCallResult,
    ToolOutput,
)
from everstep.agent.messages import ChatMessage, ToolMetadata, ToolSelection, Usage
from everstep.agent.model import ChatAnswer, ChatModel
from everstep.agent.tools import FunctionTool, tool
from everstep.agent.workflow import AgentWorkflow

__all__ = [
    "Agent",
    "AgentDefinitionError",
    "AgentError",
    "AgentHandoff",
    "AgentInput",
    "AgentOutput",
    "AgentResult",
    "AgentSetup",
    "AgentStream",
    "AgentWorkflow",
    "AgentWorkflowStartEvent",
    "ApproveToolCall",
    "ChatAnswer",
    "ChatMessage",
    "ChatModel",
    "EmptyAnswerError",
    "FunctionTool",
    "MaxIterationsError",
    "OutputInvalidError",
    "ToolApproval",
    "ToolCall",
    "ToolCallHeld",
    "ToolCallResult",
    "ToolError",
    "ToolMetadata",
    "ToolOutput",
    "ToolSelection",
    "ToolTimeoutError",
    "Usage",
    "tool",
]
