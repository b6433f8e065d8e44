"""A flow's class becomes a `FlowDefinition`: plain data, all that the engine needs to know of it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from everstep.event_base import Event, event_ancestors
from everstep.events import HumanResponseEvent, InputRequiredEvent
from everstep.flow.definition import EventDefinition, FlowDefinition, ParameterDefinition, StepDefinition
from everstep.flow.steps import LIBRARY_EVENTS, FlowTypes, former_steps, step_marks, step_specs
from everstep.flow.streams import feeds_by_step
from everstep.flow.waiting import waiting_steps
from everstep.step_spec import StepMark, StepSpec

__all__ = ["FlowTypes", "compile_flow", "flow_types", "former_steps", "step_specs"]

_compiled: WeakKeyDictionary[type, tuple[dict[str, StepMark], FlowDefinition, FlowTypes]] = WeakKeyDictionary()


def compile_flow(cls: type) -> FlowDefinition:
    """The definition of a flow's class; made once, and again when steps were added to the class.

    It is not validated: see `everstep.flow.validate`. A flow without a start event has an empty `start`.

    Args:
        cls: a subclass of `Workflow`. Its class attributes `timeout` and `max_in_flight` are taken over.

    Raises:
        WorkflowValidationError: a signature cannot be read, or two event classes have one name.
    """
    return _parts(cls)[1]


def flow_types(cls: type) -> FlowTypes:
    """The event types of a flow's class; made once, with its definition."""
    return _parts(cls)[2]


def _parts(cls: type) -> tuple[dict[str, StepMark], FlowDefinition, FlowTypes]:
    marks = step_marks(cls)
    known = _compiled.get(cls)
    if known is None or known[0] != marks:
        types = FlowTypes(cls)
        known = _compiled[cls] = (marks, _define(cls, step_specs(cls), types), types)
    return known


def _define(cls: type, specs: Mapping[str, StepSpec], types: FlowTypes) -> FlowDefinition:
    former_steps(cls)  # refuses names that lead to two steps
    answers = [
        kind
        for kind in dict.fromkeys(kind for spec in specs.values() for kind in spec.accepts)
        if issubclass(kind, HumanResponseEvent)
    ]
    only_answer = answers[0] if len(answers) == 1 else None
    events = {name: _event(kind, only_answer) for name, kind in types.declared.items()}
    waiting = waiting_steps(cls, specs)
    steps = {name: _step(name, spec, waits=name in waiting) for name, spec in specs.items()}
    feeds = feeds_by_step(steps, events)
    steps = {name: replace(step, feeds=feeds[name]) if name in feeds else step for name, step in steps.items()}
    accepted = dict.fromkeys(name for step in steps.values() for name in step.accepts)
    returned = dict.fromkeys(name for step in steps.values() for name in (*step.returns, *step.returns_list))
    # Class attributes of the flow; what it does not set, the definition's own defaults say.
    limits: dict[str, Any] = {
        name: getattr(cls, name) for name in ("timeout", "max_in_flight") if getattr(cls, name, None) is not None
    }
    return FlowDefinition(
        name=cls.__name__,
        steps=steps,
        events=events,
        start=next((name for name in accepted if events[name].is_a("StartEvent")), ""),
        stops=tuple(name for name in returned if events[name].is_a("StopEvent")),
        description=_first_line(cls.__dict__.get("__doc__")),
        checks_answers=callable(getattr(cls, "check_answer", None)),
        **limits,
    )


def _step(name: str, spec: StepSpec, *, waits: bool) -> StepDefinition:
    signature, options = spec.signature, spec.options
    parameters = [ParameterDefinition(each.name, _names(each.accepts)) for each in signature.parameters]
    return StepDefinition(
        name=name,
        accepts=_names(signature.accepts),
        returns=_names(signature.returns),
        returns_list=_names(signature.returns_list),
        returns_none=signature.returns_none,
        accept_event_subclasses=options.accept_event_subclasses,
        join=signature.join,
        take=signature.take,
        parameters=tuple(parameters) if len(parameters) > 1 else (),
        num_workers=options.num_workers,
        timeout=options.timeout,
        task_queue=options.task_queue,
        local=options.local,
        needs_context=signature.context_parameter is not None,
        waits=waits,
        role=options.role,
        for_steps=options.for_steps,
        max_recoveries=options.max_recoveries,
        skip_graph_checks=options.skip_graph_checks,
        description=spec.description,
    )


def _event(kind: type[Event], only_answer: type[Event] | None) -> EventDefinition:
    response = None
    if issubclass(kind, InputRequiredEvent):
        response = kind.response_event or only_answer
    return EventDefinition(
        name=kind.__name__,
        ancestors=event_ancestors(kind),
        schema=_schema(kind),
        response=response.__name__ if response is not None else None,
    )


_schemas: WeakKeyDictionary[type[Event], dict[str, Any]] = WeakKeyDictionary()


def _schema(kind: type[Event]) -> dict[str, Any]:
    schema = _schemas.get(kind)
    if schema is None:
        try:
            schema = kind.model_json_schema()
        except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
            # A type with a serializer of its own may have no schema; its data is still checked where it is read.
            schema = {"title": kind.__name__, "type": "object"}
        if LIBRARY_EVENTS.get(kind.__name__) is kind:
            # What everstep's own types are for is documented here; definitions stand in every run's history.
            schema.pop("description", None)
        _schemas[kind] = schema
    return schema


def _names(kinds: tuple[type[Event], ...]) -> tuple[str, ...]:
    return tuple(kind.__name__ for kind in kinds)


def _first_line(text: str | None) -> str:
    return inspect.cleandoc(text).partition("\n")[0] if text else ""
