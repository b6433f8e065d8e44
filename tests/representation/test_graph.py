"""Flows as graphs: nodes, edges, resources, and what is left when nodes are taken out."""

from __future__ import annotations

import json

from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.representation import (
    WorkflowEventNode,
    WorkflowExternalNode,
    WorkflowGraph,
    WorkflowGraphEdge,
    WorkflowResourceNode,
    WorkflowStepNode,
    get_workflow_representation,
)
from tests.support.shop_flow import Shop


def arrows(graph: WorkflowGraph) -> set[tuple[str, str, str]]:
    """The edges, as source, target and kind."""
    return {(edge.source, edge.target, edge.kind) for edge in graph.edges}


def test_steps_events_and_the_world_outside_are_nodes() -> None:
    """By the names that users write, each once."""
    graph = get_workflow_representation(Shop())
    by_id = {node.id: node for node in graph.nodes}
    assert len(by_id) == len(graph.nodes)
    assert graph.name == "Shop"
    assert {node.id for node in graph.nodes if isinstance(node, WorkflowStepNode)} == {
        "split",
        "pack",
        "join",
        "send",
        "nothing",
        "mend",
    }
    item = by_id["Item"]
    assert isinstance(item, WorkflowEventNode)
    assert item.produced_by == ["split"]
    assert item.event_schema is not None
    assert "number" in item.event_schema["properties"]
    start = by_id["Order"]
    assert isinstance(start, WorkflowEventNode)
    assert start.is_subclass_of("StartEvent")
    assert isinstance(by_id["external_step"], WorkflowExternalNode)


def test_edges_tell_what_goes_along_them() -> None:
    """Lists, joins, questions, answers, failures and plain events."""
    assert {
        ("Order", "split", "event"),
        ("split", "Item", "list"),
        ("Packed", "join", "join"),
        ("AskApproval", "external_step", "ask"),
        ("external_step", "Approval", "answer"),
        ("pack", "mend", "failure"),
        ("mend", "Packed", "event"),
    } <= arrows(get_workflow_representation(Shop))


def test_steps_tell_their_options_and_docstrings() -> None:
    """Those that say something, with the words of the decorator."""
    steps = {node.id: node for node in get_workflow_representation(Shop).nodes if isinstance(node, WorkflowStepNode)}
    assert steps["pack"].options["num_workers"] == 2
    assert "retry_policy" in steps["pack"].options
    assert steps["nothing"].options["local"] is True
    assert steps["split"].description == "Take the order apart."
    assert steps["mend"].role == "catch_error"


def test_resources_are_nodes_with_their_factories() -> None:
    """The edge is labelled with the parameter."""
    graph = get_workflow_representation(Shop)
    (resource,) = [node for node in graph.nodes if isinstance(node, WorkflowResourceNode)]
    assert (resource.type_name, resource.getter_name) == ("Catalogue", "open_catalogue")
    assert resource.source_file is not None
    assert resource.source_file.endswith("shop_flow.py")
    (edge,) = [edge for edge in graph.edges if edge.kind == "resource"]
    assert (edge.source, edge.target, edge.label) == ("pack", resource.id, "catalogue")


def test_a_graph_goes_through_json() -> None:
    """And comes back as it was."""
    graph = get_workflow_representation(Shop)
    assert WorkflowGraph.model_validate(json.loads(graph.model_dump_json())) == graph


def test_taking_nodes_out_leads_arrows_on() -> None:
    """An arrow through an event carries its name; loops end."""
    graph = get_workflow_representation(Shop).filter_by_node_type("event", "external", "resource")
    assert {node.node_type for node in graph.nodes} == {"step"}
    labels = {(edge.source, edge.target): edge.label for edge in graph.edges}
    assert labels["split", "pack"] == "Item"
    assert labels["join", "send"] == "AskApproval"
    loop = WorkflowGraph(
        name="loop",
        nodes=[
            WorkflowStepNode(id="a", label="a"),
            WorkflowEventNode(id="E", label="E", event_type="E", event_types=["E"]),
            WorkflowEventNode(id="F", label="F", event_type="F", event_types=["F"]),
        ],
        edges=[
            WorkflowGraphEdge(source="a", target="E"),
            WorkflowGraphEdge(source="E", target="F"),
            WorkflowGraphEdge(source="F", target="E"),
            WorkflowGraphEdge(source="F", target="a"),
        ],
    )
    assert [(edge.source, edge.target, edge.label) for edge in loop.filter_by_node_type("event").edges] == [
        ("a", "a", "E")
    ]


class Where(InputRequiredEvent):
    pass


class There(HumanResponseEvent):
    pass


class Same(Event):
    pass


class Waiting(Workflow):
    @step
    async def last(self, ev: Same) -> StopEvent:
        return StopEvent()

    @step
    async def Same(self, ctx: Context, ev: StartEvent) -> StopEvent | Same:  # noqa: N802  named as an event
        answer = await ctx.wait_for_event(There, waiter_event=Where())
        return StopEvent(result=answer) if answer else Same()


def test_questions_asked_inside_a_step_are_shown() -> None:
    """With the answer that it waits for; a step named as an event is a node of its own."""
    found = arrows(get_workflow_representation(Waiting))
    assert {("Same()", "Where", "event"), ("There", "Same()", "wait"), ("Same()", "Same", "event")} <= found
