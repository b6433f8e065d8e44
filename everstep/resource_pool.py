"""Keeps resources: makes each one once on the loop where steps run, however many ask, and closes it at the end."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol, cast

from everstep.errors import ResourceError, WorkflowConfigurationError
from everstep.injected import InjectedResource
from everstep.signature import ResourceParameter

_log = logging.getLogger("everstep")

CLOSE_SECONDS = 5.0
"""How long one resource has to close."""


class _Made(Protocol):
    """What `Resource` and `ResourceConfig` have in common."""

    cache: bool

    @property
    def name(self) -> str: ...
    def key(self, annotation: Any) -> object: ...
    def needs(self) -> Sequence[ResourceParameter]: ...
    async def make(self, annotation: Any, needed: dict[str, Any]) -> Any: ...


class ResourcePool:
    """The resources of one event loop; use it on that loop only.

    Example:
        >>> async with pool.lend("save", spec.resources) as resources:
        ...     await function(event, **resources)
    """

    def __init__(self) -> None:
        self._kept: dict[object, asyncio.Task[Any]] = {}
        self._values: list[tuple[str, Any]] = []
        self._closed = False

    @contextlib.asynccontextmanager
    async def lend(self, step: str, parameters: Sequence[ResourceParameter]) -> AsyncGenerator[dict[str, Any]]:
        """The resources for one attempt of a step, by parameter; those that are not kept are closed at its end.

        Raises:
            ResourceError: one cannot be made; the message names it and the step.
        """
        own = _Own()
        try:
            yield {each.name: await self._get(each, own, f"step {step!r}", ()) for each in parameters}
        finally:
            await _close_all(own.values)

    async def aclose(self) -> None:
        """Close all that was made, the last one first; a fault in that is logged, and keeps nothing else open."""
        self._closed = True
        making = [task for task in self._kept.values() if not task.done()]
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)
        self._kept.clear()
        values, self._values = self._values, []
        await _close_all(values)

    async def _get(self, parameter: ResourceParameter, own: _Own | None, by: str, way: tuple[str, ...]) -> Any:
        resource = _as_made(parameter.resource)
        key = resource.key(parameter.annotation)
        if not way and key not in self._kept:
            _refuse_circles(parameter, ())
        if not resource.cache:
            if own is None:  # it is part of one that is kept, and lives as long
                return await self._make(parameter, None, by, way)
            if key not in own.made:
                own.made[key] = await self._make(parameter, own, by, way)
            return own.made[key]
        if self._closed:
            raise ResourceError(f"{by} cannot have resource {resource.name!r}: the worker is stopping")
        task = self._kept.get(key)
        if task is None:
            # A task of its own: the step that asked first may be cancelled while others wait for the same.
            task = self._kept[key] = asyncio.create_task(self._make(parameter, None, by, way))
            task.add_done_callback(lambda done: self._made(key, done))
        return await asyncio.shield(task)

    def _made(self, key: object, task: asyncio.Task[Any]) -> None:
        """Forget one that could not be made: the next attempt tries again."""
        if (task.cancelled() or task.exception() is not None) and self._kept.get(key) is task:
            del self._kept[key]

    async def _make(self, parameter: ResourceParameter, own: _Own | None, by: str, way: tuple[str, ...]) -> Any:
        resource = _as_made(parameter.resource)
        way = (*way, resource.name)
        needed = {each.name: await self._get(each, own, by, way) for each in resource.needs()}
        try:
            value = await resource.make(parameter.annotation, needed)
        except Exception as error:
            raise ResourceError(
                f"{by} cannot have resource {' → '.join(way)!r}: {type(error).__name__}: {error}"
            ) from error
        (self._values if own is None else own.values).append((resource.name, value))
        return value


class _Own:
    """What was made for one attempt."""

    def __init__(self) -> None:
        self.made: dict[object, Any] = {}
        self.values: list[tuple[str, Any]] = []


def _refuse_circles(parameter: ResourceParameter, way: tuple[str, ...]) -> None:
    """Found before anything is made: two that are being made would wait for each other for ever."""
    resource = _as_made(parameter.resource)
    if resource.name in way:
        raise WorkflowConfigurationError(
            f"Resources need each other in a circle, {' → '.join((*way, resource.name))}: let one of them do without."
        )
    for each in resource.needs():
        _refuse_circles(each, (*way, resource.name))


def _as_made(resource: InjectedResource) -> _Made:
    return cast("_Made", resource)


async def _close_all(values: list[tuple[str, Any]]) -> None:
    closed: set[int] = set()
    for name, value in reversed(values):
        close = _closer(value)
        if close is None or id(value) in closed:
            continue
        closed.add(id(value))
        try:
            done = close()
            if inspect.isawaitable(done):
                await asyncio.wait_for(done, CLOSE_SECONDS)
        except Exception as error:
            _log.warning("resource %s could not be closed: %s: %s", name, type(error).__name__, error)


def _closer(value: Any) -> Any:
    if isinstance(value, type) or inspect.ismodule(value):
        return None
    return next((found for name in ("aclose", "close") if callable(found := getattr(value, name, None))), None)
