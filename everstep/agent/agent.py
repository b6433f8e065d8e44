"""`Agent`: a name, a prompt, tools and a model; what it is made of never enters a run's history."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from pydantic import BaseModel

from everstep.agent.errors import AgentDefinitionError
from everstep.agent.model import ChatModel
from everstep.agent.servers import ToolServer
from everstep.agent.tool_base import Tool
from everstep.agent.tools import as_tool

_NAME = re.compile(r"^[\w .-]{1,64}$")

ToolSource = Callable[..., Any] | Tool | ToolServer
ModelSource = ChatModel | Callable[[], ChatModel]


class Agent:
    """One of those who take part in an `AgentWorkflow`.

    Args:
        name: what others call it.
        description: what it is for, in a sentence: other agents decide by it whether to hand over.
        system_prompt: what its model is told before the conversation.
        tools: functions, `FunctionTool`s, and servers of tools (`MCPServer`).
        can_handoff_to: the names of the agents that it may hand over to; None: all others; empty: none.
        model: a `ChatModel`, or a function that makes one. The function is called once, where the steps run.
        output_type: a pydantic model that its answers must fit; see `AgentResult.get_pydantic_model`.
        max_corrections: how often an answer that does not fit is given back to the model.

    Raises:
        AgentDefinitionError: it cannot work; all faults are named.

    Example:
        >>> billing = Agent(
        ...     name="billing",
        ...     description="Looks up orders and pays refunds.",
        ...     system_prompt="You are the billing desk. Look an order up before you refund it.",
        ...     tools=[find_order, refund],
        ...     model=OpenAIChat(),
        ... )
    """

    def __init__(
        self,
        name: str = "Agent",
        description: str = "An agent that uses tools.",
        system_prompt: str | None = None,
        tools: Iterable[ToolSource] = (),
        can_handoff_to: Sequence[str] | None = None,
        model: ModelSource | None = None,
        output_type: type[BaseModel] | None = None,
        max_corrections: int = 3,
    ) -> None:
        self.name = name
        self.description = description
        self.system_prompt = system_prompt
        self.can_handoff_to = can_handoff_to if isinstance(can_handoff_to, str | None) else tuple(can_handoff_to)
        self.output_type = output_type
        self.max_corrections = max_corrections
        self._source = model
        self._model: ChatModel | None = None
        self._making = threading.Lock()
        self._check()
        given = list(tools)
        self.servers = {each.name: each for each in given if isinstance(each, ToolServer)}
        self.tools = self._distinct(each for each in given if not isinstance(each, ToolServer))

    @property
    def model(self) -> ChatModel:
        """What it thinks with; made now, if it was given as a function."""
        with self._making:
            if self._model is None:
                assert self._source is not None
                self._model = self._source if isinstance(self._source, ChatModel) else self._source()
            return self._model

    def _check(self) -> None:
        name, kind = cast("object", self.name), cast("object", self.output_type)
        fault = None
        if not isinstance(name, str) or not _NAME.match(name):
            fault = "has no usable name: give up to 64 letters, digits, spaces, dots, _ or -"
        elif self._source is None:
            fault = "has no model: give model=, a ChatModel or a function that makes one"
        elif not (isinstance(self._source, ChatModel) or callable(self._source)):
            fault = f"has model={self._source!r}, which is none: give a ChatModel"
        elif isinstance(self.can_handoff_to, str):
            fault = "has a text for can_handoff_to: give a list of agents' names"
        elif kind is not None and not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            fault = f"has output_type={kind!r}: give a pydantic model, a class"
        elif self.max_corrections < 0:
            fault = f"has max_corrections={self.max_corrections!r}: give 0 or more"
        if fault is not None:
            raise AgentDefinitionError(f"Agent {self.name!r} {fault}.")

    def _distinct(self, tools: Iterable[Callable[..., Any] | Tool]) -> dict[str, Tool]:
        found: dict[str, Tool] = {}
        for each in map(as_tool, tools):
            if each.name in found:
                raise AgentDefinitionError(
                    f"Agent {self.name!r} has two tools named {each.name!r}: give one another name by @tool(name=...)."
                )
            found[each.name] = each
        return found
