"""What can go wrong with agents, beyond what their models and tools raise."""

from __future__ import annotations

from everstep.errors import EverstepError, WorkflowRuntimeError, WorkflowValidationError


class AgentDefinitionError(WorkflowValidationError):
    """Agents or tools are described in a way that cannot work."""


class AgentError(WorkflowRuntimeError):
    """An agent could not do what it was asked."""


class MaxIterationsError(AgentError):
    """The agents called their models as often as they may, and had no answer yet.

    Args:
        agent: the one whose turn it was.
        limit: how often models may be called in the run.
    """

    agent: str = ""
    limit: int = 0

    def __init__(self, agent: str, limit: int) -> None:
        super().__init__(
            f"Agent {agent!r} has no answer after {limit} calls of its model, which is the limit. Look into the run's "
            "stream whether it goes round in circles; else raise max_iterations."
        )
        self.agent = agent
        self.limit = limit


class OutputInvalidError(AgentError):
    """An agent's answer did not fit its `output_type`, also after it was told so.

    Args:
        agent: the agent.
        type_name: the name of the type.
        faults: what was wrong with the last answer.
        tries: how many answers it gave.
    """

    retryable = False
    agent: str = ""
    faults: str = ""

    def __init__(self, agent: str, type_name: str, faults: str, tries: int) -> None:
        super().__init__(
            f"Agent {agent!r} gave {tries} answers, and the last one is no {type_name} either: {faults}. Make the type "
            "simpler, describe its fields, or take a stronger model."
        )
        self.agent = agent
        self.faults = faults


class EmptyAnswerError(AgentError):
    """A model said nothing and called no tool; asking again may help."""

    retryable = True

    def __init__(self, agent: str, model: str) -> None:
        super().__init__(f"Agent {agent!r}: its model {model} answered with nothing at all.")


class ToolError(EverstepError):
    """A tool cannot be called as it was asked; raise it, or any other error, in a tool to tell the model."""


class ToolTimeoutError(ToolError):
    """A tool took longer than its timeout, in seconds."""

    def __init__(self, tool: str, timeout: float) -> None:
        super().__init__(f"{tool} did not answer within {timeout:g} seconds")
