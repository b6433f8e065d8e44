"""What the records of a document are to look like: a pydantic model, or a JSON Schema.

Rule: a record is plain JSON before and after it is checked. A model is only looked up in modules that may be imported.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError

from activities.errors import RecordModelInvalid
from activities.record_schema import without_nulls

Faults = dict[str, str]
"""What is wrong with a record: the path of a field, such as `lines.2.amount`, and the reason. The path of the whole
record is `record`."""

WHOLE = "record"


@dataclass
class Checked:
    """A record after it was checked. In a sound one values have their normal form, and defaults are filled in."""

    record: dict[str, Any]
    faults: Faults = field(default_factory=Faults)


class RecordModel(ABC):
    """Says what a record is: its name, its JSON Schema, and whether a value is one."""

    def __init__(self, name: str, schema: dict[str, Any]) -> None:
        self.name = name
        self.schema = schema

    @property
    def fingerprint(self) -> str:
        """The same as long as records look the same."""
        return hashlib.sha256(json.dumps(self.schema, sort_keys=True).encode()).hexdigest()[:16]

    def check(self, value: Any) -> Checked:
        """Hold a value against the model."""
        if not isinstance(value, dict):
            return Checked({}, {WHOLE: f"an object is needed, not {json.dumps(value)[:60]}"})
        return self._check(without_nulls(value, self.schema))

    @abstractmethod
    def _check(self, value: dict[str, Any]) -> Checked: ...


class PydanticRecords(RecordModel):
    """Records by a pydantic model, with all its validators."""

    def __init__(self, model: type[BaseModel]) -> None:
        try:
            schema = model.model_json_schema()
        except PydanticUserError as error:
            raise RecordModelInvalid(
                f"{model.__module__}:{model.__name__} has no JSON Schema ({_first_line(error)}), so no model can be "
                "told of it. Use types that have one."
            ) from error
        super().__init__(model.__name__, schema)
        self._model = model

    def _check(self, value: dict[str, Any]) -> Checked:
        try:
            # As JSON: dates and decimals are texts there, also where the model is strict.
            record = self._model.model_validate_json(json.dumps(value))
            return Checked(record.model_dump(mode="json", by_alias=True))
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False)
            return Checked(value, _gathered((each["loc"], each["msg"].removeprefix("Value error, ")) for each in found))
        except Exception as error:  # a validator of the author's may raise anything
            return Checked(value, {WHOLE: f"{type(error).__name__}: {error}"})


class SchemaRecords(RecordModel):
    """Records by a JSON Schema of any draft; `format` is checked too."""

    def __init__(self, schema: dict[str, Any], origin: str = "the JSON Schema") -> None:
        try:
            from jsonschema import exceptions, validators
            from referencing import Registry
        except ImportError as error:
            raise RecordModelInvalid(f"JSON Schema needs a package ({error}); install everstep[extraction].") from error
        cls = validators.validator_for(schema, default=validators.Draft202012Validator)
        try:
            cls.check_schema(schema)
        except exceptions.SchemaError as error:
            where = ".".join(map(str, error.absolute_path)) or "the whole"
            raise RecordModelInvalid(f"{origin} is no JSON Schema: {where}: {error.message}.") from error
        if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
            raise RecordModelInvalid(
                f'{origin} describes no record: give one of {{"type": "object", "properties": {{…}}}}.'
            )
        outside = sorted(set(_references_outside(schema)))
        if outside:
            raise RecordModelInvalid(
                f"{origin} refers to {', '.join(outside)}: nothing outside of it is fetched. Put what it refers to "
                'into its "$defs".'
            )
        super().__init__(str(schema.get("title") or "Record"), schema)
        self._validator = cls(schema, format_checker=cls.FORMAT_CHECKER, registry=Registry())
        self._best = exceptions.best_match

    def _check(self, value: dict[str, Any]) -> Checked:
        try:
            return Checked(value, _gathered(self._found(value)))
        except Exception as error:  # a reference that leads nowhere shows only here
            return Checked(value, {WHOLE: f"{type(error).__name__}: {error}"})

    def _found(self, value: dict[str, Any]) -> Iterator[tuple[Sequence[Any], str]]:
        for error in self._validator.iter_errors(value):
            best = self._best([error]) or error
            path = tuple(best.absolute_path)
            if best.validator == "required":
                wanted: Any = best.validator_value
                lacking = [name for name in wanted if name not in cast("dict[str, Any]", best.instance)]
                yield from (((*path, name), "it is required") for name in lacking)
            else:
                yield path, best.message


def allowed_modules() -> tuple[str, ...]:
    """Patterns of the modules from which models may be imported: those in EVERSTEP_EXTRACTION_MODELS, else none."""
    named = os.environ.get("EVERSTEP_EXTRACTION_MODELS") or ""
    return tuple(pattern.strip() for pattern in named.split(",") if pattern.strip())


def record_model(spec: str | dict[str, Any], *, allowed: Sequence[str] = ()) -> RecordModel:
    """The model that a text or a schema names.

    Args:
        spec: `package.module:Class` for a pydantic model; the path of a JSON Schema file, which ends in `.json`; or
            the JSON Schema itself.
        allowed: patterns of the modules that may be imported, such as `invoices` or `records.*`; `*` is any module.

    Raises:
        RecordModelInvalid: there is no such model or file, or it is none.

    Example:
        record_model("invoices:Invoice", allowed=["invoices"]).check({"number": "A-1"}).faults
    """
    if isinstance(spec, dict):
        return SchemaRecords(spec)
    if spec.endswith(".json"):
        return SchemaRecords(read_schema(spec), spec)
    place, colon, name = spec.partition(":")
    if not colon or not place or not name:
        raise RecordModelInvalid(
            f"model={spec!r} names no model. Give package.module:Class for a pydantic model, the path of a JSON "
            "Schema file that ends in .json, or the JSON Schema itself."
        )
    if not any(fnmatchcase(place, pattern) for pattern in allowed):
        rule = f"imports models only from {', '.join(allowed)}" if allowed else "imports no models by name"
        raise RecordModelInvalid(
            f"model={spec!r}: this worker {rule}. Set EVERSTEP_EXTRACTION_MODELS={','.join([*allowed, place])} where "
            "it runs, or give the model's JSON Schema."
        )
    return PydanticRecords(_picked(_imported(place, spec), name, spec))


def read_schema(path: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        RecordModelInvalid: it cannot be read, or holds none.
    """
    try:
        schema = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordModelInvalid(
            f"The JSON Schema {Path(path).absolute()} cannot be read: {error.strerror}. The worker looks for it."
        ) from error
    except ValueError as error:
        raise RecordModelInvalid(f"{path} is no JSON: {error}.") from error
    if not isinstance(schema, dict):
        raise RecordModelInvalid(f"{path} is no JSON Schema of a record: it must be a JSON object.")
    return schema


def _imported(place: str, spec: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise RecordModelInvalid(
                f"model={spec!r}: the worker finds no module {error.name!r}. Put it beside worker.py, or install it "
                "where the worker runs."
            ) from None
        raise RecordModelInvalid(f"model={spec!r}: {place} cannot be imported: {error}.") from error
    except Exception as error:
        raise RecordModelInvalid(
            f"model={spec!r}: {place} cannot be imported: {type(error).__name__}: {error}."
        ) from error


def _picked(module: ModuleType, name: str, spec: str) -> type[BaseModel]:
    value = getattr(module, name, None)
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value
    models = [
        each.__name__
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == module.__name__
    ]
    there = f"it has {', '.join(models)}" if models else "it has none"
    fault = f"there is no {name}" if value is None else f"{name} is no pydantic model"
    raise RecordModelInvalid(f"model={spec!r}: {fault} in {module.__name__}; of models {there}.")


def _references_outside(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _references_outside(item)
    elif isinstance(node, dict):
        target = node.get("$ref")
        if isinstance(target, str) and not target.startswith("#"):
            yield target
        for value in node.values():
            yield from _references_outside(value)


def _gathered(found: Iterable[tuple[Sequence[Any], str]]) -> Faults:
    """One text for each field."""
    messages: dict[str, dict[str, None]] = {}
    for path, message in found:
        messages.setdefault(".".join(map(str, path)) or WHOLE, {})[message] = None
    return {name: "; ".join(each) for name, each in messages.items()}


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
