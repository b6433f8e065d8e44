"""A Python function read as a tool: its description and the schema of its arguments, from annotations and docstring."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic.fields import FieldInfo

from everstep.agent.errors import AgentDefinitionError
from everstep.injected import InjectedContext

_CONFIG = ConfigDict(extra="forbid", protected_namespaces=())
_SECTION = re.compile(
    r"^(Args|Arguments|Parameters|Params|Returns?|Raises|Yields?|Examples?|Notes?|Attributes|Warnings?):\s*$"
)
_ARGUMENTS = ("Args", "Arguments", "Parameters", "Params")
_ITEM = re.compile(r"^(\*{0,2}\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_FIELD = re.compile(r"^:param\s+(?:[\w\[\]., |]+\s)?(\w+):\s*(.*)$")


@dataclass(frozen=True, slots=True)
class FunctionSchema:
    """What a function's signature and docstring say.

    `context` is the name of the parameter that takes the `Context`; `arguments` validates all others.
    """

    description: str
    arguments: type[BaseModel]
    context: str | None

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of the arguments, for a model."""
        schema = self.arguments.model_json_schema()
        schema.pop("title", None)
        for part in schema.get("properties", {}).values():
            part.pop("title", None)
        return {"type": "object", "properties": {}, **schema}


def function_schema(function: Callable[..., Any], name: str) -> FunctionSchema:
    """Read a function, or a bound method, as a tool.

    Args:
        function: every parameter that a model shall fill needs a type; one of type `Context` is filled by the run.
        name: the tool's, for messages.

    Raises:
        AgentDefinitionError: it cannot be called by a model.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise AgentDefinitionError(
            f"Tool {name!r} uses the name {error.name!r} in an annotation, and no such name is defined in its module: "
            "define it there, at the top."
        ) from error
    text, described = _read_docstring(inspect.getdoc(function) or "")
    context: str | None = None
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name)
        if _is_context(hint):
            context = parameter.name
            continue
        _check(name, parameter, hint)
        fields[parameter.name] = (hint, _field(parameter, described.get(parameter.name)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a parameter may be named like a method of pydantic's models
            arguments = create_model(name, __config__=_CONFIG, **fields)
        schema = FunctionSchema(text, arguments, context)
        schema.json_schema()
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema, NameError, ValueError) as error:
        raise AgentDefinitionError(
            f"Tool {name!r} has a parameter that no model can fill: {str(error).splitlines()[0]}. Use types that JSON "
            "has, or pydantic models."
        ) from error
    return schema


def _is_context(hint: Any) -> bool:
    kind = get_origin(hint) or hint
    return isinstance(kind, type) and issubclass(kind, InjectedContext)


def _check(name: str, parameter: inspect.Parameter, hint: Any) -> None:
    fault = None
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        fault = f"takes any number of arguments by {str(parameter)!r}: name each one"
    elif parameter.kind is parameter.POSITIONAL_ONLY:
        fault = f"takes {parameter.name!r} by position only, and tools are called by name: remove the slash"
    elif hint is None:
        fault = f"has no type for parameter {parameter.name!r}: annotate it, so that models know what to give"
    elif parameter.name.startswith("_"):
        fault = f"has a parameter {parameter.name!r}: take away the underscore"
    if fault is not None:
        raise AgentDefinitionError(f"Tool {name!r} {fault}.")


def _field(parameter: inspect.Parameter, description: str | None) -> FieldInfo:
    """The parameter's default and description; what `Annotated[..., Field(...)]` says goes before the docstring."""
    default = parameter.default
    if isinstance(default, FieldInfo):
        return default
    options: dict[str, Any] = {} if description is None else {"description": description}
    if default is not parameter.empty:
        options["default"] = default
    return Field(**options)


def _read_docstring(doc: str) -> tuple[str, dict[str, str]]:
    """The text before the first section, and what is said of each argument (Google's form, or `:param x:`)."""
    text: list[str] = []
    described: dict[str, str] = {}
    section = ""
    item: str | None = None
    for line in doc.splitlines():
        heading = _SECTION.match(line)
        field = _FIELD.match(line.strip())
        if heading:
            section, item = heading[1], None
        elif field:
            section, item = "Args", str(field[1])
            described[item] = field[2].strip()
        elif line.startswith(":"):
            section, item = line, None
        elif not section:
            text.append(line)
        elif section in _ARGUMENTS and line.strip():
            item = _argument(line, item, described)
    return "\n".join(text).strip(), described


def _argument(line: str, item: str | None, described: dict[str, str]) -> str | None:
    """Take in one line of a section of arguments; gives the argument that the next line may go on with."""
    indent = len(line) - len(line.lstrip())
    begun = _ITEM.match(line.strip()) if indent <= 4 else None
    if begun:
        name = begun[1].lstrip("*")
        described[name] = begun[2].strip()
        return name
    if item is not None:
        described[item] = f"{described[item]} {line.strip()}".strip()
    return item
