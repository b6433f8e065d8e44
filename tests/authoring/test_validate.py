"""Flows that cannot work are refused, with the step, the fault and the remedy."""

from __future__ import annotations

import pytest

from everstep.decorators import catch_error, step
from everstep.errors import WorkflowConfigurationError, WorkflowValidationError
from everstep.events import (
    Event,
    HumanResponseEvent,
    InputExpiredEvent,
    InputRequiredEvent,
    StartEvent,
    StepFailedEvent,
    StopEvent,
)
from everstep.flow.compile import compile_flow
from everstep.flow.definition import EventDefinition, FlowDefinition, StepDefinition
from everstep.flow.validate import validate
from everstep.workflow import Workflow


class A(Event):
    pass


class B(A):
    pass


class C(Event):
    pass


class OwnStart(StartEvent):
    pass


class OwnStop(StopEvent):
    pass


class Begins(Workflow):
    """Starts and ends; what tests add to it is at fault."""

    @step
    async def go(self, ev: StartEvent) -> StopEvent: ...


def problems(cls: type) -> list[str]:
    """The faults of a flow."""
    return [str(each) for each in validate(compile_flow(cls))]


def only(cls: type) -> str:
    """The one fault of a flow."""
    (problem,) = problems(cls)
    return problem


def test_a_flow_that_works_has_no_faults() -> None:
    """Loops, unions, subclasses, questions and handlers are all in order."""

    class Works(Workflow):
        @step
        async def begin(self, ev: StartEvent | C) -> B | InputRequiredEvent: ...

        @step(accept_event_subclasses=True)
        async def base(self, ev: A) -> C | StopEvent | None: ...

        @step
        async def answered(self, ev: HumanResponseEvent | InputExpiredEvent) -> StopEvent: ...

        @catch_error
        async def mend(self, ev: StepFailedEvent) -> C: ...

    assert problems(Works) == []


def test_no_steps() -> None:
    """An empty flow is told to have steps, and nothing else."""

    class Empty(Workflow):
        pass

    assert only(Empty) == "Flow Empty has no steps: decorate methods with @step."


def test_no_start() -> None:
    """A flow needs a way in."""

    class Flow(Workflow):
        @step
        async def go(self, ev: HumanResponseEvent) -> StopEvent: ...

    assert "cannot start: no step takes a StartEvent; annotate" in only(Flow)


def test_several_starts() -> None:
    """Which event begins a run must be clear."""

    class Flow(Begins):
        @step
        async def other(self, ev: OwnStart) -> StopEvent: ...

    assert "several start events (StartEvent, OwnStart): keep one" in only(Flow)


def test_no_stop() -> None:
    """A flow needs a way out."""

    class Flow(Workflow):
        @step
        async def go(self, ev: StartEvent) -> None: ...

    assert "cannot end: no step returns a StopEvent; annotate" in only(Flow)


def test_several_stops() -> None:
    """What type the result is must be clear; the base and a subclass are two."""

    class Flow(Workflow):
        @step
        async def go(self, ev: StartEvent) -> OwnStop | StopEvent: ...

    assert "several stop events (OwnStop, StopEvent): keep one" in only(Flow)


def test_a_step_that_takes_a_stop() -> None:
    """Nothing runs after the stop."""

    class Flow(Begins):
        @step
        async def late(self, ev: StopEvent) -> None: ...

    assert any("Step 'late' takes StopEvent, which ends the run" in each for each in problems(Flow))


def test_consumed_never_produced() -> None:
    """An event that a step takes must come from somewhere; a subclass is another event."""

    class Flow(Workflow):
        @step
        async def go(self, ev: StartEvent) -> B | StopEvent: ...

        @step
        async def takes_b(self, ev: B) -> None: ...

        @step
        async def takes_a(self, ev: A) -> None: ...

    assert problems(Flow)[0].startswith("Step 'takes_a' takes A, which no step returns: add it")


def test_an_event_from_outside_may_come_from_nowhere() -> None:
    """A step that says so is excused: its events are sent to the run."""

    class Flow(Begins):
        @step(skip_graph_checks=["reachability"])
        async def takes_a(self, ev: A) -> None: ...

    assert problems(Flow) == []


def test_produced_never_consumed() -> None:
    """An event that a step returns must go somewhere."""

    class Flow(Workflow):
        @step
        async def go(self, ev: StartEvent) -> A | StopEvent: ...

    assert only(Flow).startswith("Step 'go' returns A, which no step takes: write a step")


def test_an_unreachable_step_and_how_to_excuse_it() -> None:
    """Two steps that only feed each other are never reached, unless an event from outside is expected."""

    class Flow(Begins):
        @step
        async def one(self, ev: A) -> C | StopEvent: ...

        @step
        async def two(self, ev: C) -> A: ...

    class Excused(Begins):
        @step(skip_graph_checks=["reachability"])
        async def one(self, ev: A) -> C | StopEvent: ...

        @step(skip_graph_checks=["reachability"])
        async def two(self, ev: C) -> A: ...

    assert [each.split(":")[0] for each in problems(Flow)] == [
        "Step 'one' is never reached from StartEvent or an answer",
        "Step 'two' is never reached from StartEvent or an answer",
    ]
    assert problems(Excused) == []


def test_a_dead_end_and_how_to_excuse_it() -> None:
    """A step from which no way leads out is named."""

    class Flow(Workflow):
        @step
        async def go(self, ev: StartEvent) -> A | StopEvent: ...

        @step
        async def loop(self, ev: A) -> C: ...

        @step(skip_graph_checks=["dead_end"])
        async def back(self, ev: C) -> A: ...

    assert only(Flow).startswith("Step 'loop' is a dead end: from C no way leads to a StopEvent")


def test_a_join_that_no_stream_feeds() -> None:
    """A list parameter needs a list somewhere before it."""

    class Flow(Workflow):
        @step
        async def go(self, ev: StartEvent) -> A: ...

        @step
        async def join(self, evs: list[A]) -> StopEvent: ...

    assert only(Flow).startswith("Step 'join' joins list[A], and no stream brings it: let a step before it return list")


def test_several_events_that_never_come_together() -> None:
    """One in a stream, the other outside of it: the step could never start."""

    class Flow(Workflow):
        @step
        async def split(self, ev: StartEvent) -> list[A]: ...

        @step
        async def beside(self, ev: StartEvent) -> C: ...

        @step
        async def both(self, a: A, c: C) -> StopEvent: ...

    assert only(Flow) == (
        "Step 'both' starts when one event for each parameter has come in one place, and these never do: 'a' (A) comes "
        "in the streams of step 'split'; 'c' (C) comes outside of streams. Let them come in the same stream, or take "
        "one and wait for the other with ctx.wait_for_event."
    )


def test_several_events_that_come_together() -> None:
    """In a stream, behind a join, from outside, or as an answer and what is beside it."""

    class InStream(Workflow):
        @step
        async def split(self, ev: StartEvent) -> list[A]: ...

        @step
        async def make(self, ev: A) -> C: ...

        @step
        async def both(self, a: A, c: C) -> B: ...

        @step
        async def end(self, evs: list[B]) -> StopEvent: ...

    class BehindJoin(Workflow):
        @step
        async def split(self, ev: StartEvent) -> list[A]: ...

        @step
        async def beside(self, ev: StartEvent) -> InputRequiredEvent: ...

        @step
        async def joined(self, evs: list[A]) -> C: ...

        @step
        async def both(self, ev: HumanResponseEvent, c: C) -> StopEvent: ...

    assert problems(InStream) == []
    assert problems(BehindJoin) == []


def test_what_leads_to_nothing_but_one_of_several_events() -> None:
    """A parameter whose event nobody makes is told as such."""

    class Flow(Workflow):
        @step
        async def go(self, ev: StartEvent) -> A: ...

        @step
        async def both(self, a: A, c: C) -> StopEvent: ...

    assert only(Flow).startswith("Step 'both' takes C, which no step returns")


def test_handlers_that_name_no_step_a_handler_or_the_same_step() -> None:
    """Which handler covers which step must be clear."""

    class Flow(Begins):
        @catch_error(for_steps=["go", "gone", "two"])
        async def one(self, ev: StepFailedEvent) -> StopEvent: ...

        @catch_error(for_steps=["go"])
        async def two(self, ev: StepFailedEvent) -> StopEvent: ...

    assert problems(Flow) == [
        "Handler 'one' names the step 'gone', which the flow does not have: it has go.",
        "Handler 'one' names 'two', which is a handler itself: remove it.",
        "Step 'go' is covered by the handlers 'one' and 'two': keep it in one.",
    ]


def test_two_handlers_for_every_step() -> None:
    """Only one handler can be the general one."""

    class Flow(Begins):
        @catch_error
        async def one(self, ev: StepFailedEvent) -> StopEvent: ...

        @catch_error
        async def two(self, ev: StepFailedEvent) -> StopEvent: ...

    assert only(Flow).startswith("Handlers 'one', 'two' all cover every step: keep one")


def test_a_definition_from_elsewhere_is_checked_too() -> None:
    """Checks read the definition alone, as it may come from a file."""
    definition = FlowDefinition(
        name="Given",
        steps={"go": StepDefinition("go", ("S",), ("E",), local=True, task_queue="gpu")},
        events={"S": EventDefinition("S", ("StartEvent", "Event")), "E": EventDefinition("E", ("StopEvent", "Event"))},
        start="S",
        stops=("E",),
    )
    assert [str(each) for each in validate(definition)] == [
        "Step 'go' is local and has a task queue: leave out one of them."
    ]


def test_all_faults_are_raised_at_once_when_the_flow_is_built() -> None:
    """The author sees the whole list, one line each."""

    class Flow(Begins):
        @step
        async def one(self, ev: A) -> C: ...

    with pytest.raises(WorkflowValidationError) as caught:
        Flow()
    assert len(caught.value.problems) == 4
    assert str(caught.value).startswith("Flow Flow has 4 faults:\n- Step 'one' ")
    assert not isinstance(caught.value, WorkflowConfigurationError)


def test_a_flow_without_start_is_a_configuration_error() -> None:
    """What every flow needs is told apart, as it is in LlamaIndex."""

    class Flow(Workflow):
        @step
        async def go(self, ev: A) -> StopEvent: ...

    with pytest.raises(WorkflowConfigurationError):
        Flow()
