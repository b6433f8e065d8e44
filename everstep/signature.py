"""Reads from a step's signature what it takes and returns; refuses what a step cannot have, with the remedy."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

from everstep.collect import All, Collect, Take
from everstep.errors import WorkflowValidationError
from everstep.event_base import Event
from everstep.injected import InjectedContext, InjectedResource


@dataclass(frozen=True, slots=True)
class ResourceParameter:
    """A parameter that gets a resource: its name, its type, and the marker that stands in its annotation."""

    name: str
    annotation: Any
    resource: InjectedResource


@dataclass(frozen=True, slots=True)
class EventParameter:
    """A parameter that takes an event of one of these types."""

    name: str
    accepts: tuple[type[Event], ...]


@dataclass(frozen=True, slots=True)
class StepSignature:
    """What a step takes and returns.

    Each of its `parameters` takes one event; the only one of a `join` a list of them (the first `take`, or all).
    """

    is_async: bool
    is_method: bool
    parameters: tuple[EventParameter, ...]
    join: bool
    take: int | None
    context_parameter: str | None
    state_type: type | None
    resources: tuple[ResourceParameter, ...]
    returns: tuple[type[Event], ...]
    returns_list: tuple[type[Event], ...]
    returns_none: bool

    @property
    def accepts(self) -> tuple[type[Event], ...]:
        """The event types that some parameter takes."""
        return tuple(dict.fromkeys(kind for parameter in self.parameters for kind in parameter.accepts))


def is_free_function(function: Callable[..., Any]) -> bool:
    """Whether a function stands outside of any class: its qualified name says so."""
    scope = function.__qualname__.rpartition(".")[0]
    return not scope or scope.endswith("<locals>")


def read_signature(function: Callable[..., Any], namespace: Mapping[str, Any]) -> StepSignature:
    """What a step function takes and returns.

    Args:
        function: the function, undecorated.
        namespace: names that its annotations may use, besides those of its module.

    Raises:
        NameError: an annotation uses a name that is not defined, or not yet.
        WorkflowValidationError: a step cannot have this signature.
    """
    label = f"Step {function.__name__!r}"
    _refuse_generators(function, label)
    hints = get_type_hints(function, localns=dict(namespace), include_extras=True)
    is_method = not is_free_function(function)
    parameters = list(inspect.signature(function).parameters.values())
    if is_method:
        by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if not parameters or parameters[0].kind not in by_position:
            raise WorkflowValidationError(f"{label} has no self parameter: write it as a method, self first.")
        parameters = parameters[1:]
    found = _Parameters(label)
    for parameter in parameters:
        found.add(parameter, hints)
    returned = _read_return(label, hints)
    return StepSignature(
        is_async=inspect.iscoroutinefunction(function),
        is_method=is_method,
        **found.done(),
        **returned,
    )


class _Parameters:
    """The parameters of one step, sorted by what they get."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.events: list[EventParameter] = []
        self.lists: list[str] = []
        self.optional: list[str] = []
        self.take: int | None = None
        self.context: str | None = None
        self.state_type: type | None = None
        self.resources: list[ResourceParameter] = []

    def add(self, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> None:
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            self.fail(f"takes {stars}{name}, which nothing can fill: name each parameter and give it a type.")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            self.fail(f"takes {name!r} by position only, and steps are called by name: remove the slash.")
        has_default = parameter.default is not parameter.empty
        if name not in hints:
            if not has_default:
                self.fail(f"has no type for parameter {name!r}: annotate it with an event type, or with Context.")
        elif not self.placed(name, hints[name]) and not has_default:
            self.fail(
                f"cannot fill parameter {name!r} of type {_shown(hints[name])}: a step takes events "
                "(an Event subclass, a union of them, or list[E]), a Context, and Annotated[T, Resource(...)]; "
                "give other parameters a default, or pass the value in the event."
            )
        elif has_default:
            self.optional.append(name)

    def placed(self, name: str, hint: Any) -> bool:
        hint, extras = _unwrapped(hint)
        resource = next((extra for extra in extras if isinstance(extra, InjectedResource)), None)
        if resource is not None:
            self.resources.append(ResourceParameter(name, hint, resource))
            return True
        if _is_context(hint):
            if self.context is not None:
                self.fail(f"takes two contexts, {self.context!r} and {name!r}: keep one.")
            self.context = name
            self.state_type = next(iter(get_args(hint)), None)
            return True
        collect = next((extra for extra in extras if isinstance(extra, Collect)), None)
        return self.placed_event(name, hint, collect)

    def placed_event(self, name: str, hint: Any, collect: Collect | None) -> bool:
        members = [member for member in _members(hint) if member is not NoneType]
        lists = [member for member in members if get_origin(member) is list]
        if lists and len(members) == 1:
            members = [m for argument in get_args(lists[0]) for m in _members(argument)]
        elif collect is not None:
            self.fail(f"has Collect on parameter {name!r}, which is no list: write Annotated[list[E], Collect(...)].")
        if not members or not all(_is_event(member) for member in members):
            return False
        cardinality = cast("object", All() if collect is None else collect.cardinality)
        if not isinstance(cardinality, All | Take):
            self.fail(f"collects {name!r} by {cardinality!r}: give Collect(All()) or Collect(Take(n)).")
        if NoneType in _members(hint):
            self.optional.append(name)
        if lists:
            self.lists.append(name)
            self.take = cardinality.n if isinstance(cardinality, Take) else None
        self.events.append(EventParameter(name, tuple(dict.fromkeys(members))))
        return True

    def done(self) -> dict[str, Any]:
        if not self.events:
            self.fail("takes no event: give it one parameter annotated with an Event subclass.")
        if len(self.events) > 1:
            self.check_several()
        return {
            "parameters": tuple(self.events),
            "join": bool(self.lists),
            "take": self.take,
            "context_parameter": self.context,
            "state_type": self.state_type,
            "resources": tuple(self.resources),
        }

    def check_several(self) -> None:
        """What a step that starts when one event for each parameter has come cannot have."""
        if self.lists:
            others = ", ".join(repr(each.name) for each in self.events if each.name != self.lists[0])
            self.fail(
                f"takes the list {self.lists[0]!r} beside {others}, and a list is all that a stream brings: let a step "
                "of its own take the list and return one event, and take that one here."
            )
        optional = next((each.name for each in self.events if each.name in self.optional), None)
        if optional is not None:
            self.fail(
                f"takes several events, of which {optional!r} may be left out, and it starts when all of them have "
                "come: remove the default or the None; for one event of several kinds take a union (ev: A | B)."
            )

    def fail(self, fault: str) -> None:
        raise WorkflowValidationError(f"{self.label} {fault}")


def _read_return(label: str, hints: Mapping[str, Any]) -> dict[str, Any]:
    if "return" not in hints:
        raise WorkflowValidationError(
            f"{label} has no return annotation: name the events it returns, as in '-> A | B', or '-> None'."
        )
    returns: list[type[Event]] = []
    returns_list: list[type[Event]] = []
    returns_none = False
    for member in _members(hints["return"]):
        if member is NoneType:
            returns_none = True
        elif get_origin(member) is list:
            returns_list += [_event(label, m) for argument in get_args(member) for m in _members(argument)]
        else:
            returns.append(_event(label, member))
    return {
        "returns": tuple(dict.fromkeys(returns)),
        "returns_list": tuple(dict.fromkeys(returns_list)),
        "returns_none": returns_none,
    }


def _event(label: str, kind: Any) -> type[Event]:
    if _is_event(kind):
        return kind
    raise WorkflowValidationError(
        f"{label} returns {_shown(kind)}, which is no event: a step returns an Event subclass, a union of them, "
        "list[E] to fan out, or None."
    )


def _refuse_generators(function: Callable[..., Any], label: str) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise WorkflowValidationError(
            f"{label} is a generator: return list[E] to fan out, or send events with ctx.send_event."
        )


def _is_event(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Event)


def _is_context(hint: Any) -> bool:
    kind = get_origin(hint) or hint
    return isinstance(kind, type) and issubclass(kind, InjectedContext)


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        return inner, tuple(extras)
    return hint, ()


def _members(hint: Any) -> Iterator[Any]:
    """The members of a union, also of one that stands behind `Annotated` or a `type` statement."""
    hint = getattr(_unwrapped(hint)[0], "__value__", _unwrapped(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        for member in get_args(hint):
            yield from _members(member)
    else:
        yield NoneType if hint is None else hint


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
