"""`ctx.store`: a run's state as one invocation sees it, and the changes it records.

Reads give the state at the attempt's first read, plus its own writes; the changes leave with the outcome. Only an
`edit_state` block sees the newest state, and commits by itself.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, cast

from pydantic import BaseModel
from typing_extensions import TypeVar

from everstep.engine import paths
from everstep.engine.messages import StateChange
from everstep.errors import ContextStateError, StateValueError
from everstep.state_diff import difference, rebase
from everstep.state_lock import RefusedLock, StateLock
from everstep.state_types import DictState, build, is_typed, plain, plain_state, value_at

__all__ = ["DictState", "RunState", "StateSource", "StateStore"]

StateT = TypeVar("StateT", default=Any)

_MISSING: Any = object()

StateSource = Callable[[], Awaitable[Mapping[str, Any]]]


class RunState(Generic[StateT]):
    """A run's state, to read: nested data under dotted paths, or the whole of it as its type.

    Where the flow declares a state type, by ``Context[MyState]`` in its steps, values come as the types that it gives
    them; else they are plain JSON.

    Args:
        source: gives the state as plain JSON.
        state_type: the flow's.
    """

    def __init__(self, source: StateSource, state_type: type[BaseModel] | None = None) -> None:
        self._source = source
        self._type: type[BaseModel] = state_type or DictState

    async def get(self, path: str, default: Any = _MISSING) -> Any:
        """The value at `path`, as a copy of your own.

        Raises:
            StateValueError: nothing is there and no default was given, or the path is empty.
        """
        try:
            parts = paths.split(path)
            if is_typed(self._type):
                return value_at(await self.get_state(), path, parts)
            return copy.deepcopy(paths.read(await self._read(), path))
        except LookupError as error:
            if default is not _MISSING:
                return default
            raise StateValueError(f"{error}; set it first, or give get() a default") from None
        except ValueError as error:
            raise StateValueError(str(error)) from None

    async def get_state(self) -> StateT:
        """The whole state as the flow's state type, or as a `DictState`; a copy of your own.

        Raises:
            StateValueError: it does not fit the type.
        """
        return build(self._type, await self._read())

    async def to_dict(self) -> dict[str, Any]:
        """The whole state as plain JSON, as a copy of your own."""
        return copy.deepcopy(await self._read())

    async def _read(self) -> dict[str, Any]:
        return dict(await self._source())


class StateStore(RunState[StateT]):
    """The state of a run as its steps have it: nested data, read and set by dotted path, or as a whole.

    Values are kept as plain JSON; pydantic models, dataclasses, dates and the like are turned into it when they are
    set. Where the flow declares a state type, what is set must fit it. Where two invocations write the same path, the
    one that completes last wins; what several change at one time is changed by `edit_state`.

    Example:
        >>> await ctx.store.set("cart.total", 12)
        >>> await ctx.store.get("cart.total")
        12
    """

    def __init__(
        self,
        source: StateSource,
        state_type: type[BaseModel] | None = None,
        lock: StateLock | None = None,
        repeats: Callable[[str], bool] = lambda _: False,
    ) -> None:
        super().__init__(source, state_type)
        self._repeats = repeats
        self._seen: dict[str, Any] | None = None
        self._lock: StateLock = lock or RefusedLock("the state can be edited only within a step")
        self._turn = asyncio.Lock()
        self._editor: asyncio.Task[Any] | None = None
        self._edits = 0
        self.changes: list[StateChange] = []
        self.committed: list[int] = []

    async def set(self, path: str, value: Any) -> None:
        """Set the value at `path`; dicts on the way are made. It takes effect when the invocation succeeds.

        Raises:
            StateValueError: the value has no JSON form or does not fit the state's type, or something on the way is
                neither a dict nor a list.
        """
        self._may_change("set")
        data = plain(path, value)
        after = await self._draft()
        if self._repeats(f"set {path}"):
            return
        try:
            paths.write(after, path, data)
            if is_typed(self._type):
                data = self._fitted(after, path)
        except (LookupError, ValueError, StateValueError) as error:
            raise StateValueError(f"the state cannot be set at {path!r}: {error}") from None
        self._seen = after
        self._note([["set", path, copy.deepcopy(data)]])

    async def delete(self, path: str) -> None:
        """Delete what stands at `path`; a field of the state's type falls back to its default.

        Raises:
            StateValueError: nothing is there, or the state's type needs it.
        """
        self._may_change("delete")
        after = await self._draft()
        if self._repeats(f"delete {path}"):
            return
        try:
            paths.remove(after, path)
            if is_typed(self._type):
                build(self._type, after)
        except (LookupError, ValueError, StateValueError) as error:
            raise StateValueError(f"the state cannot be deleted at {path!r}: {error}") from None
        self._seen = after
        self._note([["delete", path]])

    async def set_state(self, state: StateT | Mapping[str, Any]) -> None:
        """Replace the whole state. One of a base class of the state's type replaces the fields that it has.

        Raises:
            StateValueError: it has no JSON form, or does not fit the state's type.
        """
        self._may_change("set_state")
        kind = type(cast("object", state))
        part = kind is not self._type and issubclass(self._type, kind) and kind is not DictState
        given = plain_state(state)
        if self._repeats("set_state"):
            return
        whole = (await self._read()) | given if part else given
        if is_typed(self._type):
            whole = plain_state(build(self._type, whole))
        self._replace({key: whole[key] for key in given if key in whole} if part else whole, clear=not part)

    async def clear(self) -> None:
        """Reset the state: to the defaults of its type, or to nothing.

        Raises:
            StateValueError: a field of the state's type has no default.
        """
        self._may_change("clear")
        if self._repeats("clear"):
            return
        self._replace(plain_state(build(self._type, {})), clear=True)

    @asynccontextmanager
    async def edit_state(self) -> AsyncGenerator[StateT]:
        """Read and change the newest state as one: no other block of this run goes on meanwhile, on any worker.

        What the block has changed is committed when it ends, also if the step fails later; a block that raises changes
        nothing. When the step is tried again, a block that was committed before sees the same state again and is not
        applied twice. Keep blocks short: others wait for them.

        Raises:
            ContextStateError: the step is local, the block stands in another one, or the run has ended.
            StateValueError: at the end of the block, if the state does not fit its type or has no JSON form.

        Example:
            >>> async with ctx.store.edit_state() as state:
            ...     state.count += 1
        """
        self._may_change("edit_state")
        repeated = self._repeats("edit_state")
        self._edits += 1
        edit = self._edits
        async with self._turn:
            grant = await self._lock.acquire(edit)
            # Where an earlier pass has done it, what it did is part of the state that this pass reads.
            old = repeated and grant.applied
            try:
                before = copy.deepcopy(dict(grant.state))
                for change in () if grant.applied else self.changes:
                    paths.change(before, change)
                if not old:
                    self._seen = before
                self._editor = asyncio.current_task()
                state = build(self._type, before)
                yield cast("StateT", state)
                after = plain_state(state)
                if is_typed(self._type):
                    after = plain_state(build(self._type, after))
                changes = difference(before, after)
                if not grant.applied:
                    await self._lock.commit(edit, changes, self.changes)
                    self.committed.append(edit)
            except BaseException:
                self._lock.release(edit)
                raise
            finally:
                self._editor = None
            if not old:
                self._seen = after
            self.changes = rebase(self.changes, changes)

    def _may_change(self, what: str) -> None:
        if self._editor is not None and self._editor is asyncio.current_task():
            raise ContextStateError(
                f"{what} cannot be used inside of an edit_state block: change the state that the block was given"
            )

    def _fitted(self, after: dict[str, Any], path: str) -> Any:
        """The value at `path` as the state's type writes it, in `after` too."""
        data = plain_state(build(self._type, after))
        try:
            value = paths.read(data, path)
        except LookupError:
            raise StateValueError(f"{self._type.__name__} declares no such field") from None
        paths.write(after, path, value)
        return value

    async def _draft(self) -> dict[str, Any]:
        """The state to write into; a copy where what is written may yet be refused by its type."""
        state = await self._read()
        return copy.deepcopy(state) if is_typed(self._type) else state

    def _replace(self, state: dict[str, Any], *, clear: bool) -> None:
        kept = {} if clear or self._seen is None else self._seen
        self._seen = {**kept, **copy.deepcopy(state)}
        self._note([["set", key, value] for key, value in state.items()], clear=clear)

    def _note(self, changes: Sequence[StateChange], *, clear: bool = False) -> None:
        """Record changes, to leave with the outcome; with `clear`, of an emptied state."""
        if clear:
            self.changes = [["clear"]]
        self.changes.extend(changes)

    async def _read(self) -> dict[str, Any]:
        if self._seen is None:
            self._seen = copy.deepcopy(dict(await self._source()))
        return self._seen


def begin_state(state_type: type[BaseModel] | None, given: Any) -> dict[str, Any] | None:
    """The state that a run begins with: what was given, with the defaults of the flow's state type.

    None if nothing was given and the type, if there is one, has fields without defaults: a step has to set them first.

    Args:
        state_type: the flow's.
        given: None, a dict of plain JSON, or an instance of the state's type or of a base of it.

    Raises:
        StateValueError: it is no state, or does not fit.
    """
    if given is not None and not isinstance(given, Mapping | BaseModel):
        raise StateValueError(
            f"a run can begin with a state given as a dict or a model, not with a {type(given).__name__}; the start "
            "event's fields are keyword arguments, as in run(topic=…)"
        )
    data = None if given is None else plain_state(given)
    if state_type is None or not is_typed(state_type):
        return data
    try:
        return plain_state(build(state_type, data or {}))
    except StateValueError:
        if data is None:
            return None
        raise
