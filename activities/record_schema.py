"""What becomes of a record's JSON Schema before a model sees it, and of the model's answer before it is checked.

Models are held to a form in which every key is required. So that they need not invent what a document does not say,
null is offered for every key; where the record's own schema has no null, it is taken for a key that is lacking.
"""

from __future__ import annotations

import re
from typing import Any

from activities.strict_schema import JsonForm, strict_schema

RECORDS = "records"
"""The key of the answer under which the records stand."""

_DEFINITIONS = ("$defs", "definitions")
# fmt: off
_UNKNOWN = frozenset((
    "minLength", "maxLength", "minProperties", "maxProperties", "examples", "$comment", "deprecated", "readOnly",
    "writeOnly", "contentEncoding", "contentMediaType", "contentSchema", "discriminator",
))  # strict output refuses or ignores them; the record's check does not
_NOT_HELD = frozenset((
    "allOf", "oneOf", "not", "if", "then", "else", "patternProperties", "propertyNames", "prefixItems", "contains",
    "additionalItems", "uniqueItems", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties",
    "unevaluatedItems", "$dynamicRef",
))
# fmt: on
_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"))
_SAYS_WHAT = frozenset(("type", "anyOf", "$ref", "enum", "const"))


def records_form(name: str, schema: dict[str, Any]) -> JsonForm:
    """The form of an answer with any number of records.

    It is strict where the schema has only what strict output knows; else the model is shown the schema as it is.

    Args:
        name: the record's name.
        schema: the JSON Schema of one record, an object.
    """
    record = _moved({key: value for key, value in schema.items() if key not in (*_DEFINITIONS, "$schema", "$id")})
    definitions = {key: _moved(schema[key]) for key in _DEFINITIONS if key in schema}
    form_name = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:56] or "Record"
    strict = _can_be_strict(record) and all(_can_be_strict(d) for each in definitions.values() for d in each.values())
    if strict:
        record = _offered(record)
        definitions = {key: {name: _offered(d) for name, d in each.items()} for key, each in definitions.items()}
    whole: dict[str, Any] = {
        "type": "object",
        "properties": {RECORDS: {"type": "array", "items": record}},
        "required": [RECORDS],
        **definitions,
    }
    return JsonForm(f"{form_name}_records", strict_schema(whole) if strict else whole, strict)


def without_nulls(value: Any, schema: Any, root: dict[str, Any] | None = None) -> Any:
    """The value without the nulls that its schema does not know: those keys are lacking.

    Args:
        value: plain JSON.
        schema: its JSON Schema.
        root: where the schema's references lead; by default the schema itself.
    """
    if root is None:
        root = schema if isinstance(schema, dict) else {}
    schema = _choice(value, schema, root)
    if isinstance(value, list):
        items = schema.get("items", {})
        return [without_nulls(item, items, root) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    return {
        key: without_nulls(item, properties.get(key, {}), root)
        for key, item in value.items()
        if item is not None or key not in properties or _takes_null(properties[key], root)
    }


def _moved(node: Any) -> Any:
    """References into the record's own schema, from where that stands in the form."""
    if isinstance(node, list):
        return [_moved(item) for item in node]
    if not isinstance(node, dict):
        return node
    moved = {key: _moved(value) for key, value in node.items()}
    target = node.get("$ref")
    if isinstance(target, str) and target.startswith("#") and target.split("/")[1:2] not in ([d] for d in _DEFINITIONS):
        moved["$ref"] = f"#/properties/{RECORDS}/items{target[1:]}"
    return moved


def _can_be_strict(node: Any) -> bool:
    if isinstance(node, bool):
        return False
    if not isinstance(node, dict):
        return True
    if _NOT_HELD & node.keys() or not _SAYS_WHAT & node.keys():
        return False
    if node.get("type") == "object" and ("properties" not in node or node.get("additionalProperties")):
        return False
    if node.get("type") == "array" and "items" not in node:
        return False
    named = [part for key in ("properties", *_DEFINITIONS) for part in node.get(key, {}).values()]
    items = [node["items"]] if "items" in node else []
    return all(_can_be_strict(part) for part in [*named, *node.get("anyOf", ()), *items])


def _offered(node: Any) -> Any:
    """The schema as strict output takes it, with null for what a document may not say."""
    if isinstance(node, list):
        return [_offered(item) for item in node]
    if not isinstance(node, dict):
        return node
    offered: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("properties", *_DEFINITIONS):
            offered[key] = {name: _offered(part) for name, part in value.items()}
        elif not _is_unknown(key, value):
            offered[key] = _offered(value)
    for name, part in node.get("properties", {}).items():
        if not _takes_null(part, {}):
            offered["properties"][name] = {"anyOf": [offered["properties"][name], {"type": "null"}]}
    return offered


def _is_unknown(key: str, value: Any) -> bool:
    if key == "format":
        return value not in _FORMATS
    if key == "pattern":
        return "(?" in str(value)  # no looking around
    return key in _UNKNOWN


def _takes_null(schema: Any, root: dict[str, Any]) -> bool:
    schema = _followed(schema, root)
    kinds = schema.get("type")
    if "enum" in schema:
        return None in schema["enum"]
    if kinds is not None:
        return "null" in kinds if isinstance(kinds, list) else kinds == "null"
    options = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return any(_takes_null(option, root) for option in options)


def _followed(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference leads to; an empty one where that is not here."""
    for _ in range(32):
        if not isinstance(schema, dict):
            return {}
        target = schema.get("$ref")
        if not isinstance(target, str):
            return schema
        node: Any = root
        for part in target.removeprefix("#").split("/")[1:]:
            node = node.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(node, dict) else {}
        schema = node
    return {}


def _choice(value: Any, schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """Of several schemas the one that is for objects or lists, where it is clear which."""
    schema = _followed(schema, root)
    kind = "object" if isinstance(value, dict) else "array" if isinstance(value, list) else ""
    options = [_followed(option, root) for key in ("anyOf", "oneOf") for option in schema.get(key, ())]
    fitting = [option for option in options if option.get("type") == kind]
    return fitting[0] if len(fitting) == 1 else schema
