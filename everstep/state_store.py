"""`ctx.store`: a run's state as one invocation sees it, and the changes it records.

Reads give the state at the attempt's first read, plus its own writes; the changes leave with the outcome.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from everstep.engine import paths
from everstep.errors import StateValueError

_MISSING: Any = object()

StateSource = Callable[[], Awaitable[Mapping[str, Any]]]


class StateStore:
    """The state of a run: nested plain data, read and set by dotted path.

    Values are plain JSON; pydantic models, dataclasses, dates and the like are turned into it when they are set. Where
    two invocations write the same path, the one that completes last wins.

    Example:
        >>> await ctx.store.set("cart.total", 12)
        >>> await ctx.store.get("cart.total")
        12
    """

    def __init__(self, source: StateSource, repeats: Callable[[str], bool] = lambda _: False) -> None:
        self._source = source
        self._repeats = repeats
        self._seen: dict[str, Any] | None = None
        self.changes: list[list[Any]] = []

    async def get(self, path: str, default: Any = _MISSING) -> Any:
        """The value at `path`, as a copy of your own.

        Raises:
            StateValueError: nothing is there and no default was given, or the path is empty.
        """
        state = await self._read()
        try:
            return copy.deepcopy(paths.read(state, path))
        except LookupError as error:
            if default is not _MISSING:
                return default
            raise StateValueError(f"{error}; set it first, or give get() a default") from None
        except ValueError as error:
            raise StateValueError(str(error)) from None

    async def set(self, path: str, value: Any) -> None:
        """Set the value at `path`; dicts on the way are made. It takes effect when the invocation succeeds.

        Raises:
            StateValueError: the value has no JSON form, or something on the way is neither a dict nor a list.
        """
        plain = plain_value(path, value)
        state = await self._read()
        if self._repeats(f"set {path}"):
            return
        try:
            paths.write(state, path, plain)
        except (LookupError, ValueError) as error:
            raise StateValueError(f"the state cannot be set at {path!r}: {error}") from None
        self.changes.append(["set", path, copy.deepcopy(plain)])

    async def delete(self, path: str) -> None:
        """Delete what stands at `path`.

        Raises:
            StateValueError: nothing is there.
        """
        state = await self._read()
        if self._repeats(f"delete {path}"):
            return
        try:
            paths.remove(state, path)
        except (LookupError, ValueError) as error:
            raise StateValueError(f"the state cannot be deleted at {path!r}: {error}") from None
        self.changes.append(["delete", path])

    async def to_dict(self) -> dict[str, Any]:
        """The whole state, as a copy of your own."""
        return copy.deepcopy(await self._read())

    async def _read(self) -> dict[str, Any]:
        if self._seen is None:
            self._seen = copy.deepcopy(dict(await self._source()))
        return self._seen


def initial_state(ctx: Any) -> dict[str, Any] | None:
    """The state that a run begins with, from what was given to `run(ctx=…)`.

    Raises:
        StateValueError: it is not a dict of plain JSON.
    """
    if ctx is None:
        return None
    if not isinstance(ctx, Mapping):
        raise StateValueError(
            f"a run can begin with a state given as a dict, not with a {type(ctx).__name__}; the start event's fields "
            "are keyword arguments, as in run(topic=…)"
        )
    return {str(key): plain_value(str(key), value) for key, value in ctx.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def plain_value(path: str, value: Any) -> Any:
    """The JSON form of a value, or an error that names where it cannot be had."""
    try:
        plain = to_jsonable_python(value)
        json.dumps(plain, allow_nan=False)
    except (PydanticSerializationError, ValueError, TypeError) as error:
        raise StateValueError(
            f"the state at {path!r} cannot hold a {type(value).__name__}: {error}. Set plain JSON, a pydantic model "
            "or a dataclass; keep connections and the like out of the state"
        ) from None
    return plain
