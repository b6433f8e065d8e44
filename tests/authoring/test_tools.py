"""Functions as tools: what models are told of them, and what cannot be one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, cast

import pytest
from pydantic import BaseModel, Field

from everstep import Context
from everstep.agent import Agent, AgentDefinitionError, AgentWorkflow, FunctionTool, ToolError, ToolTimeoutError, tool
from everstep.agent.testing import ScriptedModel


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Address(BaseModel):
    """Where to send it."""

    city: str
    street: str = ""


async def order(
    ctx: Context[Any],
    item: str,
    size: Size,
    to: Address,
    when: date | None = None,
    colour: Literal["red", "blue"] = "red",
    count: Annotated[int, Field(ge=1, description="How many.")] = 1,
    copy: bool = False,
) -> str:
    """Order something.

    It is sent at once.

    Args:
        item: what to order,
            by its number.
        when (date, optional): the day of delivery.
        colour: red or blue.

    Returns:
        A number.
    """
    return f"{item} {size.name} {to.city} {when} {colour} {count} {copy}"


def test_models_are_told_what_signature_and_docstring_say() -> None:
    """Types, defaults and descriptions make the schema; the context is left out."""
    told = FunctionTool(order).metadata
    assert (told.name, told.description) == ("order", "Order something.\n\nIt is sent at once.")
    properties = told.parameters["properties"]
    assert list(properties) == ["item", "size", "to", "when", "colour", "count", "copy"]
    assert properties["item"] == {"description": "what to order, by its number.", "type": "string"}
    assert properties["when"]["description"] == "the day of delivery."
    assert properties["colour"]["enum"] == ["red", "blue"]
    assert properties["count"] == {"default": 1, "description": "How many.", "minimum": 1, "type": "integer"}
    assert told.parameters["required"] == ["item", "size", "to"]
    assert told.parameters["$defs"]["Size"]["enum"] == ["small", "large"]


def test_sphinx_docstrings_are_read_too() -> None:
    """`:param x:` describes an argument, and is no part of the description."""

    def find(name: str, limit: int = 3) -> str:
        """Find people.

        :param name: the family name.
        :param int limit: at most so many.
        :returns: a list.
        """
        return name * limit

    told = FunctionTool(find).metadata
    assert told.description == "Find people."
    described = [each["description"] for each in told.parameters["properties"].values()]
    assert described == ["the family name.", "at most so many."]


async def test_arguments_arrive_as_their_types() -> None:
    """What a model gives as JSON is validated; the function gets enums, dates and models."""
    made = FunctionTool(order)
    given = {"item": "7", "size": "large", "to": {"city": "Oslo"}, "when": "2026-01-02"}
    assert await made.call(None, given) == "7 LARGE Oslo 2026-01-02 red 1 False"  # pyright: ignore[reportArgumentType]
    assert made.complete(given)["to"] == {"city": "Oslo", "street": ""}
    with pytest.raises(ToolError, match=r"to\.city: Field required.*count: Input should be greater"):
        made.validated({**given, "to": {}, "count": 0})


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("as it is", "as it is"),
        (None, ""),
        (1.5, "1.5"),
        ({"a": [1]}, '{"a":[1]}'),
        (Address(city="Oslo"), '{"city":"Oslo","street":""}'),
    ],
)
async def test_outputs_become_text(output: object, text: str) -> None:
    """Text stays, nothing is nothing, all else is JSON."""

    def give() -> Any:
        """Give it."""
        return output

    assert await FunctionTool(give).call(None, {}) == text  # pyright: ignore[reportArgumentType]


async def test_a_tool_that_takes_too_long_is_given_up() -> None:
    """The error names the tool and the time."""

    @tool(timeout=0.01)
    async def sleep() -> None:
        """Sleep."""
        await asyncio.sleep(5)

    with pytest.raises(ToolTimeoutError, match=r"sleep did not answer within 0\.01 seconds"):
        await FunctionTool(sleep).call(None, {})  # pyright: ignore[reportArgumentType]


def bare(x) -> None:
    """No type."""


def stars(*xs: int) -> None:
    """Stars."""


def silent(x: int) -> None:  # noqa: D103
    print(x)


def opaque(x: asyncio.Event) -> None:
    """Takes what JSON lacks."""


def hidden(_x: int) -> None:
    """Takes an underscore."""


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (bare, "no type for parameter 'x'"),
        (stars, "any number of arguments"),
        (silent, "does not say what it is for"),
        (opaque, "no model can fill"),
        (hidden, "take away the underscore"),
        (lambda: 1, "a name that models cannot use"),
        ("text", "is no tool"),
    ],
)
def test_what_cannot_be_a_tool_is_refused(function: Callable[..., Any], said: str) -> None:
    """With the fault and what to do, when the agent is made."""
    with pytest.raises(AgentDefinitionError, match=said):
        Agent(tools=[function], model=ScriptedModel())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"approval": "yes"}, "give True, or a function"),
        ({"assignee": "ann"}, "give approval=True"),
        ({"timeout": 0}, "seconds or a timedelta above 0"),
        ({"retry_policy": 3}, "an object with next"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    """At decoration."""
    with pytest.raises(AgentDefinitionError, match=said):
        tool(**options)(order)


def helper(x: int) -> int:
    """Help."""
    return x


MODEL = ScriptedModel()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Agent("a/b", model=MODEL), "no usable name"),
        (lambda: Agent("a"), "has no model"),
        (lambda: Agent("a", model=cast("Any", "gpt")), "which is none: give a ChatModel"),
        (lambda: Agent("a", model=MODEL, output_type=cast("Any", dict)), "give a pydantic model"),
        (lambda: Agent("a", model=MODEL, tools=[helper, helper]), "two tools named 'helper'"),
        (lambda: Agent("a", model=MODEL, can_handoff_to="b"), "a list of agents' names"),
        (lambda: AgentWorkflow([]), "has none"),
        (lambda: AgentWorkflow([Agent(model=MODEL), Agent(model=MODEL)]), "Two agents are named 'Agent'"),
        (lambda: AgentWorkflow([Agent("a", model=MODEL)], root_agent="b"), "root_agent='b' is no agent; there are: a"),
        (lambda: AgentWorkflow([Agent("a", model=MODEL, can_handoff_to=["b"])]), "'b', which is no agent here"),
        (lambda: AgentWorkflow([Agent("a", model=MODEL)], max_iterations=0), "max_iterations=0: give 1 or more"),
        (lambda: AgentWorkflow([Agent("a", model=MODEL)], workflow_name="my desk"), "is no name"),
    ],
)
def test_agents_that_cannot_work_are_refused(make: Callable[[], Any], said: str) -> None:
    """When they are made, with what to do."""
    with pytest.raises(AgentDefinitionError, match=said):
        make()
