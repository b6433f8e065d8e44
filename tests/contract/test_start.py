"""How runs begin: typed, by data alone, or not at all, with what was wrong."""

import pytest

from everstep import Workflow, step
from everstep.errors import EverstepError, RunAlreadyStartedError, WorkflowRuntimeError
from everstep.events import Event, StartEvent, StopEvent, WorkflowFailedEvent
from everstep.temporal import TemporalRuntime
from tests.support.drivers import Driver, TemporalDriver


class Order(StartEvent):
    item: str
    count: int = 1


class Shop(Workflow):
    @step
    async def sell(self, ev: Order) -> StopEvent:
        return StopEvent(result=[ev.item, ev.count, ev.get("note")])


async def test_a_start_event_that_does_not_fit_is_refused(driver: Driver) -> None:
    """Missing and mistyped fields are refused before anything runs, and the error names them and what is wanted."""
    with pytest.raises(WorkflowRuntimeError, match=r"Shop cannot start: Order does not fit: .*item.*Its fields: item,"):
        await driver.run(Shop, count=2)
    with pytest.raises(WorkflowRuntimeError, match=r"count"):
        await driver.run(Shop, item="tea", count="many")
    assert await (await driver.run(Shop, item="tea", note="hot")) == ["tea", 1, "hot"]


async def test_a_start_by_data_is_judged_by_the_worker(temporal_driver: TemporalDriver) -> None:
    """A run started by the flow's name with plain JSON is typed where the types are; a bad one fails, named."""
    runtime = await temporal_driver.runtime(Shop)
    assert isinstance(runtime, TemporalRuntime)
    good = await runtime.start_flow("Shop", {"item": "tea", "count": "3"})
    assert await good == ["tea", 3, None]
    bad = await runtime.start_flow("Shop", {"count": 3})
    with pytest.raises(EverstepError, match=r"Shop cannot start: .*item"):
        await bad
    (end,) = [event async for event in bad.stream_events()]
    assert end.get("type_name") == "WorkflowFailedEvent" or isinstance(end, WorkflowFailedEvent)


async def test_a_run_id_is_taken_once(temporal_driver: TemporalDriver) -> None:
    """Starting a second run under the id of the first is refused, and names it."""
    handler = await temporal_driver.run(Shop, run_id="shop-1", item="tea")
    with pytest.raises(RunAlreadyStartedError, match="A run 'shop-1' exists already"):
        await temporal_driver.run(Shop, run_id="shop-1", item="tea")
    assert await handler == ["tea", 1, None]


class Next(Event):
    pass


class Given(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> Next:
        return Next()

    @step
    async def end(self, ev: Next) -> StopEvent:
        return StopEvent(result="end")


async def test_the_run_id_is_kept(driver: Driver) -> None:
    """A run has the id that it was given."""
    handler = await driver.run(Given, run_id=f"given-{driver.name}")
    assert handler.run_id == f"given-{driver.name}"
    assert await handler == "end"
