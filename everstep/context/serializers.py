"""How `Context.to_dict` writes what it takes down, where plain JSON is not wanted.

Rule: these work within your own program. Nothing that comes through a door (Temporal, the command line) is read by
them, and no class is imported because a text names it.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import pickle
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter

from everstep.errors import ContextSerdeError, EventDecodeError
from everstep.event_base import Event, event_from_data, event_to_data

__all__ = ["BaseSerializer", "JsonPickleSerializer", "JsonSerializer", "PickleSerializer"]

_TYPE, _VALUE = "__type__", "value"
_PICKLED = "pickle:"


class BaseSerializer(ABC):
    """Makes a text of a value, and the value of the text again; derive one to compress, encrypt or sign.

    Example:
        >>> class Signed(JsonSerializer):
        ...     def serialize(self, value):
        ...         return sign(super().serialize(value))
        ...     def deserialize(self, value):
        ...         return super().deserialize(checked(value))
    """

    @abstractmethod
    def serialize(self, value: Any) -> str:
        """The text of a value."""

    @abstractmethod
    def deserialize(self, value: str) -> Any:
        """The value that a text was made of."""


class JsonSerializer(BaseSerializer):
    """JSON, in which events, pydantic models and dataclasses keep their types.

    A type is written by its name. It is read again if it stands in `allowed_types`, or is an event class that is loaded
    already; nothing is imported.

    Args:
        allowed_types: the models and dataclasses that may be built; events need not be named.

    Raises:
        TypeError: something in `allowed_types` is no class.
        ContextSerdeError: a value has no JSON form, or a text names a type that may not be built.

    Example:
        >>> serializer = JsonSerializer(allowed_types=[Invoice])
        >>> serializer.deserialize(serializer.serialize({"paid": Invoice(total=12)}))
        {'paid': Invoice(total=12)}
    """

    def __init__(self, *, allowed_types: Iterable[type[Any]] | None = None) -> None:
        allowed = list(allowed_types or ())
        for kind in allowed:
            if not isinstance(kind, type):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(
                    f"allowed_types has {kind!r}, which is no class: give classes; names would have to be imported"
                )
        self._allowed = {_name(kind): kind for kind in allowed}

    def with_types(self, *classes: type[Any]) -> JsonSerializer:
        """A serializer that may build these too."""
        return type(self)(allowed_types=[*self._allowed.values(), *classes])

    def serialize(self, value: Any) -> str:
        """The JSON text of a value.

        Raises:
            ContextSerdeError: something in it has no JSON form.
        """
        try:
            return json.dumps(_written(value), allow_nan=False, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ContextSerdeError(
                f"a {type(value).__name__} cannot be written as JSON: {error}. Use plain JSON, models and dataclasses, "
                "or PickleSerializer within your own program"
            ) from error

    def deserialize(self, value: str) -> Any:
        """The value that `serialize` wrote.

        Raises:
            ContextSerdeError: it is no JSON, or names a type that may not be built.
        """
        try:
            return self._read(json.loads(value))
        except (ValueError, EventDecodeError) as error:
            raise ContextSerdeError(f"this is not what a JsonSerializer writes: {error}") from error

    def _read(self, data: Any) -> Any:
        if isinstance(data, list):
            return [self._read(item) for item in cast("list[Any]", data)]
        if not isinstance(data, dict):
            return data
        fields = cast("dict[str, Any]", data)
        if fields.keys() == {_TYPE, _VALUE}:
            kind = self._class(str(fields[_TYPE]))
            if issubclass(kind, Event):
                return event_from_data(kind, fields[_VALUE])
            return TypeAdapter[Any](kind).validate_json(json.dumps(fields[_VALUE]))
        return {key: self._read(item) for key, item in fields.items()}

    def _class(self, name: str) -> type[Any]:
        found: Any = self._allowed.get(name)
        if found is None:
            module, _, path = name.partition(":")
            found = sys.modules.get(module)
            for part in path.split("."):
                found = getattr(found, part, None)
            if not (isinstance(found, type) and issubclass(found, Event)):
                raise ContextSerdeError(
                    f"the type {name} may not be built: give it to JsonSerializer(allowed_types=[…]) if it is yours"
                )
        return found


class PickleSerializer(JsonSerializer):
    """JSON where that is possible, else pickle: for values that have no JSON form, within one program.

    Reading pickle runs whatever code its writer chose. Never read with it what others could have written.
    """

    def serialize(self, value: Any) -> str:
        """The text of any value that can be pickled."""
        try:
            return super().serialize(value)
        except ContextSerdeError:
            return _PICKLED + base64.b64encode(pickle.dumps(value)).decode()

    def deserialize(self, value: str) -> Any:
        """The value that `serialize` wrote; runs code that the text brings."""
        if value.startswith(_PICKLED):
            return pickle.loads(base64.b64decode(value.removeprefix(_PICKLED)))
        return super().deserialize(value)


JsonPickleSerializer = PickleSerializer
"""Another name for `PickleSerializer`."""


def _name(kind: type[Any]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _written(value: Any) -> Any:
    """Plain JSON, in which an object of a class stands as its name and its fields."""
    if isinstance(value, Event):
        return {_TYPE: _name(type(value)), _VALUE: event_to_data(value)}
    if isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        kind = cast("type[Any]", type(value))
        return {_TYPE: _name(kind), _VALUE: TypeAdapter[Any](kind).dump_python(value, mode="json")}
    if isinstance(value, Mapping):
        return {_key(key): _written(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_written(item) for item in cast("list[Any]", value)]
    return value


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"it has the key {key!r}, and keys in JSON are strings")
    return key
