"""The `Workflow` class: how it is built, and what it hands to a runtime."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from everstep.context.snapshot import Snapshot
from everstep.decorators import step
from everstep.errors import WorkflowConfigurationError, WorkflowRuntimeError, WorkflowValidationError
from everstep.events import Event, HumanResponseEvent, StartEvent, StopEvent
from everstep.runtime import use_runtime
from everstep.workflow import Workflow


class Recorder:
    """A runtime that keeps what it is given to start."""

    def __init__(self) -> None:
        self.started: list[tuple[Workflow, Event, str | None, Any]] = []

    def start(self, flow: Workflow, start_event: Event, *, run_id: str | None, ctx: Any | None) -> Any:
        self.started.append((flow, start_event, run_id, ctx))
        return SimpleNamespace(run_id=run_id)

    def resume(self, flow: Workflow, snapshot: Snapshot, *, run_id: str | None) -> Any:
        raise NotImplementedError


class Topic(StartEvent):
    topic: str
    length: int = 1


class Write(Workflow):
    @step
    async def go(self, ev: Topic) -> StopEvent: ...


class Lost(Workflow):
    @step
    async def go(self, ev: HumanResponseEvent) -> StopEvent: ...


def test_run_builds_the_start_event_and_hands_it_over() -> None:
    """Keyword arguments become the start event; run id and context go along."""
    runtime = Recorder()
    flow = Write(runtime=runtime)
    assert flow.run("a context", topic="tides", run_id="r1").run_id == "r1"
    assert runtime.started == [(flow, Topic(topic="tides"), "r1", "a context")]


def test_run_takes_a_start_event() -> None:
    """An event can be given as it is."""
    runtime = Recorder()
    Write(runtime=runtime).run(start_event=Topic(topic="tides"))
    assert runtime.started[0][1] == Topic(topic="tides")


def test_arguments_that_do_not_fit_are_refused_with_the_fields() -> None:
    """The message names the fault and lists the fields."""
    with pytest.raises(
        WorkflowRuntimeError, match=r"Topic does not fit: topic: .*Its fields: topic, length \(optional\)"
    ):
        Write(runtime=Recorder()).run(title="tides")


def test_a_start_event_of_another_type_is_refused() -> None:
    """So are keyword arguments beside an event."""
    flow = Write(runtime=Recorder())
    with pytest.raises(WorkflowRuntimeError, match="cannot start with a StartEvent: give a Topic"):
        flow.run(start_event=StartEvent(topic="tides"))
    with pytest.raises(WorkflowRuntimeError, match="also length: put them into the event"):
        flow.run(start_event=Topic(topic="tides"), length=2)


def test_the_runtime_of_the_block_is_used_and_one_s_own_comes_first() -> None:
    """A runtime given to the flow wins over that of the block."""
    own, around = Recorder(), Recorder()
    with use_runtime(around):
        Write().run(topic="a")
        Write(runtime=own).run(topic="b")
    assert [event.topic for _, event, _, _ in around.started] == ["a"]
    assert [event.topic for _, event, _, _ in own.started] == ["b"]


def test_class_attributes_are_defaults_and_arguments_win() -> None:
    """A flow can say what its instances are like."""

    class Slow(Write):
        timeout = 60
        num_concurrent_runs = 2

    assert (Slow().timeout, Slow().definition.timeout, Slow().num_concurrent_runs) == (60, 60, 2)
    assert Slow(timeout=5).definition.timeout == 5
    assert Write().definition.timeout is None


def test_a_subclass_need_not_call_the_base_s_init() -> None:
    """A flow with arguments of its own works, and is still checked before it runs."""

    class Own(Write):
        def __init__(self, client: str) -> None:
            self.client = client

    class OwnLost(Lost):
        def __init__(self) -> None:
            pass

    runtime = Recorder()
    with use_runtime(runtime):
        Own("c").run(topic="a")
        with pytest.raises(WorkflowConfigurationError):
            OwnLost().run()
    assert len(runtime.started) == 1


def test_validation_can_be_left_out_and_asked_for() -> None:
    """`disable_validation` builds a flow that `validate` still refuses."""
    flow = Lost(disable_validation=True)
    with pytest.raises(WorkflowConfigurationError):
        flow.validate()
    with pytest.raises(WorkflowConfigurationError, match="No step of Lost takes a StartEvent"):
        flow.run()


def test_validate_tells_whether_people_are_asked() -> None:
    """As in LlamaIndex, True means that a human is in the loop."""

    class Asks(Write):
        @step
        async def answered(self, ev: HumanResponseEvent) -> StopEvent: ...

    assert Asks().validate()
    assert not Write().validate()


def test_a_flow_knows_its_event_classes() -> None:
    """Start, stop and all others are had from the instance."""
    flow = Write()
    assert (flow.start_event_class, flow.stop_event_class) == (Topic, StopEvent)
    assert flow.events == [Topic, StopEvent]
    assert flow.workflow_name == "Write"


@pytest.mark.parametrize("arguments", [{"timeout": 0}, {"timeout": -1}, {"num_concurrent_runs": 0}])
def test_limits_that_cannot_be_are_refused(arguments: dict[str, Any]) -> None:
    """The message names the flow, the value, and what to give."""
    with pytest.raises(WorkflowValidationError, match=r"Write has .*: give"):
        Write(**arguments)


def test_a_step_may_not_hide_what_every_flow_needs() -> None:
    """A step called `run` would make the flow impossible to run."""
    with pytest.raises(WorkflowValidationError, match=r"Step 'run' of Bad hides Workflow.run.*rename"):

        class Bad(Workflow):
            @step
            async def run(self, ev: StartEvent) -> StopEvent: ...  # type: ignore[override]


def test_a_step_may_be_called_validate() -> None:
    """Checking an order is a common step, and its name stays free."""

    class Fine(Workflow):
        @step
        async def validate(self, ev: StartEvent) -> StopEvent: ...  # type: ignore[override]

    assert list(Fine().definition.steps) == ["validate"]


def test_checks_of_the_graph_can_be_skipped_for_a_flow() -> None:
    """By argument, or for all of a class; the others are still made, and a check that is none is refused."""

    class Lost(Event):
        pass

    class Never(Event):
        pass

    class Loose(Workflow):
        @step
        async def begin(self, ev: StartEvent) -> StopEvent | Lost:
            return StopEvent()

        @step
        async def never(self, ev: Never) -> StopEvent:
            return StopEvent()

    with pytest.raises(WorkflowValidationError, match="which no step takes"):
        Loose(skip_graph_checks={"reachability"})
    with pytest.raises(WorkflowValidationError, match="never reached"):
        Loose(skip_graph_checks={"terminal_event"})
    assert Loose(skip_graph_checks={"reachability", "terminal_event"}).validate() is False
    with pytest.raises(WorkflowValidationError, match="'cycles', which is none: choose from reachability"):
        Loose(skip_graph_checks={"cycles"})  # type: ignore[arg-type]
    Loose.skip_graph_checks = {"reachability", "terminal_event"}
    Loose()
