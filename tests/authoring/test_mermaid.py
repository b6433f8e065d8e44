"""Flows drawn as Mermaid."""

from __future__ import annotations

from everstep.decorators import catch_error, step
from everstep.events import (
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StepFailedEvent,
    StopEvent,
)
from everstep.representation import WorkflowGraph, get_workflow_representation, to_mermaid
from everstep.workflow import Workflow


class Piece(Event):
    pass


class Flow(Workflow):
    @step
    async def split(self, ev: StartEvent) -> list[Piece]: ...

    @step(task_queue="gpu")
    async def end(self, evs: list[Piece]) -> InputRequiredEvent: ...

    @step(local=True)
    async def answered(self, ev: HumanResponseEvent) -> StopEvent: ...

    @catch_error(for_steps=["split"])
    async def mend(self, ev: StepFailedEvent) -> StopEvent: ...


def test_steps_events_joins_questions_and_handlers_are_drawn() -> None:
    """Every part of a flow is in the drawing."""
    lines = [line.strip() for line in to_mermaid(get_workflow_representation(Flow)).splitlines()]
    assert lines[0] == "flowchart TD"
    for line in (
        'event_StartEvent(["StartEvent"]):::ends',
        'event_Piece("Piece"):::event',
        'event_InputRequiredEvent{"InputRequiredEvent"}:::human',
        'step_end["end<br/><i>joins all</i><br/><i>on gpu</i>"]:::step',
        'step_answered["answered<br/><i>local</i>"]:::step',
        'step_mend["mend"]:::handler',
        "event_StartEvent --> step_split",
        "step_split ==>|list| event_Piece",
        "event_Piece ==> step_end",
        "event_InputRequiredEvent -.->|answered by| event_HumanResponseEvent",
        "step_split -.->|fails| step_mend",
        "step_mend --> event_StopEvent",
    ):
        assert line in lines


def test_the_drawing_is_the_same_for_the_same_definition() -> None:
    """A drawing kept in a repository changes only with the flow."""
    graph = get_workflow_representation(Flow())
    assert to_mermaid(WorkflowGraph.model_validate_json(graph.model_dump_json())) == to_mermaid(graph)


class Pairs(Workflow):
    @step
    async def split(self, ev: StartEvent) -> Piece: ...

    @step
    async def both(self, one: Piece, begun: StartEvent) -> StopEvent: ...


def test_several_parameters_are_drawn_by_name() -> None:
    """Each has an arrow of its own."""
    drawn = to_mermaid(get_workflow_representation(Pairs))
    for line in (
        'step_both["both<br/><i>one of each</i>"]:::step',
        "event_Piece -->|one| step_both",
        "event_StartEvent -->|begun| step_both",
        "event_StartEvent --> step_split",
    ):
        assert line in drawn
