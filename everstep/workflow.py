"""`Workflow`: a flow's steps in one class, checked when it is built, started by `run`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, get_args

from pydantic import ValidationError

from everstep.decorators import WorkflowGraphCheck
from everstep.errors import WorkflowConfigurationError, WorkflowRuntimeError, WorkflowValidationError
from everstep.event_base import Event, validation_faults
from everstep.events import StartEvent, StopEvent
from everstep.flow.compile import compile_flow, flow_types, former_steps, step_specs
from everstep.flow.definition import FlowDefinition
from everstep.flow.steps import ADDED_STEPS, step_marks
from everstep.flow.validate import check
from everstep.injected import InjectedContext
from everstep.resource import config_faults
from everstep.runtime import Runtime, current_runtime
from everstep.step_spec import step_mark

if TYPE_CHECKING:
    from everstep.context import Context
    from everstep.context.serializers import BaseSerializer
    from everstep.context.snapshot import Snapshot
    from everstep.handler import WorkflowHandler


class Workflow:
    """The base of all flows: write its steps as methods, each taking an event and returning the next.

    Args:
        timeout: bounds a run, in seconds; None: the class's, which is none unless it is set.
        disable_validation: run it as it is, even if its graph cannot work.
        verbose: have each step reported while it runs in process.
        num_concurrent_runs: how many of the runs that this instance begins in this process may go on at a time, the
            others wait for their turn; None: any number. To bound runs over processes, bound the workers.
        runtime: what runs it; None: the runtime of the block around `run`, else the in-process one.
        skip_graph_checks: what its graph is excused from: ``"reachability"``, ``"dead_end"``, ``"terminal_event"``
            (that each event has a taker). A worker that is given the class checks it, too: set the attribute then.
        serializer: for contexts of this flow that are given none.

    Class attributes of a subclass set the defaults of `timeout`, `verbose`, `num_concurrent_runs`, `skip_graph_checks`,
    and `max_in_flight`, the number of its invocations that run at one time in one run; `span_kind` is how a run shows
    in traces. A subclass may have an `__init__` of its own, and need not call this one.

    A subclass may have a method ``check_answer(self, question, answer)``. It is given each answer of a person with the
    `InputRequiredEvent` that it is to, and what it raises is why the answer is refused: the request stays open. It
    runs on the worker's own loop, so it must be short, and wait for nothing.

    Raises:
        WorkflowValidationError: the steps do not make a flow; it has one line for each fault.

    Example:
        >>> class Hello(Workflow):
        ...     @step
        ...     async def greet(self, ev: StartEvent) -> StopEvent:
        ...         return StopEvent(result=f"Hello, {ev.name}!")
        >>> result = await Hello().run(name="Ann")
    """

    timeout: float | None = None
    verbose: bool = False
    num_concurrent_runs: int | None = None
    skip_graph_checks: Collection[WorkflowGraphCheck] = frozenset()
    max_in_flight: ClassVar[int | None] = None
    span_kind: ClassVar[Literal["CHAIN", "AGENT"]] = "CHAIN"

    disable_validation: bool = False
    serializer: BaseSerializer | None = None
    _runtime: Runtime | None = None
    _checked: ClassVar[tuple[FlowDefinition, frozenset[str]] | None] = None

    def __init__(
        self,
        timeout: float | None = None,
        disable_validation: bool = False,
        verbose: bool = False,
        num_concurrent_runs: int | None = None,
        runtime: Runtime | None = None,
        skip_graph_checks: Collection[WorkflowGraphCheck] | None = None,
        serializer: BaseSerializer | None = None,
    ) -> None:
        if timeout is not None:
            self.timeout = timeout
        if num_concurrent_runs is not None:
            self.num_concurrent_runs = num_concurrent_runs
        self.verbose = verbose or type(self).verbose
        self.disable_validation = disable_validation
        if skip_graph_checks is not None:
            self.skip_graph_checks = skip_graph_checks
        self._runtime = runtime
        self.serializer = serializer
        self._check()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in vars(cls).items():
            if step_mark(value) is not None:
                _refuse_hiding(cls, name)

    @classmethod
    def add_step(cls, func: Callable[..., Any]) -> None:
        """Add a function to the flow's steps, as ``@step(workflow=...)`` does.

        Raises:
            WorkflowValidationError: it is not decorated, or the flow has a step of this name.
        """
        name = getattr(func, "__name__", repr(func))
        mark = step_mark(func)
        if mark is None:
            raise WorkflowValidationError(f"{name} cannot be added to {cls.__name__}: decorate it with @step first.")
        if name in step_marks(cls):
            raise WorkflowValidationError(
                f"{cls.__name__} has a step {name!r} already: give the function another name."
            )
        _refuse_hiding(cls, name)
        if ADDED_STEPS not in vars(cls):
            setattr(cls, ADDED_STEPS, {})
        vars(cls)[ADDED_STEPS][name] = func

    @property
    def definition(self) -> FlowDefinition:
        """The flow as plain data, with the timeout of this instance."""
        definition = compile_flow(type(self))
        return definition if definition.timeout == self.timeout else replace(definition, timeout=self.timeout)

    @property
    def workflow_name(self) -> str:
        """The flow's name on the wire: its class name."""
        return type(self).__name__

    @property
    def start_event_class(self) -> type[StartEvent]:
        """The type of event that a run begins with.

        Raises:
            WorkflowConfigurationError: no step takes one.
        """
        return cast("type[StartEvent]", self._class_of(self.definition.start, "takes a StartEvent"))

    @property
    def stop_event_class(self) -> type[StopEvent]:
        """The type of event that a run ends with.

        Raises:
            WorkflowConfigurationError: no step returns one.
        """
        stops = self.definition.stops
        return cast("type[StopEvent]", self._class_of(stops[0] if stops else "", "returns a StopEvent"))

    @property
    def events(self) -> list[type[Event]]:
        """The event types that the steps take and return."""
        return list(flow_types(type(self)).declared.values())

    @property
    def runtime(self) -> Runtime:
        """What runs this flow here and now."""
        return self._runtime or current_runtime()

    def validate(self, *, validate_resource_configs: bool = True) -> bool:
        """Check the flow, also where validation is disabled; True if it asks people, or waits for their answers.

        Args:
            validate_resource_configs: whether the files that resources are read from are there and fit their types.

        Raises:
            WorkflowValidationError: the steps do not make a flow, or a file does not do.
        """
        definition = compile_flow(type(self))
        check(definition, self._skipped())
        if validate_resource_configs:
            specs = step_specs(type(self)).values()
            faults = [fault for spec in specs for fault in config_faults(spec.name, spec.resources)]
            if faults:
                raise WorkflowValidationError("\n".join(faults), faults)
        return any(
            event.is_a("InputRequiredEvent") or event.is_a("HumanResponseEvent") for event in definition.events.values()
        )

    def run(
        self, ctx: Any | None = None, start_event: StartEvent | None = None, *, run_id: str | None = None, **kwargs: Any
    ) -> WorkflowHandler:
        """Begin a run. Await what it returns for the result; see `WorkflowHandler` for what else it does.

        Args:
            ctx: a context: the run begins with its state and is its run from now on, or, where it was restored from one
                that was under way, that goes on. Or just the state, as a dict or a model.
            start_event: what it begins with; or give its fields as keyword arguments.
            run_id: the run's id, to find it by; by default a new one.

        Raises:
            WorkflowValidationError: the steps do not make a flow.
            WorkflowRuntimeError: the start event does not fit, or there is one for a run that goes on.
            ContextStateError: the context's run is under way.

        Example: `result = await MyFlow().run(topic="tides", run_id="tides-1")`
        """
        self._check()
        context = cast("Context[Any]", ctx) if isinstance(ctx, InjectedContext) else None
        snapshot = None if context is None else context.outside.to_go_on_with()
        if snapshot is None:
            handler = self.runtime.start(self, self.make_start_event(start_event, kwargs), run_id=run_id, ctx=ctx)
        else:
            self._check_goes_on(snapshot, start_event, kwargs)
            handler = self.runtime.resume(self, snapshot, run_id=run_id)
        handler.serializer = self.serializer
        if context is not None:
            handler.belongs_to(context)
        return handler

    def _check_goes_on(self, snapshot: Snapshot, start_event: StartEvent | None, kwargs: dict[str, Any]) -> None:
        """The run of a restored context has begun: it takes no start event."""
        snapshot.check_fits(self.definition, former_steps(type(self)))
        given = [*kwargs, *([] if start_event is None else ["start_event"])]
        if given:
            raise WorkflowRuntimeError(
                f"the context goes on with run {snapshot.run_id}, which has begun: {', '.join(given)} would not reach "
                "it. Leave that out, or begin a new run with the state: run(ctx=data['state'], …)"
            )

    def make_start_event(self, start_event: StartEvent | None, fields: Mapping[str, Any]) -> StartEvent:
        """What a run begins with: the event that is given, or one made of its fields.

        Raises:
            WorkflowRuntimeError: it does not fit.
        """
        cls = self.start_event_class
        if start_event is None:
            return self._built_start_event(cls, fields)
        if not isinstance(start_event, cls):
            raise WorkflowRuntimeError(
                f"{self.workflow_name} cannot start with a {type(start_event).__name__}: give a {cls.__name__}."
            )
        if fields:
            raise WorkflowRuntimeError(
                f"{self.workflow_name}.run got start_event and also {', '.join(fields)}: put them into the event."
            )
        return start_event

    def _built_start_event(self, cls: type[StartEvent], given: Mapping[str, Any]) -> StartEvent:
        try:
            return cls(**given)
        except ValidationError as error:
            fields = ", ".join(
                name if field.is_required() else f"{name} (optional)" for name, field in cls.__pydantic_fields__.items()
            )
            raise WorkflowRuntimeError(
                f"{self.workflow_name} cannot start: {cls.__name__} does not fit: "
                f"{'; '.join(validation_faults(error))}. Its fields: {fields}."
            ) from error

    def _class_of(self, name: str, what: str) -> type[Event]:
        found = flow_types(type(self)).resolve(name) if name else None
        if found is None:
            raise WorkflowConfigurationError(f"No step of {self.workflow_name} {what}: annotate one that does.")
        return found

    def _check(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise WorkflowValidationError(
                f"{self.workflow_name} has timeout={self.timeout!r}: give seconds above 0, or None for no bound."
            )
        runs = self.num_concurrent_runs
        if runs is not None and (isinstance(runs, bool) or runs < 1):
            raise WorkflowValidationError(
                f"{self.workflow_name} has num_concurrent_runs={runs!r}: give a whole number above 0, or None."
            )
        if self.disable_validation:
            return
        cls = type(self)
        definition, skipped = compile_flow(cls), self._skipped()
        # Checked once for each class, and again when a step was added to it, which makes a new definition.
        known = cls.__dict__.get("_checked")
        if known is None or known[0] is not definition or known[1] != skipped:
            check(definition, skipped)
            cls._checked = definition, skipped

    def _skipped(self) -> frozenset[str]:
        unknown = [name for name in self.skip_graph_checks if name not in get_args(WorkflowGraphCheck)]
        if unknown:
            raise WorkflowValidationError(
                f"{self.workflow_name} skips the check {unknown[0]!r}, which is none: choose from "
                f"{', '.join(get_args(WorkflowGraphCheck))}."
            )
        return frozenset(self.skip_graph_checks)


_NEEDED = frozenset(name for name in vars(Workflow) if not name.startswith("_")) - {"validate"}


def _refuse_hiding(cls: type[Workflow], step_name: str) -> None:
    if step_name in _NEEDED:
        raise WorkflowValidationError(
            f"Step {step_name!r} of {cls.__name__} hides Workflow.{step_name}, which every flow needs: rename the step."
        )
