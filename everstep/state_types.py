"""A run's state as its author's type, and back: models to plain JSON, plain JSON to models, values at a path.

In the engine the state is plain JSON; only here, where the author's classes live, it has a type.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from everstep.errors import StateValueError
from everstep.event_base import validation_faults

_REMEDY = "Set plain JSON, a pydantic model or a dataclass; keep connections and the like out of the state"


class DictState(BaseModel):
    """The state of a flow that declares no type for it: any keys, as items or as attributes.

    Example:
        >>> state = await ctx.store.get_state()
        >>> state["count"], state.count, state.get("missing", 0)
        (3, 3, 0)
    """

    model_config = ConfigDict(extra="allow")

    if TYPE_CHECKING:

        def __init__(self, **data: Any) -> None: ...

        # Its keys are attributes too; type checkers cannot know which.
        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...

    def _keys(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.__pydantic_extra__)

    def __getitem__(self, key: str) -> Any:
        return self._keys()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._keys()[key] = value

    def __delitem__(self, key: str) -> None:
        del self._keys()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._keys()

    def __len__(self) -> int:
        return len(self._keys())

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self._keys())

    def __bool__(self) -> bool:
        return bool(self._keys())

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` where there is none."""
        return self._keys().get(key, default)

    def keys(self) -> KeysView[str]:
        """The keys."""
        return self._keys().keys()

    def values(self) -> ValuesView[Any]:
        """The values."""
        return self._keys().values()

    def items(self) -> ItemsView[str, Any]:
        """The keys with their values."""
        return self._keys().items()

    def to_dict(self) -> dict[str, Any]:
        """The keys with their values, as a dict of its own."""
        return dict(self._keys())


def is_typed(kind: type[BaseModel]) -> bool:
    """Whether a state type says what stands in it: `DictState` itself takes anything."""
    return kind is not DictState


def build(kind: type[BaseModel], data: Mapping[str, Any]) -> Any:
    """The state as its type, from plain JSON.

    Raises:
        StateValueError: it does not fit; each fault is named with its path.
    """
    if not is_typed(kind):
        state = kind()
        state.__pydantic_extra__ = copy.deepcopy(dict(data))  # also keys that are names of parameters, as `self`
        return state
    try:
        return kind.model_validate_json(json.dumps(dict(data)), by_alias=True, by_name=True)
    except ValidationError as error:
        raise StateValueError(
            f"the state does not fit {kind.__name__}: {'; '.join(validation_faults(error))}. Give its fields defaults, "
            f"or the run a state to begin with: run(ctx={kind.__name__}(...))"
        ) from None


def plain_state(state: Any) -> dict[str, Any]:
    """The plain JSON of a whole state, given as a model or as a mapping.

    Raises:
        StateValueError: a value in it has no JSON form, or a key cannot be part of a path.
    """
    if isinstance(state, DictState) and not is_typed(type(state)):
        state = state.to_dict()
    if isinstance(state, Mapping):
        data = cast("dict[str, Any]", plain("", dict(cast("Mapping[Any, Any]", state))))
    elif isinstance(state, BaseModel):
        data = _dumped(state)
    else:
        raise StateValueError(f"a state is a dict or a pydantic model, not a {type(state).__name__}")
    for key in data:
        if not key or "." in key:
            raise StateValueError(f"the state cannot have the key {key!r}: the keys of a state are without dots")
    return data


def plain(path: str, value: Any) -> Any:
    """The JSON form of a value that shall stand at `path`.

    Raises:
        StateValueError: it has none; the message says where in the value.
    """
    try:
        return _plain(value)
    except _NO_JSON as error:
        at, culprit = _culprit(path, value, 0)
        where = f"the state at {at!r}" if at else "the state"
        raise StateValueError(f"{where} cannot hold a {type(culprit).__name__}: {error}. {_REMEDY}") from None


def value_at(state: Any, path: str, parts: Sequence[str]) -> Any:
    """The value at a path within a model, its fields, dicts and lists; LookupError names what is missing."""
    value = state
    for part in parts:
        try:
            value = _child(value, part)
        except (LookupError, AttributeError, ValueError):
            raise LookupError(f"the state has nothing at {path!r}: {part!r} is missing") from None
    return value


def _child(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        return mapping[part] if part in mapping else next(v for k, v in _by_json_key(mapping) if k == part)
    if isinstance(value, DictState) and part in value:
        return value[part]
    if isinstance(value, BaseModel):
        kind = type(value)
        known = part in kind.model_fields or part in kind.model_computed_fields or part in (value.model_extra or ())
        if not known and not isinstance(getattr(kind, part, None), property):
            raise LookupError(part)
        return getattr(value, part)
    if isinstance(value, list | tuple):
        if not part.isdecimal():
            raise LookupError(part)
        return cast("Sequence[Any]", value)[int(part)]
    if part in _dataclass_fields(value):
        return getattr(value, part)
    raise LookupError(part)


def _by_json_key(mapping: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Keys that are no strings, such as numbers, as they are written in JSON; last, an error for what is not there."""
    for key, value in mapping.items():
        yield next(iter(to_jsonable_python({key: None}))), value
    raise LookupError


_NO_JSON = (PydanticSerializationError, ValueError, TypeError)


def _plain(value: Any) -> Any:
    data = to_jsonable_python(value)
    json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
    return data


def _dumped(state: BaseModel) -> dict[str, Any]:
    try:
        data = state.model_dump(mode="json", by_alias=False, round_trip=True, warnings="none")
        json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
    except _NO_JSON:
        for name, value in _members(state):
            plain(name, value)
        raise
    return data


def _culprit(path: str, value: Any, depth: int) -> tuple[str, Any]:
    """Where in a value the part is that has no JSON form, and that part."""
    if depth < 100:  # a value that contains itself has no deepest part
        for name, member in _members(value):
            try:
                _plain(member)
            except _NO_JSON:
                return _culprit(f"{path}.{name}" if path else name, member, depth + 1)
    return path, value


def _members(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(str(key), member) for key, member in cast("Mapping[Any, Any]", value).items()]
    if isinstance(value, BaseModel):
        return [*vars(value).items(), *(value.model_extra or {}).items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [(str(index), member) for index, member in enumerate(cast("Sequence[Any]", value))]
    return [(name, getattr(value, name)) for name in _dataclass_fields(value)]


def _dataclass_fields(value: Any) -> list[str]:
    return [each.name for each in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
