"""Fakes for steps, by name: in process, and in workers of this process, also in those that serve already."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from everstep import stand_ins
from everstep.errors import WorkflowConfigurationError, WorkflowRuntimeError
from everstep.event_base import Event
from everstep.flow.compile import step_specs
from everstep.step_spec import StepSpec
from everstep.workflow import Workflow


class Fakes:
    """What the fakes of a block were given, by the name of the step."""

    def __init__(self, names: Sequence[str]) -> None:
        self._given: dict[str, list[Any]] = {name: [] for name in names}

    def given(self, step: str) -> list[Any]:
        """What a fake was called with, once for each attempt: the event, a join's list, a tuple of several events."""
        return self._given[step]

    def count(self, step: str) -> int:
        """How often a fake was called."""
        return len(self._given[step])


@contextmanager
def fake_steps(flow: Workflow | type[Workflow], /, **fakes: Any) -> Generator[Fakes]:
    """Have other functions run in the place of steps, within the block.

    Everything around a step stays as it is: its retries, its timeout, its place in the graph. What a fake gives is held
    to the step's annotations. Resources that a fake does not take are not made.

    Args:
        flow: the flow's class, with its subclasses, or one instance.
        fakes: by the step's name, one of these. A function, sync or async: called with the event, or by the names of
            the step's parameters where it has several; it gives what the step would. An exception: it is raised. An
            event, a list of events, or None: the step gives it.

    Raises:
        WorkflowConfigurationError: the flow has no step of that name, or a fake has a parameter that nothing can fill.

    Example:
        >>> with fake_steps(MyFlow, research=lambda ev: Found(text="x"), publish=StopEvent("y")) as fakes:
        ...     result = await MyFlow().run(topic="tides")
        >>> assert fakes.given("research")[0].topic == "tides"
    """
    cls = flow if isinstance(flow, type) else type(flow)
    specs = step_specs(cls)
    unknown = [name for name in fakes if name not in specs]
    if unknown:
        raise WorkflowConfigurationError(
            f"{cls.__name__} has no step {unknown[0]!r} to fake; its steps are {', '.join(specs)}."
        )
    seen = Fakes(list(fakes))
    standing_in = {name: _stand_in(cls.__name__, specs[name], fake, seen.given(name)) for name, fake in fakes.items()}
    stand_ins.put(flow, standing_in)
    try:
        yield seen
    finally:
        stand_ins.take_back(standing_in)


def _stand_in(flow: str, spec: StepSpec, fake: Any, given: list[Any]) -> StepSpec:
    """The step with a fake in the place of its function."""
    label = f"the fake of step {spec.name!r} of {flow}"
    gives = _constant(fake) if not callable(fake) or _is_error(fake) else cast("Callable[..., Any]", fake)
    names = _parameters(gives, spec, label)

    async def stand_in(**arguments: Any) -> Any:
        events = [arguments[parameter.name] for parameter in spec.parameters]
        given.append(events[0] if len(events) == 1 else tuple(events))
        returned = gives(**{parameter: arguments[source] for parameter, source in names.items()})
        if inspect.isawaitable(returned):
            returned = await returned
        _check(spec, returned, label)
        return returned

    signature = replace(
        spec.signature,
        is_async=True,
        is_method=False,
        resources=tuple(one for one in spec.resources if one.name in names.values()),
    )
    return replace(spec, function=stand_in, signature=signature)


def _is_error(fake: Any) -> bool:
    return isinstance(fake, type) and issubclass(fake, BaseException)


def _constant(value: Any) -> Callable[[], Any]:
    def give() -> Any:
        if isinstance(value, BaseException) or _is_error(value):
            raise value
        return value

    return give


def _parameters(fake: Callable[..., Any], spec: StepSpec, label: str) -> Mapping[str, str]:
    """Which of the step's arguments each parameter of a fake gets."""
    known = {one.name: one.name for one in (*spec.parameters, *spec.resources)}
    if spec.context_parameter is not None:
        known |= {"ctx": spec.context_parameter, spec.context_parameter: spec.context_parameter}
    needed = [
        parameter
        for parameter in inspect.signature(fake).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and (parameter.default is parameter.empty or parameter.name in known)
    ]
    if len(needed) == len(spec.parameters) == 1 and needed[0].name not in known:
        return {needed[0].name: spec.parameters[0].name}
    for parameter in needed:
        if parameter.name not in known:
            raise WorkflowConfigurationError(
                f"{label[0].upper()}{label[1:]} takes {parameter.name!r}, which nothing can fill: name its parameters "
                f"as the step's ({', '.join(known)}), or let it take the event alone."
            )
    return {parameter.name: known[parameter.name] for parameter in needed}


def _check(spec: StepSpec, returned: Any, label: str) -> None:
    """Hold what a fake gives to the step's annotations."""
    if isinstance(returned, list):
        wanted, items = spec.returns_list, cast("list[Any]", returned)
    else:
        wanted, items = spec.returns, [] if returned is None else [returned]
    for item in items:
        if not isinstance(item, Event) or not isinstance(item, wanted):
            given = f"a list with {type(item).__name__}" if isinstance(returned, list) else type(item).__name__
            raise WorkflowRuntimeError(f"{label} gave {given}, and the step gives {_annotated(spec)}.")


def _annotated(spec: StepSpec) -> str:
    parts = [kind.__name__ for kind in spec.returns] + [f"list[{kind.__name__}]" for kind in spec.returns_list]
    return " | ".join(parts) or "nothing"
