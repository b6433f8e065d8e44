"""Decorators: what a signature says of a step, and what is refused where it is written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Generic, Optional, TypeVar

import pytest

from everstep.collect import All, Collect, Take
from everstep.decorators import catch_error, step
from everstep.errors import WorkflowValidationError
from everstep.events import Event, StartEvent, StepFailedEvent, StopEvent
from everstep.injected import InjectedContext, InjectedResource
from everstep.step_spec import StepSpec, step_mark
from everstep.workflow import Workflow

S = TypeVar("S")


class Handle(InjectedContext, Generic[S]):
    """Stands where a context stands."""


class Maker(InjectedResource):
    """Stands where a resource's marker stands."""


class First(Event):
    pass


class Second(Event):
    pass


def spec_of(function: Any) -> StepSpec:
    """The spec of a decorated function."""
    mark = step_mark(function)
    assert mark is not None
    return mark.spec()


def test_a_signature_says_what_a_step_takes_and_returns() -> None:
    """Event, context, resource and returns are read from the annotations."""

    class Flow:
        @step
        async def go(
            self, ev: First | Second, ctx: Handle[int], db: Annotated[str, Maker()], retries: int = 3
        ) -> list[First | Second] | StopEvent | None:
            """Goes on.

            And on.
            """

    spec = spec_of(Flow.go)
    assert (spec.name, spec.accepts) == ("go", (First, Second))
    assert [(each.name, each.accepts) for each in spec.parameters] == [("ev", (First, Second))]
    assert (spec.context_parameter, spec.state_type) == ("ctx", int)
    assert [(each.name, each.annotation) for each in spec.resources] == [("db", str)]
    assert (spec.returns, spec.returns_list, spec.signature.returns_none) == ((StopEvent,), (First, Second), True)
    assert (spec.is_async, spec.is_method, spec.description) == (True, True, "Goes on.")


@pytest.mark.parametrize(
    ("hint", "take"),
    [
        (list[First], None),
        (Annotated[list[First], Collect()], None),
        (Annotated[list[First], Collect(All())], None),
        (Annotated[list[First], Collect(Take(2))], 2),
        (Optional[list[First]], None),  # noqa: UP045
    ],
)
def test_a_list_parameter_is_a_join(hint: Any, take: int | None) -> None:
    """A step that takes a list joins a stream, all of it or its first members."""

    class Flow:
        def go(self, evs: Any) -> StopEvent: ...

    Flow.go.__annotations__["evs"] = hint
    spec = spec_of(step(Flow.go))
    assert (spec.join, spec.signature.take, spec.accepts) == (True, take, (First,))


def test_a_step_may_take_several_events() -> None:
    """Each parameter has types of its own, and together they are what the step takes."""

    class Flow:
        @step
        async def go(self, a: First, ctx: Handle[int], b: First | Second) -> StopEvent: ...

    spec = spec_of(Flow.go)
    assert [(each.name, each.accepts) for each in spec.parameters] == [("a", (First,)), ("b", (First, Second))]
    assert (spec.accepts, spec.join, spec.context_parameter) == ((First, Second), False, "ctx")


def test_arguments_become_options() -> None:
    """What is given to the decorator is kept, a timedelta in seconds."""

    class Flow:
        @step(num_workers=2, timeout=timedelta(minutes=1), task_queue="gpu", skip_graph_checks=["reachability"])
        def go(self, ev: StartEvent) -> StopEvent: ...

    options = spec_of(Flow.go).options
    assert (options.num_workers, options.timeout, options.task_queue) == (2, 60.0, "gpu")
    assert options.skip_graph_checks == ("reachability",)


def test_a_step_keeps_the_names_that_it_had() -> None:
    """Of steps and handlers; each is a name that a function can have, and leads to one step."""

    class Flow:
        @step(formerly=["went", "has_gone"])
        def go(self, ev: StartEvent) -> StopEvent: ...

        @catch_error(formerly=["failed"])
        def fails(self, ev: StepFailedEvent) -> StopEvent: ...

    assert spec_of(Flow.go).options.formerly == ("went", "has_gone")
    assert spec_of(Flow.fails).options.formerly == ("failed",)
    for names, fault in (("went", "give a list of names"), (["go"], "not its own"), (["a b"], "functions can have")):
        with pytest.raises(WorkflowValidationError, match=fault):
            step(formerly=names)(Flow.go)


def test_a_former_name_leads_to_one_step() -> None:
    """Not to a step that has it now, nor to two that had it."""

    class Double(Workflow):
        @step
        def a(self, ev: StartEvent) -> First: ...

        @step(formerly=["a"])
        def b(self, ev: First) -> StopEvent: ...

    class Twice(Workflow):
        @step(formerly=["x"])
        def c(self, ev: StartEvent) -> First: ...

        @step(formerly=["x"])
        def d(self, ev: First) -> StopEvent: ...

    with pytest.raises(WorkflowValidationError, match="'b' of Double was formerly 'a', it says, and so is step 'a'"):
        Double()
    with pytest.raises(WorkflowValidationError, match="'d' of Twice was formerly 'x', it says, and so is step 'c'"):
        Twice()


def test_the_decorated_function_is_the_function_itself() -> None:
    """A step can be called like the method it is."""

    class Flow:
        @step
        def go(self, ev: StartEvent) -> StopEvent:
            return StopEvent(ev.x)

    assert Flow().go(StartEvent(x=1)).result == 1


def test_classes_defined_after_the_step_in_a_function_are_found() -> None:
    """Postponed annotations may name what the surrounding function defines later."""

    class Flow:
        @step
        def go(self, ev: Later) -> Inner: ...

        class Inner(Event):
            pass

    class Later(Event):
        pass

    spec = spec_of(Flow.go)
    assert (spec.accepts, spec.returns) == ((Later,), (Flow.Inner,))


def test_names_of_callers_do_not_shadow_the_scope_of_the_step() -> None:
    """Only the scopes around a step are searched, and not whoever calls them."""

    def make() -> Any:
        class Flow:
            @step
            def go(self, ev: First) -> StopEvent: ...

        return Flow

    def caller() -> Any:
        First = int  # noqa: F841, N806
        return make()

    assert spec_of(caller().go).accepts == (First,)


def test_a_name_that_is_nowhere_is_refused_when_the_flow_is_built() -> None:
    """The message names step and name, and says where to define it."""

    class Flow(Workflow):
        @step
        def go(self, ev: StartEvent) -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(WorkflowValidationError, match=r"Step 'go' uses the name 'Nowhere'.*define it"):
        Flow()


class Bad:
    """Methods that no step can be made of."""

    def without_event(self: Any) -> StopEvent: ...
    def untyped(self: Any, ev) -> StopEvent: ...
    def other_type(self: Any, ev: int) -> StopEvent: ...
    def no_return(self: Any, ev: StartEvent): ...
    def returns_int(self: Any, ev: StartEvent) -> int: ...
    def returns_bare_list(self: Any, ev: StartEvent) -> list: ...
    def returns_tuple(self: Any, ev: StartEvent) -> tuple[First, ...]: ...
    def any_arguments(self: Any, *args: StartEvent) -> StopEvent: ...
    def any_keywords(self: Any, ev: StartEvent, **more: int) -> StopEvent: ...
    def list_and_event(self: Any, a: First, evs: list[Second]) -> StopEvent: ...
    def two_lists(self: Any, a: list[First], b: list[Second]) -> StopEvent: ...
    def one_or_none(self: Any, a: First, b: Second | None) -> StopEvent: ...
    def one_by_default(self: Any, a: First = First(), b: Second = Second()) -> StopEvent: ...  # noqa: B008
    def two_contexts(self: Any, ev: First, a: Handle[int], b: Handle[int]) -> StopEvent: ...
    def collect_no_list(self: Any, ev: Annotated[First, Collect()]) -> StopEvent: ...
    def by_position(self: Any, ev: First, /) -> StopEvent: ...

    def generator(self: Any, ev: StartEvent) -> Iterator[StopEvent]:
        yield StopEvent()


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (Bad.without_event, "takes no event: give it one parameter"),
        (Bad.untyped, "has no type for parameter 'ev': annotate it"),
        (Bad.other_type, "cannot fill parameter 'ev' of type int: .* default"),
        (Bad.no_return, "has no return annotation: name the events"),
        (Bad.returns_int, "returns int, which is no event: .* list"),
        (Bad.returns_bare_list, "returns list, which is no event"),
        (Bad.returns_tuple, r"returns tuple.*, which is no event"),
        (Bad.any_arguments, r"takes \*args, which nothing can fill: name each"),
        (Bad.any_keywords, r"takes \*\*more, which nothing can fill: name each"),
        (Bad.list_and_event, "takes the list 'evs' beside 'a', .* let a step of its own take the list"),
        (Bad.two_lists, "takes the list 'a' beside 'b'"),
        (Bad.one_or_none, "takes several events, of which 'b' may be left out.* remove the default or the None"),
        (Bad.one_by_default, "takes several events, of which 'a' may be left out"),
        (Bad.two_contexts, "takes two contexts, 'a' and 'b': keep one"),
        (Bad.collect_no_list, "has Collect on parameter 'ev', which is no list: write"),
        (Bad.by_position, "takes 'ev' by position only.* remove the slash"),
        (Bad.generator, "is a generator: return list"),
    ],
)
def test_a_signature_that_no_step_can_have_is_refused(function: Any, fault: str) -> None:
    """The message names the step, the fault and the remedy, when the decorator runs."""
    with pytest.raises(WorkflowValidationError, match=f"^Step '{function.__name__}' {fault}"):
        step(function)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"num_workers": 0}, "num_workers=0: give a whole number above 0"),
        ({"num_workers": True}, "num_workers=True"),
        ({"timeout": 0}, "timeout=0: give seconds"),
        ({"timeout": timedelta(seconds=-1)}, "timeout="),
        ({"local": True, "task_queue": "gpu"}, "local=True and task_queue.* leave out one"),
        ({"retry_policy": 3}, "retry_policy=3: give an object with next"),
        ({"task_queue": ""}, "task_queue=''"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments: dict[str, Any], fault: str) -> None:
    """Each argument is checked where it is written."""

    class Flow:
        def go(self, ev: StartEvent) -> StopEvent: ...

    with pytest.raises(WorkflowValidationError, match=f"Step 'go' has {fault}"):
        step(**arguments)(Flow.go)


def test_static_and_class_methods_are_refused_on_either_side_of_the_decorator() -> None:
    """A step gets the flow's instance, so neither can be one."""
    with pytest.raises(WorkflowValidationError, match="Step 'go' is a staticmethod"):

        class Above:
            @step
            @staticmethod
            def go(ev: StartEvent) -> StopEvent: ...

    class Below(Workflow):
        @classmethod
        @step
        def go(cls, ev: StartEvent) -> StopEvent: ...

    with pytest.raises(WorkflowValidationError, match="Step 'go' of Below is no method"):
        Below()


def test_a_free_function_names_its_flow() -> None:
    """A function outside of a class is added to the flow that it names, and refused without one."""

    class Flow(Workflow):
        pass

    @step(workflow=Flow)
    async def go(ev: StartEvent) -> StopEvent: ...

    assert list(Flow().definition.steps) == ["go"]
    with pytest.raises(WorkflowValidationError, match="say which flow"):

        @step
        async def lost(ev: StartEvent) -> StopEvent: ...


def test_a_handler_takes_the_failure_and_nothing_else() -> None:
    """What is covered and how often it may recover are kept; another event is refused."""

    class Flow:
        @catch_error(for_steps=["go"], max_recoveries=2)
        def mend(self, ev: StepFailedEvent) -> StopEvent: ...

    options = spec_of(Flow.mend).options
    assert (options.role, options.for_steps, options.max_recoveries) == ("catch_error", ("go",), 2)
    with pytest.raises(WorkflowValidationError, match="annotate its event parameter with StepFailedEvent"):

        class Wrong:
            @catch_error
            def mend(self, ev: StartEvent) -> StopEvent: ...

    with pytest.raises(WorkflowValidationError, match="annotate its event parameter with StepFailedEvent"):

        class Two:
            @catch_error
            def mend(self, a: StepFailedEvent, b: StepFailedEvent) -> StopEvent: ...
