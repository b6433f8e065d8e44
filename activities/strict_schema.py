"""JSON Schemas in the form that models can be held to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class JsonForm:
    """The form of an answer that is JSON.

    Attributes:
        name: letters, digits, `_` and `-`, at most 64.
        schema: what is sent.
        strict: the model is held to it. The schema must be in the strict form then.
    """

    name: str
    schema: dict[str, Any]
    strict: bool = True

    @classmethod
    def of(cls, form: type[BaseModel] | JsonForm) -> JsonForm:
        """The form of a pydantic model; a form is left as it is."""
        return form if isinstance(form, JsonForm) else cls(form.__name__, strict_schema(form))


def strict_schema(model: type[BaseModel] | dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema, or that of a model, in the form that strict output asks for: no extra keys, every key required."""
    strict = _strict(model if isinstance(model, dict) else model.model_json_schema())
    assert isinstance(strict, dict)
    return strict


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"$ref": node["$ref"]}  # nothing may stand beside a reference
    named = ("properties", "$defs")
    strict = {
        key: {name: _strict(part) for name, part in value.items()} if key in named else _strict(value)
        for key, value in node.items()
        if key not in ("default", "title") or not isinstance(value, str | int | float | None | list)
    }
    if strict.get("type") == "object":
        strict["additionalProperties"] = False
        strict["required"] = list(strict.get("properties", {}))
    return strict
