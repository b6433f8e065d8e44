"""What a step is called with: its events, by parameter, also where its author has changed the parameters since."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from everstep.decorators import step
from everstep.engine.messages import Envelope
from everstep.events import Event, StartEvent, StopEvent
from everstep.invoke import EventRejectedError, Invoker
from everstep.resource_pool import ResourcePool
from everstep.wire import StepCall
from everstep.workflow import Workflow


class A(Event):
    pass


class B(Event):
    pass


class Swapped(Workflow):
    """Its step took A first, once."""

    @step
    async def go(self, ev: StartEvent) -> A | B: ...

    @step
    async def both(self, b: B, a: A) -> StopEvent:
        return StopEvent(result=[type(a).__name__, type(b).__name__])

    @step
    async def twice(self, one: A, other: A) -> StopEvent:
        return StopEvent(result=[one.n, other.n])


async def result(step_name: str, *events: Envelope, one_each: bool = True) -> Any:
    """What a step returns that is given these events."""
    with ThreadPoolExecutor(1) as threads:
        invoker = Invoker(Swapped(), threads, ResourcePool)
        call = StepCall("run", 1, None, events, one_each=one_each)
        if not one_each:
            call = StepCall("run", 1, events[0])

        async def state() -> Mapping[str, Any]:
            return {}

        outcome = await invoker.run(step_name, call, state=state, publish=lambda _: None)
        assert isinstance(outcome.returned, Envelope)
        return outcome.returned.data["result"]


async def test_events_go_to_the_parameters_that_take_them() -> None:
    """In the order in which they were matched, unless the parameters stand in another one now."""
    assert await result("both", Envelope("A", {}), Envelope("B", {})) == ["A", "B"]
    assert await result("twice", Envelope("A", {"n": 1}), Envelope("A", {"n": 2})) == [1, 2]


@pytest.mark.parametrize("events", [("A",), ("A", "A"), ("A", "B", "B")])
async def test_events_that_the_parameters_do_not_take_wait_for_an_earlier_worker(events: tuple[str, ...]) -> None:
    """No user code runs, and the message names step, events and parameters."""
    with pytest.raises(EventRejectedError, match=r"step 'both' was given .* its parameters \(b, a\) do not take"):
        await result("both", *(Envelope(name, {}) for name in events), one_each=len(events) > 1)
