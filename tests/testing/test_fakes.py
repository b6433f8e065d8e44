"""`fake_steps`: other functions in the place of steps, in process and on Temporal."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from everstep import Context, Workflow, step
from everstep.errors import WorkflowConfigurationError
from everstep.events import Event, StartEvent, StopEvent
from everstep.resource import Resource
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from everstep.testing import FlowEnvironment, fake_steps


class Found(Event):
    text: str


class Page(Event):
    number: int


def connect() -> str:
    """Stands for what a test has not: a database."""
    raise ConnectionError("there is no database in this test")


class Research(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(3)))
    async def look(self, ctx: Context, ev: StartEvent, db: Annotated[str, Resource(connect)]) -> Found | list[Page]:
        return Found(text=db)

    @step
    def read(self, ev: Page) -> Found:
        return Found(text=f"page {ev.number}")

    @step
    async def write(self, evs: list[Found]) -> StopEvent:
        return StopEvent(result=" and ".join(sorted(ev.text for ev in evs)))


async def test_a_fake_runs_in_the_place_of_its_step(flow_env: FlowEnvironment) -> None:
    """Given the event alone; the step's resources are not made."""
    with fake_steps(Research, look=lambda ev: Found(text=ev.topic.upper())) as fakes:
        assert await (await flow_env.run(Research, topic="tides")) == "TIDES"
    assert [event.topic for event in fakes.given("look")] == ["tides"]
    assert fakes.count("look") == 1


async def test_a_worker_that_serves_already_has_the_fakes_of_a_block(flow_env: FlowEnvironment) -> None:
    """And has the steps again behind it; the inner of two blocks comes first."""
    with fake_steps(Research, look=Found(text="outer"), write=StopEvent(result="faked")):
        with fake_steps(Research, look=[Page(number=2), Page(number=1)]):
            assert await (await flow_env.run(Research)) == "faked"
        assert await (await flow_env.run(Research)) == "faked"
    with fake_steps(Research, look=[Page(number=2), Page(number=1)]):
        assert await (await flow_env.run(Research)) == "page 1 and page 2"


async def test_a_fake_fails_as_a_step_does(flow_env: FlowEnvironment) -> None:
    """It is tried again by the step's policy, and can have the step's parameters by their names."""

    async def look(ctx: Context, ev: StartEvent) -> Found:
        if ctx.retry_info().retry_number < 2:
            raise ConnectionError("busy")
        return Found(text="at last")

    with fake_steps(Research, look=look) as fakes:
        assert await (await flow_env.run(Research)) == "at last"
    assert fakes.count("look") == 3
    with fake_steps(Research, look=ConnectionError("down")), pytest.raises(Exception, match="down"):
        await (await flow_env.run(Research))


@pytest.mark.parametrize("wrong", [lambda ev: StopEvent(), lambda ev: "text", lambda ev: [Found(text="x")]])
async def test_what_a_fake_gives_is_held_to_the_annotation(flow_env: FlowEnvironment, wrong: Any) -> None:
    """The message names what it gave and what the step gives."""
    with (
        fake_steps(Research, look=wrong),
        pytest.raises(Exception, match=r"the fake of step 'look' of Research gave .*Found \| list\[Page\]"),
    ):
        await (await flow_env.run(Research))


def test_a_fake_that_cannot_be_is_refused_at_once() -> None:
    """A step that is not there, and a parameter that nothing can fill."""
    with pytest.raises(WorkflowConfigurationError, match="no step 'search' to fake; its steps are look, read, write"):
        fake_steps(Research, search=None).__enter__()
    with pytest.raises(WorkflowConfigurationError, match=r"takes 'cache', which nothing can fill.*\(ev, db, ctx\)"):
        fake_steps(Research, look=lambda ev, cache: None).__enter__()


async def test_the_fakes_of_an_instance_are_its_own() -> None:
    """Another instance of the class has its steps."""
    one, other = Research(), Research()
    with fake_steps(one, look=Found(text="fake")):
        assert await one.run() == "fake"
        with pytest.raises(Exception, match="no database"):
            await other.run()
