"""`Event`, the root of all event types, and its JSON form.

Rule: data crosses the JSON boundary by declared types only. Declared fields are written and read by their
type; free keys have none, so only plain JSON may stand in them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from everstep.errors import EventDecodeError, EventEncodeError

E = TypeVar("E", bound="Event")


class Event(BaseModel):
    """What passes between steps: typed fields, and any further keys.

    Subclass it to declare fields. Keys that are not declared are *free*: they are kept as given, and may hold
    plain JSON only. Fields and free keys are attributes; `[]`, `get` and `in` read both. What lists keys
    (`keys`, `values`, `items`, `len`, iteration, `to_dict`) lists the free ones. Private attributes (`_x`)
    may be given by name too; they stay in the process and do not travel. An event is always true.

    A class with ``model_config = ConfigDict(extra="forbid")`` takes no free keys: a misspelled one is refused, also in
    the answer of a person.

    `from_outside`, a class attribute: False where only steps may send such events, and one that comes from outside
    of the run is refused, as `handler.send_event` and the signal `send_event` bring it. It holds for subclasses too.

    Raises `pydantic.ValidationError` when a declared field is missing or does not fit.

    Example:
        >>> class Scored(Event):
        ...     score: float
        >>> event = Scored(score=0.5, by="ann")
        >>> event.score, event["by"], list(event.keys())
        (0.5, 'ann', ['by'])
    """

    model_config = ConfigDict(
        extra="allow",
        validate_by_name=True,
        validate_by_alias=True,
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )

    from_outside: ClassVar[bool] = True

    if TYPE_CHECKING:

        def __init__(self, **data: Any) -> None: ...

        def __setattr__(self, name: str, value: Any) -> None: ...

    # Free keys are attributes too; type checkers cannot know which.
    def __getattr__(self, name: str) -> Any:
        try:
            return cast("Any", super()).__getattr__(name)
        except AttributeError as error:
            if name.startswith("_"):
                raise
            there = ", ".join([*type(self).__pydantic_fields__, *self._free()]) or "none"
            raise AttributeError(f"{error}; its fields are: {there}", name=name, obj=self) from None

    def model_post_init(self, context: Any, /) -> None:
        # What was given for private attributes moves from the free keys to them.
        if private := type(self).__private_attributes__:
            free = self._free()
            for name in free.keys() & private.keys():
                setattr(self, name, free.pop(name))

    def _free(self) -> dict[str, Any]:
        # Not through attributes: a field or a free key may be called `model_extra`, `items` or `get`.
        free = self.__pydantic_extra__
        return {} if free is None else free  # a class may refuse free keys

    def __getitem__(self, key: str) -> Any:
        free = self._free()
        if key in free:
            return free[key]
        if key in type(self).__pydantic_fields__:
            return getattr(self, key)
        raise KeyError(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key in type(self).__pydantic_fields__:
            setattr(self, key, value)
        elif self.__pydantic_extra__ is None:
            raise KeyError(f"{type(self).__name__} has no field {key!r} and takes no free keys (extra='forbid')")
        else:
            self._free()[key] = value

    def __delitem__(self, key: str) -> None:
        del self._free()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._free() or key in type(self).__pydantic_fields__

    def get(self, key: str, default: Any = None) -> Any:
        """The field or free key `key`, or `default` where there is none."""
        try:
            return self[key]
        except KeyError:
            return default

    def keys(self) -> KeysView[str]:
        """The names of the free keys."""
        return self._free().keys()

    def values(self) -> ValuesView[Any]:
        """The values of the free keys."""
        return self._free().values()

    def items(self) -> ItemsView[str, Any]:
        """The free keys with their values."""
        return self._free().items()

    def to_dict(self) -> dict[str, Any]:
        """The free keys with their values, as a dict of its own. For all data of an event, see
        `event_to_data`."""
        return dict(self._free())

    def __len__(self) -> int:
        return len(self._free())

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self._free())

    def __bool__(self) -> bool:
        return True


def event_name(cls: type[Event]) -> str:
    """The name of an event type on the wire: its class name."""
    return cls.__name__


@cache
def event_ancestors(cls: type[Event]) -> tuple[str, ...]:
    """The names of the event types that `cls` descends from, nearest first; ends with `Event`, empty for
    it."""
    return tuple(base.__name__ for base in cls.__mro__[1:] if issubclass(base, Event))


def event_to_data(event: Event) -> dict[str, Any]:
    """The data of an event as plain JSON: declared fields by their types, then the free keys.

    Bytes are written as base64. NaN and infinities, which JSON lacks, are written as the strings `NaN`,
    `Infinity` and `-Infinity` where a field is declared (a `float` reads them back), and refused in free
    keys. Tuples in free keys become lists. Private attributes and computed fields are not written.

    Raises:
        EventEncodeError: a value has no JSON form; it names the event type, the path and the remedy.
    """
    cls = type(event)
    free = event.__pydantic_extra__ or {}
    if cls.__pydantic_fields__:
        data = _fields_to_data(cls, event, free)
    else:
        data = {}
    if free:
        try:
            for key, value in free.items():
                data[key] = value if type(value) in _SCALARS else _plain(value)
        except (_NotPlainError, RecursionError):
            raise EventEncodeError(cls.__name__, _free_faults(free)) from None
    return data


def event_from_data(
    cls: type[E], data: Mapping[str, Any], resolve: Callable[[str], type[Event] | None] | None = None
) -> E:
    """The event of type `cls` that `event_to_data` wrote; what is built shares nothing with `data`.

    Args:
        cls: the event type.
        data: its fields and free keys, plain JSON.
        resolve: finds the class of an event that stands inside this one, as in `StepFailedEvent.input_event`.

    Raises:
        EventDecodeError: the data does not fit; it names every fault with its path.
    """
    try:
        if cls.__pydantic_fields__:
            context = None if resolve is None else {RESOLVE: resolve}
            return cls.__pydantic_validator__.validate_json(to_json(data), context=context)
        return cls.__pydantic_validator__.validate_python(_plain(data))
    except ValidationError as error:
        raise EventDecodeError(cls.__name__, validation_faults(error), _remedy(cls)) from error
    except EventDecodeError:
        raise
    except Exception as error:  # A validator of the author's may raise anything.
        fault = f"{type(error).__name__}: {error}"
        raise EventDecodeError(cls.__name__, [fault], "Give plain JSON that its validators accept") from error


def _remedy(cls: type[Event]) -> str:
    """What to give instead: the fields that the class declares, those without a default marked."""
    fields = [
        f"{field.alias or name}{' (required)' if field.is_required() else ''}"
        for name, field in cls.__pydantic_fields__.items()
    ]
    return f"Give the fields that {cls.__name__} declares, as plain JSON: {', '.join(fields)}" if fields else ""


RESOLVE = "everstep.resolve"
"""Key of the validation context under which a field that holds an event finds how to look up its class."""


def validation_faults(error: ValidationError) -> list[str]:
    """One line for each fault that pydantic found: its path, and what is wrong."""
    return [
        f"{'.'.join(map(str, fault['loc'])) or 'data'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]


_SCALARS = frozenset({str, int, bool, type(None)})
_FINITE: frozenset[object] = frozenset({str, int, bool, type(None), str | None, int | None, bool | None})
_encode_finite = json.JSONEncoder(allow_nan=False, check_circular=False, ensure_ascii=False).encode
_DECLARE = "declare it as a typed field of a subclass"


class _NotPlainError(Exception):
    """Some value below is not plain JSON."""


@cache
def _never_infinite(cls: type[Event]) -> bool:
    """Whether the declared types alone rule out a float, so that the dump need not be searched for one."""
    return all(field.annotation in _FINITE for field in cls.__pydantic_fields__.values())


def _fields_to_data(cls: type[Event], event: Event, free: dict[str, Any]) -> dict[str, Any]:
    try:
        data = cast(
            "dict[str, Any]",
            cls.__pydantic_serializer__.to_python(
                event, mode="json", round_trip=True, warnings="error", exclude=set(free) if free else None
            ),
        )
    except (PydanticSerializationError, UnicodeDecodeError) as error:
        raise EventEncodeError(cls.__name__, _field_faults(cls, event, error)) from error
    if not _never_infinite(cls):
        try:
            _encode_finite(data)
        except ValueError:
            return cast("dict[str, Any]", from_json(to_json(data, inf_nan_mode="strings")))
    return data


def _plain(value: Any) -> Any:
    """A copy of plain JSON; tuples become lists, subclasses of str, int and float what they stand for."""
    kind = cast("type[Any]", type(value))
    if kind is list or kind is tuple:
        return [item if type(item) in _SCALARS else _plain(item) for item in value]
    if kind is dict:
        return {_plain_key(k): v if type(v) in _SCALARS else _plain(v) for k, v in value.items()}
    return _plain_scalar(value)


def _plain_key(key: Any) -> str:
    if type(key) is str:
        return key
    if isinstance(key, str):
        return str.__str__(key)
    raise _NotPlainError


def _plain_scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
    elif isinstance(value, int):
        return int(value)
    elif isinstance(value, str):
        return str.__str__(value)
    elif isinstance(value, Mapping):
        return _plain(dict(cast("Mapping[Any, Any]", value)))
    raise _NotPlainError


def _free_faults(free: Mapping[str, Any]) -> list[str]:
    return [fault for key, value in free.items() for fault in _value_faults(value, key, 0)]


def _value_faults(value: Any, path: str, depth: int) -> Iterator[str]:
    if depth > 100:
        yield f"{path}: nested too deep, or contains itself; pass a flatter value"
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[Any, Any]", value).items():
            if not isinstance(key, str):
                yield f"{path}: has the key {key!r}, and keys of free data are strings; {_DECLARE}"
            yield from _value_faults(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _value_faults(item, f"{path}.{index}", depth + 1)
    else:
        try:
            _plain_scalar(value)
        except _NotPlainError:
            if isinstance(value, float):
                yield f"{path}: {value} has no JSON form; use None, or {_DECLARE}"
            else:
                yield f"{path}: a {type(value).__name__} is not plain JSON; {_DECLARE}"


def _field_faults(cls: type[Event], event: Event, error: Exception) -> list[str]:
    """Which declared fields cannot be written: each is tried alone, since the serializer names none."""
    faults: list[str] = []
    for name in cls.__pydantic_fields__:
        try:
            cls.__pydantic_serializer__.to_python(event, mode="json", round_trip=True, warnings="error", include={name})
        except (PydanticSerializationError, UnicodeDecodeError) as fault:
            why = str(fault).strip().splitlines()[-1].strip()
            kind = type(cast("object", getattr(event, name))).__name__
            faults.append(
                f"{name}: a {kind} does not fit its declared type, or has no JSON form ({why}); "
                "declare the type of what it holds, or give it a serializer"
            )
    return faults or [str(error)]
