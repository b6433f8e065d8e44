"""JSON Schemas in the form that models can be held to."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def strict_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON Schema in the form that strict output asks for: no extra keys, every key required."""
    strict = _strict(model.model_json_schema())
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
