"""`MCPServer`: a server of tools that speaks the Model Context Protocol, by stdio or HTTP. Needs the extra `mcp`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary

from everstep.agent.errors import AgentDefinitionError, ToolError
from everstep.agent.held import Held
from everstep.agent.messages import ToolMetadata
from everstep.agent.tool_base import Predicate, ToolOptions, check_name, seconds_of
from everstep.errors import MissingExtraError
from everstep.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult

T = TypeVar("T")

IDEMPOTENCY_KEY = "everstep/idempotency-key"
"""The key of a call's `_meta` that holds what is the same in all its attempts."""

PAGES = 100
"""How many pages of tools are read of one server."""


class ToolServerError(ToolError):
    """A server of tools cannot be reached, or broke off; it may be back later."""

    retryable = True


class MCPServer:
    """A server of tools; give it to an agent among its `tools`.

    What it offers is listed by a step when a run begins, and each call is a step, as for functions. A connection is
    opened when it is needed, kept for a while, and opened again after an error. Calls carry `ctx.idempotency_key` in
    their `_meta`, as ``everstep/idempotency-key``.

    Args:
        name: unique in a flow.
        command: the program to start, for stdio; with `args`, `env` (added to a small default one) and `cwd`.
        url: its address, for HTTP; with `headers`.
        prefix: put before the names of its tools.
        only: the tools that are wanted, by the server's names; None: all.
        approval: True, the (prefixed) names of the tools that a person must approve, or a function of the arguments.
        assignee: as for `tool`.
        approve_within: as for `tool`.
        retry_policy: as for `tool`. Without one a call that broke off is told to the model, as it may have been made.
        timeout: bounds one call, or the listing, in seconds or as a timedelta.
        idle: seconds after which a connection that nobody uses is closed.

    Raises:
        AgentDefinitionError: there is no command and no url, or both.

    Example:
        >>> files = MCPServer("files", command="uvx", args=["mcp-server-filesystem", "/srv"], approval=["write_file"])
        >>> Agent(name="clerk", tools=[files], model=OpenAIChat())
    """

    def __init__(
        self,
        name: str,
        *,
        command: str | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        prefix: str = "",
        only: Collection[str] | None = None,
        approval: bool | Collection[str] | Predicate = False,
        assignee: str | None = None,
        approve_within: float | timedelta | None = None,
        retry_policy: RetryPolicy | None = None,
        timeout: float | timedelta = 60.0,
        idle: float = 60.0,
    ) -> None:
        if (command is None) == (url is None):
            raise AgentDefinitionError(f"Server {name!r} needs one of command and url: give command=, or url=.")
        self.name = name
        self._command, self._args, self._env, self._cwd = command, list(args), env, cwd
        self._url, self._headers = url, headers
        self._prefix = prefix
        self._only = None if only is None else frozenset(only)
        self._approval = approval
        self._options = ToolOptions(
            assignee=assignee, approve_within=seconds_of(approve_within), retry_policy=retry_policy
        )
        self._timeout = seconds_of(timeout) or 60.0
        self._idle = idle
        self._connections: WeakKeyDictionary[asyncio.AbstractEventLoop, Held[Client]] = WeakKeyDictionary()

    async def list_tools(self) -> list[ToolMetadata]:
        """The tools that it has now, those that are wanted, under their prefixed names.

        Raises:
            ToolServerError: it cannot be reached, or broke off.
        """
        return await self._with_client(self._listed)

    async def call_tool(self, name: str, arguments: Mapping[str, Any], idempotency_key: str) -> str:
        """Call a tool by its prefixed name; gives its output as text.

        Raises:
            ToolError: the tool failed, as the server says.
            ToolServerError: the server cannot be reached, or broke off.
        """
        meta: Any = {IDEMPOTENCY_KEY: idempotency_key}

        async def call(client: Client) -> CallToolResult:
            return await client.call_tool(name.removeprefix(self._prefix), dict(arguments), meta=meta)

        result = await self._with_client(call)
        text = _text(result)
        if result.is_error:
            raise ToolError(text or f"{name} failed, and its server does not say why")
        return text

    def check(self, tool: ToolMetadata, arguments: Mapping[str, Any]) -> None:
        """Hold arguments against what the tool takes.

        Raises:
            ToolError: they do not fit; it says where.
        """
        try:
            from jsonschema import Draft202012Validator
        except ImportError as error:
            raise MissingExtraError("mcp", "jsonschema") from error
        validator: Any = Draft202012Validator(tool.parameters)
        found: list[Any] = list(validator.iter_errors(dict(arguments)))
        if found:
            faults = "; ".join(f"{'.'.join(map(str, each.path)) or 'arguments'}: {each.message}" for each in found)
            raise ToolError(f"the arguments do not fit: {faults}")

    def options_of(self, tool: str) -> ToolOptions:
        """How one of its tools may be used."""
        approval = self._approval
        if not isinstance(approval, bool) and not callable(approval):
            approval = tool in approval
        options = self._options
        return ToolOptions(
            approval=approval,
            assignee=options.assignee,
            approve_within=options.approve_within,
            retry_policy=options.retry_policy,
        )

    async def aclose(self) -> None:
        """Close the running loop's connection; the next use opens another one."""
        held = self._connections.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held.aclose()

    async def _listed(self, client: Client) -> list[ToolMetadata]:
        found: list[ToolMetadata] = []
        cursor: str | None = None
        for _ in range(PAGES):
            page = await client.list_tools(cursor=cursor, cache_mode="bypass")
            for each in page.tools:
                if self._only is None or each.name in self._only:
                    check_name(f"{self._prefix}{each.name}")
                    found.append(
                        ToolMetadata(
                            name=f"{self._prefix}{each.name}",
                            description=each.description or each.title or each.name,
                            parameters=each.input_schema,
                        )
                    )
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    async def _with_client(self, use: Callable[[Client], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        held = self._connections.get(loop)
        if held is None:
            held = self._connections[loop] = Held(self._open, self._idle)
        try:
            async with asyncio.timeout(self._timeout), held.lent() as client:
                return await use(client)
        except (MissingExtraError, ToolError, AgentDefinitionError):
            raise
        except Exception as error:
            refused = _refusal(error)
            if refused is not None:
                raise ToolError(refused) from error
            if not (isinstance(error, TimeoutError) and held.in_use):  # a slow tool is no reason to cut off others
                await held.aclose()
            where = self._url or self._command
            raise ToolServerError(f"server {self.name!r} ({where}) did not answer: {_why(error)}") from error

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Client]:
        try:
            import httpx2
            from mcp import Client, StdioServerParameters
            from mcp.client.streamable_http import streamable_http_client
        except ImportError as error:
            raise MissingExtraError("mcp", "mcp") from error
        if self._url is None:
            assert self._command is not None
            env = None if self._env is None else dict(self._env)
            program = StdioServerParameters(command=self._command, args=self._args, env=env, cwd=self._cwd)
            async with Client(program) as client:
                yield client
        else:
            async with (
                httpx2.AsyncClient(headers=dict(self._headers or {}), timeout=self._timeout) as http,
                Client(streamable_http_client(self._url, http_client=http)) as client,
            ):
                yield client


def _text(result: CallToolResult) -> str:
    """What a model reads of a result: its texts; what is no text is named."""
    parts = [str(getattr(block, "text", None) or f"[{block.type}]") for block in result.content]
    return "\n".join(parts)


def _refusal(error: Exception) -> str | None:
    """What a server that can be reached says against a request; None for all other errors."""
    from mcp import MCPError
    from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT

    if isinstance(error, MCPError) and error.code not in (CONNECTION_CLOSED, REQUEST_TIMEOUT):
        return error.message
    return None


def _why(error: BaseException) -> str:
    """The innermost error of a group, as text."""
    inner: BaseException = error
    while isinstance(inner, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", inner).exceptions[0]
    return f"{type(inner).__name__}: {inner}"
