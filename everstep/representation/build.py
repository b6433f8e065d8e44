"""Makes graphs: of a flow's class, with its resources; of a definition alone; and of the way that a run took."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable
from typing import Any, cast

from pydantic import BaseModel

from everstep.engine.requests import timestamp
from everstep.event_base import event_name
from everstep.events import HumanResponseEvent, InputRequiredEvent
from everstep.flow.compile import compile_flow, step_specs
from everstep.flow.definition import EventDefinition, FlowDefinition, StepDefinition
from everstep.flow.streams import accepts, handler_of, slots_of
from everstep.flow.waiting import waiting_steps
from everstep.representation.types import (
    EdgeKind,
    GraphRun,
    StepRun,
    StepStatus,
    WorkflowEventNode,
    WorkflowExternalNode,
    WorkflowGraph,
    WorkflowGraphEdge,
    WorkflowGraphNode,
    WorkflowResourceConfigNode,
    WorkflowResourceNode,
    WorkflowStepNode,
)
from everstep.resource import Resource, ResourceConfig
from everstep.retry_policy import RetryPolicy
from everstep.run_path import RunPath, StepPath
from everstep.signature import ResourceParameter
from everstep.workflow import Workflow

OUTSIDE = "external_step"
"""The id of the node that stands for the world outside."""

_FAILURE, _ASKS, _EXPIRED = "StepFailedEvent", "InputRequiredEvent", "InputExpiredEvent"


def get_workflow_representation(workflow: Workflow | type[Workflow]) -> WorkflowGraph:
    """The graph of a flow: its steps, the events between them, people and programs outside, and resources.

    Args:
        workflow: the flow's class, or an instance.

    Raises:
        WorkflowValidationError: a step's signature cannot be read.

    Example: `print(get_workflow_representation(MyFlow).model_dump_json(indent=2))`
    """
    cls = workflow if isinstance(workflow, type) else type(workflow)
    graph = _Graph(compile_flow(cls), inspect.cleandoc(cls.__dict__.get("__doc__") or ""))
    specs = step_specs(cls)
    for name, spec in specs.items():
        step = graph.steps[name]
        step.description = inspect.getdoc(spec.function) or step.description
        if spec.retry_policy is not None:
            step.options["retry_policy"] = _policy(spec.retry_policy)
        for parameter in spec.resources:
            graph.edge(step.id, graph.resource(parameter), "resource", parameter.name)
    for name, kinds in waiting_steps(cls, specs).items():
        takes = specs[name].accepts
        for kind in kinds:  # the code of a step names other events too: only those between it and a person are sure
            if issubclass(kind, InputRequiredEvent):
                graph.edge(graph.steps[name].id, graph.event(event_name(kind)), "event")
            elif issubclass(kind, HumanResponseEvent) and kind not in takes:
                graph.edge(graph.event(event_name(kind)), graph.steps[name].id, "wait", "waited for")
    return graph.done()


def get_run_representation(path: RunPath) -> WorkflowGraph:
    """The graph of the flow as a run has it, with how often each arrow was taken and what each step did.

    Args:
        path: what `await handler.path()` gives.

    Example: `to_html(get_run_representation(await handler.path()))`
    """
    graph = _Graph(path.definition, path.definition.description)
    _count_arrows(graph, path)
    for name, step in graph.steps.items():
        step.run = _step_run(path.steps.get(name))
    for name, event in graph.events.items():
        both = (path.given, 1), (path.taken, 0), (path.waited, 0)
        event.count = max(sum(count for pair, count in counts.items() if pair[end] == name) for counts, end in both)
        event.open, event.unhandled = path.open[name], path.unhandled[name]
    for edge in graph.edges.values():
        edge.count = edge.count or 0
    seconds = None if path.started_at is None or path.ended_at is None else path.ended_at - path.started_at
    run = GraphRun(
        run_id=path.run_id,
        status=path.status,
        started_at=None if path.started_at is None else timestamp(path.started_at),
        ended_at=None if path.ended_at is None else timestamp(path.ended_at),
        seconds=seconds,
        error=path.error,
    )
    return graph.done(run)


def _count_arrows(graph: _Graph, path: RunPath) -> None:
    for (source, name), count in path.given.items():
        graph.counted(graph.step_id(source), name, count, "event")
    for (name, target), count in path.taken.items():
        if name != _FAILURE:
            graph.counted(name, graph.step_id(target), count, "event")
    for (name, target), count in path.waited.items():
        graph.counted(name, graph.step_id(target), count, "wait", "waited for")
    for (source, target), count in path.recovered.items():
        graph.counted(graph.step_id(source), graph.step_id(target), count, "failure", "fails")
    for (question, answer), count in path.answered.items():
        if answer == _EXPIRED:
            graph.counted(question, answer, count, "answer", "unanswered")
        else:
            graph.counted(question, OUTSIDE, count, "ask")
            graph.counted(OUTSIDE, answer, count, "answer")


class _Graph:
    """A graph being made, from a definition on."""

    def __init__(self, definition: FlowDefinition, description: str) -> None:
        self.definition = definition
        self.description = description
        self.edges: dict[tuple[str, str], WorkflowGraphEdge] = {}
        self.resources: dict[str, WorkflowGraphNode] = {}
        self.outside: WorkflowExternalNode | None = None
        named = dict.fromkeys(
            name for step in definition.steps.values() for name in (*step.accepts, *step.returns, *step.returns_list)
        )
        # Not the catch-all bases that only stand in the definition: what no step names is not shown.
        self.events: dict[str, WorkflowEventNode] = {}
        for name in named:
            if name != _FAILURE:
                self.event(name)
        self.steps = {name: self._step(step) for name, step in definition.steps.items()}
        for name, step in definition.steps.items():
            self._arrows(self.steps[name].id, step)
        for event in list(self.events.values()):
            self._outside(event)

    def step_id(self, name: str) -> str:
        """A step's name, but where an event type has the same."""
        return f"{name}()" if name in self.events else name

    def event(self, name: str) -> str:
        """The node of an event type; gives its id."""
        if name not in self.events:
            self.events[name] = self._event(self.definition.events.get(name) or EventDefinition(name))
        return name

    def edge(self, source: str, target: str, kind: EdgeKind, label: str | None = None) -> WorkflowGraphEdge:
        """The arrow between two nodes; a second one of another kind is told by the label of the first."""
        known = self.edges.get((source, target))
        if known is None:
            known = self.edges[source, target] = WorkflowGraphEdge(source=source, target=target, kind=kind, label=label)
        elif label is not None and known.label is None and known.kind != kind:
            known.label = f"one, or {label}"
        return known

    def counted(self, source: str, target: str, count: int, kind: EdgeKind, label: str | None = None) -> None:
        """An arrow that a run has taken; what the definition does not have, such as a subclass, is added."""
        for name in (source, target):
            if name == OUTSIDE:
                self._external()
            elif not any(step.id == name for step in self.steps.values()):
                self.event(name)
        edge = self.edge(source, target, kind, label)
        edge.count = (edge.count or 0) + count

    def resource(self, parameter: ResourceParameter) -> str:
        """The node of a resource, with those that it needs itself; gives its id."""
        node = _resource_node(parameter)
        if node.id not in self.resources:
            self.resources[node.id] = node
            resource = cast("Resource[Any] | ResourceConfig", parameter.resource)
            for one in resource.needs():
                self.edge(node.id, self.resource(one), "resource", one.name)
        return node.id

    def done(self, run: GraphRun | None = None) -> WorkflowGraph:
        """The graph."""
        nodes: list[WorkflowGraphNode] = [*self.steps.values(), *self.events.values()]
        if self.outside is not None:
            nodes.append(self.outside)
        nodes.extend(self.resources.values())
        return WorkflowGraph(
            name=self.definition.name,
            nodes=nodes,
            edges=list(self.edges.values()),
            description=self.description or None,
            run=run,
        )

    def _step(self, step: StepDefinition) -> WorkflowStepNode:
        return WorkflowStepNode(
            id=self.step_id(step.name),
            label=step.name,
            description=step.description or None,
            role=step.role,
            options=_options(step),
        )

    def _event(self, event: EventDefinition) -> WorkflowEventNode:
        made_by = [
            step.name
            for step in self.definition.steps.values()
            if event.name in step.returns or event.name in step.returns_list
        ]
        return WorkflowEventNode(
            id=event.name,
            label=event.name,
            event_type=event.name,
            event_types=[event.name, *(name for name in event.ancestors if name != "Event")],
            event_schema=dict(event.schema) or None,
            produced_by=made_by,
            answered_by=event.response,
            from_outside=event.name in self.definition.external(),
        )

    def _arrows(self, node: str, step: StepDefinition) -> None:
        # A handler stands below the steps that it covers, and not below the one event that all failures come as.
        known = [self.definition.events[name] for name in self.events if name in self.definition.events]
        for parameter, slot in zip(step.parameters, slots_of(step), strict=True):
            for event in known:
                if accepts(slot, event):
                    self.edge(event.name, node, "event", parameter.name)
        for event in known if step.role == "step" and not step.parameters else ():
            if accepts(step, event):
                self.edge(event.name, node, "join" if step.join else "event")
        for name in step.returns:
            self.edge(node, name, "event")
        for name in step.returns_list:
            self.edge(node, name, "list", "list")
        handler = handler_of(self.definition.steps, step)
        if handler is not None:
            self.edge(node, self.steps[handler.name].id, "failure", "fails")

    def _outside(self, event: WorkflowEventNode) -> None:
        if event.is_subclass_of(_ASKS):
            self.edge(event.id, self._external(), "ask")
            if _EXPIRED in self.events:
                self.edge(event.id, _EXPIRED, "answer", "unanswered")
        elif event.from_outside:
            self.edge(self._external(), event.id, "answer")

    def _external(self) -> str:
        if self.outside is None:
            self.outside = WorkflowExternalNode(id=OUTSIDE, label="people and programs outside")
        return OUTSIDE


def _options(step: StepDefinition) -> dict[str, Any]:
    """The options of a step that say something, in the words of the decorators."""
    out: dict[str, Any] = {"num_workers": step.num_workers}
    if step.join:
        out["collect"] = "all" if step.take is None else f"the first {step.take}"
    if step.parameters:
        out["starts"] = "one of each"
    for name in ("timeout", "task_queue"):
        if getattr(step, name) is not None:
            out[name] = getattr(step, name)
    for name in ("local", "accept_event_subclasses", "waits"):
        if getattr(step, name):
            out[name] = True
    if step.role == "catch_error":
        out["for_steps"] = "all others" if step.for_steps is None else list(step.for_steps)
        out["max_recoveries"] = step.max_recoveries
    return out


def _step_run(path: StepPath | None) -> StepRun:
    if path is None:
        return StepRun(status="not taken")
    status: StepStatus = "done"
    if path.running:
        status = "running"
    elif path.waiting:
        status = "waiting"
    elif path.failed:
        status = "failed"
    elif path.cancelled and not path.done:
        status = "cancelled"
    names: Iterable[str] = (name for name in StepRun.model_fields if name != "status")
    return StepRun(status=status, **{name: getattr(path, name) for name in names})


def _policy(policy: RetryPolicy) -> str:
    """A retry policy in words: its own, if it has any, else its type."""
    text = repr(policy)
    return text if "<" not in text else type(policy).__name__


def _resource_node(parameter: ResourceParameter) -> WorkflowGraphNode:
    resource, kind = parameter.resource, parameter.annotation
    type_name = kind.__name__ if isinstance(kind, type) else str(kind)
    if isinstance(resource, ResourceConfig):
        place = f"{resource.config_file}:{resource.path_selector or ''}"
        return WorkflowResourceConfigNode(
            id=f"resource_config_{_digest(place)}",
            label=resource.label or type_name,
            type_name=type_name,
            config_file=resource.config_file,
            path_selector=resource.path_selector,
            config_schema=kind.model_json_schema() if isinstance(kind, type) and issubclass(kind, BaseModel) else None,
            description=resource.description,
        )
    if not isinstance(resource, Resource):
        return WorkflowResourceNode(id=f"resource_{id(resource)}", label=type_name, type_name=type_name)
    factory: Any = cast("Resource[Any]", resource).factory
    file, line = _source(factory)
    return WorkflowResourceNode(
        id=f"resource_{_digest(f'{resource.name}:{file}')}",
        label=type_name if type_name not in ("Any", "object") else resource.name,
        type_name=type_name,
        getter_name=resource.name,
        source_file=file,
        source_line=line,
        description=inspect.getdoc(factory),
    )


def _source(factory: Any) -> tuple[str | None, int | None]:
    """Where a factory is defined; a built-in one is nowhere."""
    try:
        return inspect.getfile(factory), inspect.getsourcelines(factory)[1]
    except (OSError, TypeError):
        return None, None


def _digest(text: str) -> str:
    return hashlib.sha256(json.dumps(text).encode()).hexdigest()[:12]
