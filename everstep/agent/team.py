"""`Team`: the agents of a flow: who they are, which tools each one has, and whom each may hand over to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from everstep.agent.agent import Agent
from everstep.agent.errors import AgentDefinitionError, ToolError
from everstep.agent.messages import ToolMetadata
from everstep.agent.servers import Listed, ServerTool, ToolServer
from everstep.agent.tool_base import Tool

HANDOFF = "handoff"
"""The name of the tool by which an agent hands over."""


class Team:
    """Agents that know each other.

    Args:
        agents: at least one.
        root_agent: the name of the one that begins; by default the first.

    Raises:
        AgentDefinitionError: there is none, two have one name, or one names another that is not there.
    """

    def __init__(self, agents: Sequence[Agent], root_agent: str | None = None) -> None:
        if not agents:
            raise AgentDefinitionError("A flow of agents has none: give agents=[Agent(...)].")
        self.agents: dict[str, Agent] = {}
        for agent in agents:
            if agent.name in self.agents:
                raise AgentDefinitionError(f"Two agents are named {agent.name!r}: rename one.")
            self.agents[agent.name] = agent
        self.root = root_agent or agents[0].name
        if self.root not in self.agents:
            raise AgentDefinitionError(f"root_agent={self.root!r} is no agent; there are: {self._names()}.")
        self.servers: dict[str, ToolServer] = {}
        for server in (each for agent in agents for each in agent.servers.values()):
            if self.servers.setdefault(server.name, server) is not server:
                raise AgentDefinitionError(f"Two servers of tools are named {server.name!r}: rename one.")
        self._handoffs = {agent.name: self._handoff_tool(agent) for agent in agents}

    def agent(self, name: str) -> Agent:
        """The agent of this name; of one that a run knows and that is gone, the root agent takes the place."""
        return self.agents.get(name) or self.agents[self.root]

    def metadata(self, agent: Agent, listed: Listed) -> list[ToolMetadata]:
        """All that an agent's model may ask for; `listed` is what the servers have."""
        handoff = self._handoffs[agent.name]
        found = [each.metadata for each in self.tools(agent, listed).values()]
        return found if handoff is None else [*found, handoff]

    def tools(self, agent: Agent, listed: Listed) -> dict[str, Tool]:
        """An agent's tools by name: its functions, and what its servers listed."""
        found = dict(agent.tools)
        for server in agent.servers.values():
            found.update({each.name: ServerTool(server, each) for each in listed.get(server.name, ())})
        return found

    def tool(self, agent: str, name: str, listed: Listed) -> Tool:
        """An agent's tool.

        Raises:
            ToolError: it has none of this name.
        """
        tools = self.tools(self.agent(agent), listed)
        if name not in tools:
            known = [*tools, *([HANDOFF] if self.hands_over(agent) else [])]
            raise ToolError(f"there is no tool {name!r}; there are: {', '.join(known) or 'none'}")
        return tools[name]

    def check(self, listed: Listed) -> None:
        """Refuse tools that an agent could not tell apart.

        Raises:
            AgentDefinitionError: two tools of an agent have one name.
        """
        for agent in self.agents.values():
            seen = {*agent.tools, *([HANDOFF] if self.hands_over(agent.name) else [])}
            for server in agent.servers:
                for each in listed.get(server, ()):
                    if each.name in seen:
                        raise AgentDefinitionError(
                            f"Agent {agent.name!r} has two tools named {each.name!r}, one of server {server!r}: give "
                            "the server a prefix, or name the tools that are wanted of it by only=[...]."
                        )
                    seen.add(each.name)

    def hands_over(self, agent: str) -> bool:
        """Whether an agent may hand over to anybody."""
        return self._handoffs[self.agent(agent).name] is not None

    def takes_over(self, agent: str, arguments: Mapping[str, Any]) -> tuple[str, str]:
        """Whom an agent hands over to, and why.

        Raises:
            ToolError: it may not hand over to this one.
        """
        to_agent, reason = arguments.get("to_agent"), arguments.get("reason", "")
        candidates = self._candidates(self.agent(agent))
        if not isinstance(to_agent, str) or to_agent not in candidates:
            raise ToolError(f"{to_agent!r} cannot take over; these can: {', '.join(candidates) or 'none'}")
        return to_agent, str(reason)

    def _candidates(self, agent: Agent) -> list[str]:
        if agent.can_handoff_to is None:
            return [name for name in self.agents if name != agent.name]
        return [name for name in agent.can_handoff_to if name != agent.name]

    def _handoff_tool(self, agent: Agent) -> ToolMetadata | None:
        unknown = [name for name in agent.can_handoff_to or () if name not in self.agents]
        if unknown:
            raise AgentDefinitionError(
                f"Agent {agent.name!r} can hand over to {', '.join(map(repr, unknown))}, which is no agent here; there "
                f"are: {self._names()}."
            )
        candidates = self._candidates(agent)
        if not candidates:
            return None
        if HANDOFF in agent.tools:
            raise AgentDefinitionError(
                f"Agent {agent.name!r} has a tool {HANDOFF!r}, which is the name of the tool by which agents hand "
                "over: give it another name by @tool(name=...), or can_handoff_to=[]."
            )
        listed = "\n".join(f"- {name}: {self.agents[name].description}" for name in candidates)
        properties = {
            "to_agent": {"type": "string", "enum": candidates, "description": "Who takes over."},
            "reason": {"type": "string", "description": "Why, and what is left to do, in a sentence."},
        }
        return ToolMetadata(
            name=HANDOFF,
            description=f"Give the conversation to another agent, who is better placed to go on:\n{listed}",
            parameters={"type": "object", "properties": properties, "required": ["to_agent", "reason"]},
        )

    def _names(self) -> str:
        return ", ".join(self.agents)
