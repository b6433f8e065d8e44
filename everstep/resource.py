"""Resources: clients, models and settings that are made where a step runs, given to it, and never serialised.

Annotate a step's parameter with ``Annotated[Client, Resource(make_client)]``: the worker makes one, keeps it, and
closes it when it stops. See `everstep.resource_pool` for how they are kept.
"""

from __future__ import annotations

import inspect
import json
import tomllib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Generic, cast, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypeVar

from everstep.engine import paths
from everstep.errors import WorkflowConfigurationError
from everstep.event_base import validation_faults
from everstep.injected import InjectedResource
from everstep.signature import ResourceParameter

__all__ = ["Resource", "ResourceConfig"]

T = TypeVar("T", default=Any)


class Resource(InjectedResource, Generic[T]):
    """Has a step's parameter filled with what a factory makes.

    A factory is a function, sync or async; it runs on the loop of the steps, so one that takes long is async. It may
    itself take ``Annotated[T, Resource(...)]`` parameters. What it makes is closed, by `aclose` or `close` if it has
    one, when its time is over. A factory that fails fails the attempt, and is tried again at the next one.

    Args:
        factory: makes the resource.
        cache: keep one for all steps and runs of the worker process; False: make one for each attempt of a step.

    Example:
        >>> async def connect() -> Database:
        ...     return await Database.connect(os.environ["DATABASE"])
        >>> class Save(Workflow):
        ...     @step
        ...     async def save(self, ev: StartEvent, db: Annotated[Database, Resource(connect)]) -> StopEvent:
        ...         return StopEvent(result=await db.insert(ev.row))
    """

    def __init__(self, factory: Callable[..., T | Awaitable[T]], cache: bool = True) -> None:
        self.factory = factory
        self.cache = cache
        self._needed: tuple[ResourceParameter, ...] | None = None

    @property
    def name(self) -> str:
        """The factory's name, for messages."""
        return getattr(self.factory, "__qualname__", type(self.factory).__name__)

    def key(self, annotation: Any) -> object:
        """What it is kept under: the same factory makes the same resource, wherever it is named."""
        try:
            hash(self.factory)
        except TypeError:
            return id(self.factory)
        return self.factory

    def needs(self) -> tuple[ResourceParameter, ...]:
        """The resources that the factory takes.

        Raises:
            WorkflowConfigurationError: it has a parameter that nothing can fill.
        """
        if self._needed is None:
            self._needed = _needs(self.factory, self.name)
        return self._needed

    async def make(self, annotation: Any, needed: dict[str, Any]) -> T:
        """Make one, from the resources that it needs."""
        made = self.factory(**needed)
        if inspect.isawaitable(made):
            return await cast("Awaitable[T]", made)
        return cast("T", made)


class ResourceConfig(InjectedResource):
    """Has a step's parameter filled from a file: JSON, or TOML, read when it is first needed, checked by its type.

    Args:
        config_file: its path.
        path_selector: the dotted path of the part that is meant; None: all of it.
        label: a short name, for people.
        description: what it is for, for people.

    Example:
        >>> class Settings(BaseModel):
        ...     categories: list[str]
        >>> async def sort(
        ...     self, ev: StartEvent, settings: Annotated[Settings, ResourceConfig("sorting.json", "settings")]
        ... ) -> StopEvent: ...
    """

    cache = True

    def __init__(
        self,
        config_file: str | Path,
        path_selector: str | None = None,
        label: str | None = None,
        description: str | None = None,
    ) -> None:
        if Path(config_file).suffix not in (".json", ".toml"):
            raise WorkflowConfigurationError(
                f"ResourceConfig cannot read {str(config_file)!r}: give a file that ends in .json or .toml."
            )
        self.config_file = str(config_file)
        self.path_selector = path_selector
        self.label = label
        self.description = description

    @property
    def name(self) -> str:
        """The file and the part of it, for messages."""
        return self.config_file if self.path_selector is None else f"{self.config_file}:{self.path_selector}"

    def key(self, annotation: Any) -> object:
        """What it is kept under."""
        return (str(Path(self.config_file).resolve()), self.path_selector, str(annotation))

    def needs(self) -> tuple[ResourceParameter, ...]:
        """Nothing."""
        return ()

    async def make(self, annotation: Any, needed: dict[str, Any]) -> Any:
        """Read the file; see `read`."""
        return self.read(annotation)

    def read(self, annotation: Any) -> Any:
        """What the file has, as the type of the annotation.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no JSON or TOML, lacks the part that is meant, or does not fit the type.
        """
        text = Path(self.config_file).read_text(encoding="utf-8")
        data = tomllib.loads(text) if self.config_file.endswith(".toml") else json.loads(text)
        if self.path_selector is not None:
            try:
                data = paths.read(data, self.path_selector)
            except LookupError:
                raise ValueError(f"the file has nothing at {self.path_selector!r}") from None
        try:
            return TypeAdapter[Any](annotation).validate_python(data)
        except ValidationError as error:
            raise ValueError("; ".join(validation_faults(error))) from None


def config_faults(step: str, parameters: Iterable[ResourceParameter]) -> Iterator[str]:
    """What is wrong with the files that a step's resources are read from, and those that their factories take."""
    seen: set[int] = set()
    waiting = list(parameters)
    while waiting:
        parameter = waiting.pop(0)
        resource = parameter.resource
        if id(resource) in seen:
            continue
        seen.add(id(resource))
        if isinstance(resource, ResourceConfig):
            try:
                resource.read(parameter.annotation)
            except (OSError, ValueError) as error:
                yield f"Step {step!r} takes {parameter.name!r} from {resource.name}, which does not do: {error}."
        elif isinstance(resource, Resource):
            waiting += cast("Resource[Any]", resource).needs()


def _needs(factory: Callable[..., Any], name: str) -> tuple[ResourceParameter, ...]:
    function = factory.__init__ if isinstance(factory, type) else factory
    try:
        local: Mapping[str, Any] = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
        hinted = inspect.isfunction(function) or inspect.ismethod(function)
        hints = get_type_hints(function, localns=dict(local), include_extras=True) if hinted else {}
    except NameError as error:
        raise WorkflowConfigurationError(
            f"Resource factory {name!r} uses the name {error.name!r} in an annotation, and no such name is defined in "
            "its module: define it there."
        ) from error
    found: list[ResourceParameter] = []
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint = hints.get(parameter.name)
        marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        resource = next((mark for mark in marks if isinstance(mark, InjectedResource)), None)
        if resource is not None:
            found.append(ResourceParameter(parameter.name, get_args(hint)[0], resource))
        elif parameter.default is parameter.empty:
            raise WorkflowConfigurationError(
                f"Resource factory {name!r} takes {parameter.name!r}, which nothing can fill: annotate it with "
                "Annotated[T, Resource(...)], or give it a default."
            )
    return tuple(found)
