"""The smallest flows: a result comes back, typed or plain, with all that the stop event carries."""

from everstep import Workflow, step
from everstep.events import StartEvent, StopEvent
from tests.support.drivers import Driver


class Hello(Workflow):
    @step
    async def greet(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=f"Hello, {ev.name}!")


class Order(StartEvent):
    item: str
    count: int = 1


class Receipt(StopEvent):
    item: str
    total: float


class Shop(Workflow):
    @step
    async def sell(self, ev: Order) -> Receipt:
        return Receipt(item=ev.item, total=ev.count * 2.5)


class FreeKeys(Workflow):
    @step
    async def end(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=1, sources=["a", "b"], more={"score": 0.5})


class Nothing(Workflow):
    @step
    async def end(self, ev: StartEvent) -> StopEvent:
        return StopEvent()


async def test_a_run_gives_its_result(driver: Driver) -> None:
    """One step turns the start event into the result, and the stream ends with the stop event."""
    seen = await driver.see(Hello, name="Ann")
    assert seen.result == "Hello, Ann!"
    assert seen.events == [StopEvent(result="Hello, Ann!")]
    assert seen.state == {}


async def test_a_typed_stop_event_is_the_result(driver: Driver) -> None:
    """A subclass of StopEvent comes back as itself, with its fields, from a typed start event."""
    seen = await driver.see(Shop, item="tea", count=2)
    assert seen.result == Receipt(item="tea", total=5.0)
    assert seen.events == [seen.result]


async def test_free_keys_of_a_stop_event_survive(driver: Driver) -> None:
    """The stop event keeps its further keys, in the stream and on the handle; the result is `result` alone."""
    handler = await driver.run(FreeKeys)
    seen = await driver.seen(handler)
    assert seen.result == 1
    whole = StopEvent(result=1, sources=["a", "b"], more={"score": 0.5})
    assert await handler.stop_event_result() == whole
    assert handler.get_stop_event() == whole
    assert handler.is_done()
    assert seen.events == [whole]


async def test_a_run_may_end_with_nothing(driver: Driver) -> None:
    """A stop event without a result gives None."""
    seen = await driver.see(Nothing)
    assert (seen.result, seen.events) == (None, [StopEvent()])
