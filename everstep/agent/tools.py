"""`@tool` and `FunctionTool`: Python functions that a model may ask to be called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar, cast, overload

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from everstep.agent.errors import AgentDefinitionError, ToolError
from everstep.agent.messages import ToolMetadata
from everstep.agent.tool_base import Predicate, Tool, ToolOptions, check_name, seconds_of
from everstep.agent.tool_schema import FunctionSchema, function_schema
from everstep.context import Context
from everstep.event_base import validation_faults
from everstep.retry_policy import RetryPolicy
from everstep.threads import in_step_thread

F = TypeVar("F", bound=Callable[..., Any])

MARK = "__everstep_tool__"
"""The attribute of a decorated function that holds its `ToolOptions`."""


@overload
def tool(function: F) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    approval: bool | Predicate = False,
    assignee: str | None = None,
    approve_within: float | timedelta | None = None,
    return_direct: bool = False,
    retry_policy: RetryPolicy | None = None,
    timeout: float | timedelta | None = None,
) -> Callable[[F], F]: ...
def tool(
    function: F | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    approval: bool | Predicate = False,
    assignee: str | None = None,
    approve_within: float | timedelta | None = None,
    return_direct: bool = False,
    retry_policy: RetryPolicy | None = None,
    timeout: float | timedelta | None = None,
) -> F | Callable[[F], F]:
    """Say how agents may use a function; it stays the function that it is. Without options it need not be decorated.

    Its parameters need types: from them and the docstring, models learn what to give. A parameter of type `Context` is
    filled by the run; its `idempotency_key` is the same in all attempts of a call, and in no other call.

    Args:
        name: what models call it; by default the function's name.
        description: what models are told; by default the docstring, without its sections.
        approval: whether a person must approve a call, or a function that is given the arguments and says whether.
        assignee: who is asked: a person or a role.
        approve_within: seconds or a timedelta after which a call that nobody approved counts as rejected.
        return_direct: its output is the answer of the run; no model sees it first.
        retry_policy: decides after an error whether and when to try again. What remains is told to the model.
        timeout: bounds one attempt, in seconds or as a timedelta. A sync function goes on, and what it gives is lost.

    Raises:
        AgentDefinitionError: an option cannot be.

    Example:
        >>> @tool(approval=lambda arguments: arguments["cents"] > 5_000)
        ... def refund(ctx: Context, order_id: str, cents: int) -> str:
        ...     '''Pay an order back.
        ...
        ...     Args:
        ...         order_id: such as A-1001.
        ...         cents: how much, in hundredths of the currency.
        ...     '''
        ...     return ledger.pay(ctx.idempotency_key, order_id, cents)
    """

    def decorate(decorated: F) -> F:
        options = ToolOptions(
            name, description, approval, assignee, seconds_of(approve_within), return_direct, retry_policy,
            seconds_of(timeout),
        )  # fmt: skip
        _check_options(name or getattr(decorated, "__name__", repr(decorated)), decorated, options)
        setattr(decorated, MARK, options)
        return decorated

    return decorate if function is None else decorate(function)


class FunctionTool(Tool):
    """A function as a tool: what models see of it, and how it is called.

    Args:
        function: a function or a bound method, sync (it runs in a thread) or async.
        options: default: those that `@tool` left on it.

    Raises:
        AgentDefinitionError: it cannot be a tool.
    """

    def __init__(self, function: Callable[..., Any], options: ToolOptions | None = None) -> None:
        self.options = options or cast("ToolOptions", getattr(function, MARK, None)) or ToolOptions()
        name = self.options.name or getattr(function, "__name__", "")
        check_name(name)
        self._function = function
        self._schema: FunctionSchema = function_schema(function, name)
        description = self.options.description or self._schema.description
        if not description:
            raise AgentDefinitionError(
                f"Tool {name!r} does not say what it is for: write a docstring, which models are told."
            )
        self._is_async = inspect.iscoroutinefunction(function)
        self.metadata = ToolMetadata(name=name, description=description, parameters=self._schema.json_schema())

    @classmethod
    def from_defaults(
        cls,
        fn: Callable[..., Any],
        name: str | None = None,
        description: str | None = None,
        return_direct: bool = False,
    ) -> FunctionTool:
        """A tool of a function, with what `@tool` would have been told.

        Args:
            fn: the function, also one that `@tool` decorates.
            name: what models call it; by default the function's name.
            description: what models are told of it; by default the function's docstring.
            return_direct: whether its output is the answer of the run.

        Raises:
            AgentDefinitionError: the function cannot be a tool.

        Example:
            >>> FunctionTool.from_defaults(add, name="sum").name
            'sum'
        """
        options = cast("ToolOptions", getattr(fn, MARK, None)) or ToolOptions()
        given = {"name": name, "description": description, "return_direct": return_direct or None}
        return cls(fn, replace(options, **{key: value for key, value in given.items() if value is not None}))

    def validated(self, arguments: Mapping[str, Any]) -> BaseModel:
        """The arguments, as their types.

        Raises:
            ToolError: they do not fit; it says where.
        """
        try:
            return self._schema.arguments.model_validate_json(to_json(arguments))
        except ValidationError as error:
            raise ToolError(f"the arguments do not fit: {'; '.join(validation_faults(error))}") from error

    def complete(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments as plain JSON, those that were left out with their defaults.

        Raises:
            ToolError: they do not fit.
        """
        return self.validated(arguments).model_dump(mode="json")

    def typed(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function gets them.

        Raises:
            ToolError: they do not fit.
        """
        return dict(self.validated(arguments).__dict__)

    async def call(self, ctx: Context[Any], arguments: Mapping[str, Any]) -> str:
        """Call the function; gives its output as text, JSON where it is none.

        Raises:
            ToolError: the arguments do not fit, or it took too long.
            Exception: whatever the function raises.
        """
        given = self.typed(arguments)
        if self._schema.context is not None:
            given[self._schema.context] = ctx
        return as_text(await self.in_time(self._called(given)))

    async def _called(self, given: Mapping[str, Any]) -> Any:
        if self._is_async:
            return await self._function(**given)
        output = await in_step_thread(self._function, **given)
        return await output if inspect.isawaitable(output) else output


def as_text(output: Any) -> str:
    """What a model reads of a tool's output: text as it is, nothing for None, all else as JSON."""
    if isinstance(output, str):
        return output
    if output is None:
        return ""
    return to_json(output, fallback=str, inf_nan_mode="strings").decode()


def as_tool(given: Callable[..., Any] | Tool) -> Tool:
    """A tool of what was given: a function, or a tool already."""
    if isinstance(given, Tool):
        return given
    if not callable(given):
        raise AgentDefinitionError(f"{given!r} is no tool: give a function, or a FunctionTool.")
    return FunctionTool(given)


def _check_options(name: str, function: object, options: ToolOptions) -> None:
    fault = None
    if not callable(function) or isinstance(function, type):
        fault = "is no function: decorate a function or a method"
    elif isinstance(function, staticmethod | classmethod):
        fault = "is a static or class method: put @tool below that decorator"
    elif not isinstance(cast("object", options.approval), bool) and not callable(options.approval):
        fault = f"has approval={options.approval!r}: give True, or a function of the arguments"
    elif options.approval is False and (options.assignee or options.approve_within):
        fault = "says who approves it, or until when, and needs no approval: give approval=True"
    elif options.retry_policy is not None and not isinstance(cast("object", options.retry_policy), RetryPolicy):
        fault = (
            f"has retry_policy={options.retry_policy!r}: give an object with next(), such as retry_policy(...) makes"
        )
    else:
        for label, seconds in (("approve_within", options.approve_within), ("timeout", options.timeout)):
            if seconds is not None and not seconds > 0:
                fault = f"has {label}={seconds!r}: give seconds or a timedelta above 0"
    if fault is not None:
        raise AgentDefinitionError(f"Tool {name!r} {fault}.")
