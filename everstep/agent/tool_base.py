"""`Tool`: what every tool has in common, wherever it is carried out."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from everstep.agent.errors import AgentDefinitionError, ToolTimeoutError
from everstep.agent.messages import ToolMetadata
from everstep.context import Context
from everstep.retry_policy import RetryPolicy

T = TypeVar("T")
Predicate = Callable[[Mapping[str, Any]], bool]

_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """How a tool may be used; see `tool`. Times are in seconds."""

    name: str | None = None
    description: str | None = None
    approval: bool | Predicate = False
    assignee: str | None = None
    approve_within: float | None = None
    return_direct: bool = False
    retry_policy: RetryPolicy | None = None
    timeout: float | None = None


class Tool(ABC):
    """Something that a model may ask to be called. `metadata` is what it is told."""

    metadata: ToolMetadata
    options: ToolOptions

    @property
    def name(self) -> str:
        """What models call it."""
        return self.metadata.name

    @property
    def description(self) -> str:
        """What it is for."""
        return self.metadata.description

    @abstractmethod
    def complete(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments as plain JSON, as people are shown them.

        Raises:
            ToolError: they do not fit.
        """

    def typed(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as predicates are given them.

        Raises:
            ToolError: they do not fit.
        """
        return self.complete(arguments)

    @abstractmethod
    async def call(self, ctx: Context[Any], arguments: Mapping[str, Any]) -> str:
        """Call it; gives its output as text.

        Raises:
            ToolError: the arguments do not fit, or it took too long.
            Exception: whatever the tool raises.
        """

    def needs_approval(self, arguments: Mapping[str, Any]) -> bool:
        """Whether a person has to approve a call with these arguments.

        Raises:
            ToolError: they do not fit.
        """
        approval = self.options.approval
        return approval if isinstance(approval, bool) else bool(approval(self.typed(arguments)))

    async def in_time(self, work: Awaitable[T]) -> T:
        """What `work` gives, within the tool's timeout.

        Raises:
            ToolTimeoutError: it took longer.
        """
        timeout = self.options.timeout
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await work
        except TimeoutError as error:
            if timeout is not None and limit.expired():
                raise ToolTimeoutError(self.name, timeout) from error
            raise


def check_name(name: str) -> None:
    """Refuse what models cannot call a tool.

    Raises:
        AgentDefinitionError: it is no such name.
    """
    if not _NAME.match(name):
        raise AgentDefinitionError(
            f"Tool {name!r} has a name that models cannot use: give up to 64 letters, digits, _ and -, by "
            "@tool(name=...)."
        )


def seconds_of(value: float | timedelta | None) -> float | None:
    """Seconds, from seconds or a timedelta."""
    return value.total_seconds() if isinstance(value, timedelta) else value
