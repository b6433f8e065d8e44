"""State outside of steps: a store of its own, and that of a `Context` before, during and after its runs.

The names are those of LlamaIndex Workflows; `everstep.state_store` has what a step's `ctx.store` is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from typing_extensions import TypeVar

from everstep.engine.messages import StateChange
from everstep.errors import ContextStateError
from everstep.state_lock import Grant
from everstep.state_store import RunState, StateSource, StateStore
from everstep.state_types import DictState, plain_state

if TYPE_CHECKING:
    from everstep.handler import WorkflowHandler

__all__ = ["ContextStore", "DictState", "InMemoryStateStore", "RunState", "StateStore"]

StateT = TypeVar("StateT", default=Any)


class _OwnStore(StateStore[StateT]):
    """A state that changes at once, as nothing has to succeed first."""

    def __init__(self, source: StateSource, state_type: type[BaseModel] | None) -> None:
        super().__init__(source, state_type, _Alone(self.to_dict))

    def _note(self, changes: Sequence[StateChange], *, clear: bool = False) -> None:
        """Nothing has to be remembered."""


class _Alone:
    """The lock of a store that nobody else has: its own turns are enough."""

    def __init__(self, state: StateSource) -> None:
        self._state = state

    async def acquire(self, edit: int) -> Grant:
        return Grant(await self._state())

    async def commit(self, edit: int, changes: Sequence[StateChange], base: Sequence[StateChange]) -> None:
        pass

    def release(self, edit: int) -> None:
        pass


class InMemoryStateStore(_OwnStore[StateT]):
    """A state in memory, with the methods of `ctx.store`: for tests of what works on one, and for drafts.

    Args:
        initial_state: a `DictState`, or an instance of a state type of yours.

    Example:
        >>> store = InMemoryStateStore(DictState(count=1))
        >>> await store.set("count", await store.get("count") + 1)
    """

    def __init__(self, initial_state: StateT) -> None:
        initial = plain_state(initial_state)

        async def begin() -> Mapping[str, Any]:
            return initial

        super().__init__(begin, type(initial_state) if isinstance(initial_state, BaseModel) else None)


class ContextStore(_OwnStore[StateT]):
    """`ctx.store` outside of steps: the state that the next run begins with, and that of the run there is.

    While a run is under way only its steps change its state; before and after, so may you.
    """

    def __init__(self, begin: Mapping[str, Any] | None, state_type: type[BaseModel] | None) -> None:
        super().__init__(self._begin, state_type)
        self._begin_with = begin
        self._run: WorkflowHandler | None = None

    def follow(self, run: WorkflowHandler) -> None:
        """From now on it is the state of this run."""
        self._run = run
        self._seen = None

    @property
    def own(self) -> Mapping[str, Any] | None:
        """The state that is known here, without asking a run; None where there is none."""
        return self._seen if self._seen is not None or self._run is not None else self._begin_with

    async def _begin(self) -> Mapping[str, Any]:
        return self._begin_with or {} if self._run is None else await self._run.state()

    async def _read(self) -> dict[str, Any]:
        if self._run is not None and not self._run.ended:
            return dict(await self._run.state())
        return await super()._read()

    def _may_change(self, what: str) -> None:
        if self._run is not None and not self._run.ended:
            raise ContextStateError(
                f"run {self._run.run_id} is under way, and {what} from outside of its steps is refused: they change "
                "its state. Send it an event, or await it first."
            )
        super()._may_change(what)
