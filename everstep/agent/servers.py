"""Servers of tools: their tools are listed when a run begins, and called over the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from everstep.agent.messages import ToolMetadata
from everstep.agent.tool_base import Tool, ToolOptions
from everstep.context import Context

Listed = Mapping[str, Sequence[ToolMetadata]]
"""What each server listed, by its name."""


@runtime_checkable
class ToolServer(Protocol):
    """Gives tools to agents that have it among their `tools`. `name` is unique in a flow."""

    name: str

    async def list_tools(self) -> list[ToolMetadata]:
        """The tools that it has now."""
        ...

    async def call_tool(self, name: str, arguments: Mapping[str, Any], idempotency_key: str) -> str:
        """Call one of them.

        Raises:
            ToolError: it says that the call failed, or cannot be reached.
        """
        ...

    def check(self, tool: ToolMetadata, arguments: Mapping[str, Any]) -> None:
        """Raises ToolError: the arguments do not fit the tool."""
        ...

    def options_of(self, tool: str) -> ToolOptions:
        """How one of its tools may be used."""
        ...


class ServerTool(Tool):
    """A tool of a server, as it was listed when the run began."""

    def __init__(self, server: ToolServer, metadata: ToolMetadata) -> None:
        self.metadata = metadata
        self.options = server.options_of(metadata.name)
        self._server = server

    def complete(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments, checked; defaults are the server's business."""
        self._server.check(self.metadata, arguments)
        return dict(arguments)

    async def call(self, ctx: Context[Any], arguments: Mapping[str, Any]) -> str:
        """Call it over the wire."""
        given = self.complete(arguments)
        return await self.in_time(self._server.call_tool(self.name, given, ctx.idempotency_key))


def listed_from(data: Mapping[str, Any]) -> dict[str, list[ToolMetadata]]:
    """What servers listed, from a run's state."""
    return {server: [ToolMetadata.model_validate(each) for each in tools] for server, tools in data.items()}
