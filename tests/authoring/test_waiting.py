"""Which steps are seen to wait, and what they are seen to wait for, from their code."""

from typing import Any

from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.flow.compile import compile_flow


class Go(Event):
    pass


class Approval(HumanResponseEvent):
    pass


class Ask(InputRequiredEvent):
    pass


async def approve(ctx: Context, kind: Any) -> Any:
    """Waits for whatever it is told."""
    return await ctx.wait_for_event(kind)


class Waits(Workflow):
    @step
    async def direct(self, ctx: Context, ev: StartEvent) -> StopEvent:
        async def inner() -> None:
            await ctx.wait_for_event(Go)

        await inner()
        return StopEvent()

    @step(skip_graph_checks=["reachability"])
    async def by_function(self, ctx: Context, ev: Go) -> None:
        await approve(ctx, Approval)

    @step(skip_graph_checks=["reachability"])
    async def by_method(self, ctx: Context, ev: Go) -> None:
        await self._asked(ctx)

    async def _asked(self, ctx: Context) -> None:
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=Ask())

    @step(skip_graph_checks=["reachability"])
    async def only_context(self, ctx: Context, ev: Go) -> None:
        await ctx.store.set("a", 1)

    @step(skip_graph_checks=["reachability"])
    async def without_context(self, ev: Go) -> None:
        """Leads to a wait, but has no context to wait with."""
        print(approve)


def test_waits_are_seen_in_steps_and_what_they_call() -> None:
    """In inner functions, functions of the module and methods; not in steps that could not wait."""
    steps = compile_flow(Waits).steps
    assert [name for name, one in steps.items() if one.waits] == ["direct", "by_function", "by_method"]


def test_types_named_by_waiting_code_belong_to_the_flow() -> None:
    """With their schemas, so that they can be answered by name before the wait is reached."""
    events = compile_flow(Waits).events
    assert events["Approval"].is_a("HumanResponseEvent")
    assert events["Ask"].is_a("InputRequiredEvent")
    assert events["Go"].schema["title"] == "Go"


def test_a_flow_that_does_not_wait_says_nothing_of_it() -> None:
    """Its definition is the same as before there were waits."""

    class Plain(Workflow):
        @step
        async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
            ctx.write_event_to_stream(Go())
            return StopEvent()

    definition = compile_flow(Plain)
    assert "Go" not in definition.events
    assert "waits" not in definition.to_json()["steps"][0]
