"""Steps that do what they should not: the run fails with a clear error, and the worker goes on."""

import asyncio
import sys

import pytest

from everstep import Workflow, step
from everstep.errors import EverstepError
from everstep.events import Event, StartEvent, StopEvent
from tests.support.drivers import Driver


class Other(Event):
    pass


class Misbehaving(Workflow):
    @step
    async def act(self, ev: StartEvent) -> StopEvent:
        if ev.how == "cancelled":
            inner = asyncio.ensure_future(asyncio.sleep(10))
            asyncio.get_running_loop().call_soon(inner.cancel)
            await inner
        if ev.how == "exit":
            sys.exit(3)
        if ev.how == "undeclared":
            return Other()  # type: ignore[return-value]
        if ev.how == "no event":
            return 7  # type: ignore[return-value]
        if ev.how == "list":
            return [StopEvent()]  # type: ignore[return-value]
        if ev.how == "not JSON":
            return StopEvent(result=object())
        return StopEvent(result="well")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cancelled", "raised CancelledError, though nobody cancelled it"),
        ("exit", r"called sys.exit\(3\)"),
        ("undeclared", "returned Other, which flow Misbehaving does not declare"),
        ("no event", "returned int, which is no Event"),
        ("list", "returned a list, but its annotation declares none"),
        ("not JSON", "StopEvent cannot be written as JSON"),
    ],
)
async def test_a_step_that_misbehaves_fails_its_run_and_nothing_else(driver: Driver, how: str, said: str) -> None:
    """The error names the step and the fault, and the next run goes well."""
    handler = await driver.run(Misbehaving, how=how)
    with pytest.raises(EverstepError, match=said):
        await handler
    assert await (await driver.run(Misbehaving, how="well")) == "well"
