"""Flows compiled into definitions, and the classes of their events found by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from everstep.decorators import catch_error, step
from everstep.errors import WorkflowValidationError
from everstep.events import (
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StepFailedEvent,
    StopEvent,
)
from everstep.flow.compile import FlowTypes, compile_flow, step_specs
from everstep.flow.definition import FlowDefinition
from everstep.workflow import Workflow


class Piece(Event):
    text: str


class Part(Event):
    pass


class Done(Event):
    pass


class Failed(Event):
    pass


class Approve(InputRequiredEvent):
    amount: float


class Approved(HumanResponseEvent):
    yes: bool


class Nested(Workflow):
    """Splits twice and joins twice.

    What follows is no description.
    """

    timeout = 30
    max_in_flight = 10

    @step(num_workers=2, timeout=5)
    async def split(self, ev: StartEvent) -> list[Piece] | Approve | None:
        """Splits."""

    @step
    async def split_again(self, ev: Piece) -> list[Part]: ...

    @step
    async def gather_parts(self, evs: list[Part]) -> Done: ...

    @step
    async def gather(self, evs: list[Done]) -> StopEvent: ...

    @step
    async def answer(self, ev: Approved) -> StopEvent: ...


def feeds(cls: type) -> dict[str, tuple[str, ...]]:
    """The joins that each step of a flow feeds, where there are any."""
    return {name: each.feeds for name, each in compile_flow(cls).steps.items() if each.feeds}


def test_a_definition_is_equal_after_json() -> None:
    """What a run records is what the class said."""
    definition = compile_flow(Nested)
    assert FlowDefinition.from_json(json.loads(json.dumps(definition.to_json()))) == definition


def test_a_definition_says_what_the_class_says() -> None:
    """Name, limits, description, start, stops and steps are there, in the order of the class."""
    definition = compile_flow(Nested)
    assert (definition.name, definition.description) == ("Nested", "Splits twice and joins twice.")
    assert (definition.timeout, definition.max_in_flight) == (30, 10)
    assert (definition.start, definition.stops) == ("StartEvent", ("StopEvent",))
    assert list(definition.steps) == ["split", "split_again", "gather_parts", "gather", "answer"]
    split = definition.steps["split"]
    assert (split.num_workers, split.timeout, split.returns_none, split.description) == (2, 5.0, True, "Splits.")
    assert (split.returns, split.returns_list) == (("Approve",), ("Piece",))
    assert definition.events["Piece"].schema["required"] == ["text"]


def test_a_definition_is_made_once() -> None:
    """Building a second instance costs nothing."""
    assert compile_flow(Nested) is compile_flow(Nested)


def test_streams_feed_the_joins_of_their_own_level() -> None:
    """The inner stream ends at the inner join, whose result goes on at the outer level."""
    assert feeds(Nested) == {"split": ("gather",), "split_again": ("gather_parts",)}


def test_a_bare_return_beside_a_list_is_not_on_the_stream() -> None:
    """`list[A] | B` opens a stream of A; B goes on beside it."""

    class Flow(Workflow):
        @step
        async def split(self, ev: StartEvent) -> list[Piece] | Part: ...

        @step
        async def join_pieces(self, evs: list[Piece]) -> StopEvent: ...

        @step
        async def join_parts(self, evs: list[Part]) -> StopEvent: ...

    assert feeds(Flow) == {"split": ("join_pieces",)}


def test_a_join_that_fans_out_again_leads_on_at_its_level() -> None:
    """A chain of joins, each opening the next stream, comes back to the level of the first."""

    class Flow(Workflow):
        @step
        async def outer(self, ev: StartEvent) -> list[Piece]: ...

        @step
        async def inner(self, ev: Piece) -> list[Part]: ...

        @step
        async def relay(self, evs: list[Part]) -> list[Failed]: ...

        @step
        async def inner_end(self, evs: list[Failed]) -> Done: ...

        @step
        async def end(self, evs: list[Done]) -> StopEvent: ...

    assert feeds(Flow) == {"outer": ("end",), "inner": ("relay",), "relay": ("inner_end",)}


def test_a_loop_through_a_stream_comes_to_an_end() -> None:
    """A join may lead back to the step that opened the stream."""

    class Flow(Workflow):
        @step
        async def split(self, ev: StartEvent | Done) -> list[Piece]: ...

        @step
        async def join(self, evs: list[Piece]) -> Done | StopEvent: ...

    assert feeds(Flow) == {"split": ("join",)}


def test_a_step_with_several_parameters_is_reached_by_all_of_them() -> None:
    """Its stream is the one in which all of its events are; the definition names the parameters, also after JSON."""

    class Flow(Workflow):
        @step
        async def split(self, ev: StartEvent) -> list[Piece]: ...

        @step
        async def part(self, ev: Piece) -> list[Part]: ...

        @step
        async def both(self, piece: Piece, part: Part) -> Done: ...

        @step
        async def joined(self, evs: list[Done]) -> StopEvent: ...

    definition = compile_flow(Flow)
    assert feeds(Flow) == {}
    both = definition.steps["both"]
    assert [(each.name, each.accepts) for each in both.parameters] == [("piece", ("Piece",)), ("part", ("Part",))]
    assert both.accepts == ("Piece", "Part")
    assert FlowDefinition.from_json(json.loads(json.dumps(definition.to_json()))) == definition
    assert "parameters" not in definition.to_json()["steps"][0]


def test_what_a_handler_returns_is_on_the_stream_of_the_failed_step() -> None:
    """A failed member is replaced by what its handler makes of it."""

    class Flow(Workflow):
        @step
        async def split(self, ev: StartEvent) -> list[Piece]: ...

        @step
        async def work(self, ev: Piece) -> Done: ...

        @catch_error(for_steps=["work"])
        async def mend(self, ev: StepFailedEvent) -> Failed: ...

        @step
        async def join_failed(self, evs: list[Failed]) -> StopEvent: ...

        @step
        async def join_done(self, evs: list[Done]) -> StopEvent: ...

    assert feeds(Flow) == {"split": ("join_failed", "join_done")}


def test_an_answer_goes_on_where_the_question_was_asked() -> None:
    """A member that asks a person is still a member when the answer comes."""

    class Flow(Workflow):
        @step
        async def split(self, ev: StartEvent) -> list[Piece]: ...

        @step
        async def ask(self, ev: Piece) -> Approve: ...

        @step
        async def take(self, ev: Approved) -> Done: ...

        @step
        async def join(self, evs: list[Done]) -> StopEvent: ...

    assert feeds(Flow) == {"split": ("join",)}


def test_the_only_answer_of_a_flow_answers_all_its_questions() -> None:
    """A question that names no answer type gets the one that the flow takes; with several, none is guessed."""

    class Other(HumanResponseEvent):
        pass

    class Two(Nested):
        @step
        async def other(self, ev: Other) -> StopEvent: ...

    assert compile_flow(Nested).events["Approve"].response == "Approved"
    assert compile_flow(Two).events["Approve"].response is None


def test_a_question_can_name_its_answer() -> None:
    """`response_event` decides, and brings the type into the definition."""

    class Ask(InputRequiredEvent):
        response_event = Approved

    class Flow(Workflow):
        @step
        async def ask(self, ev: StartEvent) -> Ask: ...

        @step
        async def end(self, ev: Approved) -> StopEvent: ...

    definition = compile_flow(Flow)
    assert definition.events["Ask"].response == "Approved"
    assert definition.events["Approved"].schema["required"] == ["yes"]


def test_steps_are_inherited_in_order_and_overridden_by_name() -> None:
    """Base steps come first; one written again keeps its place, one set to None is gone."""

    class Changed(Nested):
        @step
        async def last(self, ev: Done) -> StopEvent: ...

        @step(num_workers=9)
        async def split(self, ev: StartEvent) -> list[Piece]: ...

        answer: Any = None

    assert list(step_specs(Changed)) == ["split", "split_again", "gather_parts", "gather", "last"]
    assert compile_flow(Changed).steps["split"].num_workers == 9
    assert compile_flow(Nested).steps["split"].num_workers == 2


def test_a_step_added_later_is_in_the_next_definition() -> None:
    """Adding a function makes a new definition, for the class and its subclasses alone."""

    class Base(Workflow):
        pass

    class Below(Base):
        pass

    @step(workflow=Base)
    async def begin(ev: StartEvent) -> Done: ...

    @step(workflow=Below)
    async def end(ev: Done) -> StopEvent: ...

    assert list(compile_flow(Base).steps) == ["begin"]
    assert list(compile_flow(Below).steps) == ["begin", "end"]
    with pytest.raises(WorkflowValidationError, match="has a step 'end' already"):
        Below.add_step(end)


def test_two_classes_of_one_name_are_refused() -> None:
    """On the wire only names tell events apart."""
    other = type("Piece", (Event,), {})

    class Flow(Workflow):
        @step
        async def go(self, ev: StartEvent) -> Piece: ...

        async def on(self, ev: Any) -> StopEvent: ...

    Flow.on.__annotations__["ev"] = other
    Flow.on = step(Flow.on)
    with pytest.raises(WorkflowValidationError, match=r"two event classes named 'Piece' .* rename one"):
        compile_flow(Flow)


def test_a_name_of_everstep_s_own_events_is_refused() -> None:
    """A class that looks like a built-in event on the wire would be taken for it."""
    fake = type("StepFailedEvent", (Event,), {})

    class Flow(Workflow):
        async def go(self, ev: StartEvent) -> Any: ...

    Flow.go.__annotations__["return"] = fake
    Flow.go = step(Flow.go)
    with pytest.raises(WorkflowValidationError, match="everstep has one of this name: rename it"):
        compile_flow(Flow)


def test_types_are_found_by_name_and_loaded_subclasses_too() -> None:
    """Declared types, everstep's own and loaded subclasses are had; other events are not."""

    class LongPiece(Piece):
        pass

    class Stranger(Event):
        pass

    types = FlowTypes(Nested)
    assert types.resolve("Piece") is Piece
    assert types.resolve("WorkflowFailedEvent") is not None
    assert types.resolve("LongPiece") is LongPiece
    assert types.resolve("Stranger") is None
    assert types.resolve("os.system") is None


def test_of_two_loaded_subclasses_with_one_name_none_is_guessed() -> None:
    """An ambiguous name is as unknown as a missing one."""
    kept = [type("Twin", (Done,), {"__module__": __name__}) for _ in range(2)]
    assert FlowTypes(Nested).resolve("Twin") is None
    assert len(kept) == 2
