"""Resources: made once where steps run, given to them, closed when the worker stops; a factory that fails is named."""

import asyncio
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel

from everstep import Context, LocalRuntime, Workflow, step, use_runtime
from everstep.errors import WorkflowConfigurationError, WorkflowValidationError
from everstep.events import Event, StartEvent, StopEvent
from everstep.resource import Resource, ResourceConfig
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from tests.support.drivers import Driver


@dataclass
class Log:
    """What became of the resources of one test; factories find it here."""

    made: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)


LOG = Log()


@pytest.fixture(autouse=True)
def _new_log() -> None:
    LOG.made.clear()
    LOG.closed.clear()
    LOG.threads.clear()


class Thing:
    """Notes when it is made and closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        LOG.made.append(name)
        LOG.threads.add(threading.get_ident())

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        LOG.closed.append(self.name)


class SyncThing(Thing):
    aclose = None  # type: ignore[assignment]

    def close(self) -> None:
        LOG.closed.append(self.name)


async def make_base() -> Thing:
    """Slow, so that many ask while it is being made."""
    await asyncio.sleep(0.05)
    return Thing("base")


def make_client(base: Annotated[Thing, Resource(make_base)], suffix: str = "!") -> SyncThing:
    """Needs another one."""
    return SyncThing(f"client on {base.name}{suffix}")


def make_own() -> Thing:
    """For one attempt."""
    return Thing("own")


class Item(Event):
    number: int


class Done(Event):
    same: list[str]


class Uses(Workflow):
    """Many steps at one time, async and sync, with kept resources and such of their own."""

    @step
    async def begin(self, ev: StartEvent) -> list[Item]:
        return [Item(number=number) for number in range(4)]

    @step(num_workers=4)
    async def use(
        self,
        ev: Item,
        ctx: Context,
        client: Annotated[SyncThing, Resource(make_client)],
        base: Annotated[Thing, Resource(make_base)],
        own: Annotated[Thing, Resource(make_own, cache=False)],
        again: Annotated[Thing, Resource(make_own, cache=False)],
    ) -> Done:
        assert own is again
        LOG.threads.add(threading.get_ident())
        return Done(same=[client.name, base.name, own.name])

    @step
    def end(self, ev: list[Done], client: Annotated[SyncThing, Resource(make_client)]) -> StopEvent:
        return StopEvent(result=[*ev[0].same, client.name])


async def test_resources_are_made_once_and_given_to_steps(driver: Driver) -> None:
    """One for all steps and runs of a worker, also when many ask at one time; own ones once for each attempt."""
    runtime = await driver.runtime(Uses)
    expected = ["client on base!", "base", "own", "client on base!"]
    with use_runtime(runtime):
        flow = Uses()
        assert await flow.run() == expected
        assert await flow.run() == expected
    assert sorted(LOG.made) == ["base", "client on base!", *["own"] * 8]
    assert LOG.closed == ["own"] * 8
    assert len(LOG.threads) == 1, "they are made where the async steps run"


async def test_resources_are_closed_when_the_worker_stops(driver: Driver) -> None:
    """The last one made is the first one closed."""
    runtime = await driver.runtime(Uses)
    with use_runtime(runtime):
        await Uses().run()
    await driver.stack.aclose()
    if isinstance(runtime, LocalRuntime):
        await runtime.aclose()
    assert LOG.closed[4:] == ["client on base!", "base"]


def test_resources_are_closed_with_the_event_loop() -> None:
    """In process nobody has to stop anything."""

    async def main() -> None:
        await Uses().run()
        assert LOG.closed == ["own"] * 4

    with use_runtime(LocalRuntime()):
        asyncio.run(main())
    assert LOG.closed[4:] == ["client on base!", "base"]


FAILURES: list[int] = []


async def make_flaky() -> str:
    """Fails for the first two times."""
    FAILURES.append(1)
    if len(FAILURES) < 3:
        raise ConnectionError("no route")
    return "connected"


def make_on_flaky(flaky: Annotated[str, Resource(make_flaky)]) -> str:
    """Needs one that fails."""
    return flaky.upper()


class Flaky(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(3)))
    async def connect(self, ctx: Context, ev: StartEvent, it: Annotated[str, Resource(make_on_flaky)]) -> StopEvent:
        return StopEvent(result=[it, ctx.retry_info().retry_number])


class FlakyOnce(Workflow):
    @step
    async def connect(self, ev: StartEvent, it: Annotated[str, Resource(make_on_flaky)]) -> StopEvent:
        return StopEvent(result=it)


async def test_a_factory_that_fails_is_tried_again_with_the_step(driver: Driver) -> None:
    """Each attempt asks it anew, until it succeeds."""
    FAILURES.clear()
    assert (await driver.see(Flaky)).result == ["CONNECTED", 2]


async def test_a_factory_that_fails_is_named(driver: Driver) -> None:
    """The failure of the step names the step, the factory, who needed it, and what it raised."""
    FAILURES.clear()
    error = (await driver.see(FlakyOnce)).error
    said = "step 'connect' cannot have resource 'make_on_flaky → make_flaky': ConnectionError: no route"
    assert said in str(error)


def make_a(b: "Annotated[str, Resource(make_b)]") -> str:  # pyright: ignore[reportUndefinedVariable]
    """Needs what needs it."""
    return b


def make_b(a: Annotated[str, Resource(make_a)]) -> str:
    """Needs what needs it."""
    return a


def make_odd(size: int) -> str:
    """Nobody knows the size."""
    return "x" * size


async def test_resources_in_a_circle_are_refused() -> None:
    """The message shows the circle."""

    class Circle(Workflow):
        @step
        async def work(self, ev: StartEvent, it: Annotated[str, Resource(make_a)]) -> StopEvent:
            return StopEvent()

    with pytest.raises(WorkflowConfigurationError, match="make_a → make_b → make_a"):
        await Circle().run()


async def test_a_factory_with_a_parameter_that_nothing_fills_is_refused() -> None:
    """The message names it and the remedy."""

    class Odd(Workflow):
        @step
        async def work(self, ev: StartEvent, it: Annotated[str, Resource(make_odd)]) -> StopEvent:
            return StopEvent()

    with pytest.raises(WorkflowConfigurationError, match="'make_odd' takes 'size', which nothing can fill"):
        await Odd().run()


class Settings(BaseModel):
    categories: list[str]


PLACE = Path("settings.json")


class Configured(Workflow):
    @step
    async def work(
        self,
        ev: StartEvent,
        settings: Annotated[Settings, ResourceConfig("settings.json", "sorting.main")],
        names: Annotated[list[str], ResourceConfig("settings.toml", "names")],
    ) -> StopEvent:
        return StopEvent(result=[*settings.categories, *names])


async def test_configuration_is_read_from_files(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON or TOML, or a part of it, as the type that the parameter has."""
    monkeypatch.chdir(tmp_path)
    PLACE.write_text(json.dumps({"sorting": {"main": {"categories": ["a", "b"]}}}))
    Path("settings.toml").write_text('names = ["ann"]')
    assert (await driver.see(Configured)).result == ["a", "b", "ann"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "FileNotFoundError"),
        ("{}", "the file has nothing at 'sorting.main'"),
        ('{"sorting": {"main": {"categories": 3}}}', "categories: Input should be a valid list"),
    ],
)
async def test_bad_configuration_is_named(
    text: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure names the file, the part, and what is wrong."""
    monkeypatch.chdir(tmp_path)
    if text is not None:
        PLACE.write_text(text)
    with pytest.raises(Exception, match=rf"step 'work' cannot have resource 'settings.json:sorting.main': .*{said}"):
        await Configured().run()


def test_validate_reads_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not there, or does not fit, is told before any run, with the step and the parameter."""
    monkeypatch.chdir(tmp_path)
    assert Configured().validate(validate_resource_configs=False) is False
    with pytest.raises(WorkflowValidationError, match=r"takes 'settings' from settings.json:sorting.main") as told:
        Configured().validate()
    assert len(told.value.problems) == 2


def test_configuration_of_another_kind_is_refused() -> None:
    """Where it is declared."""
    with pytest.raises(WorkflowConfigurationError, match="end"):
        ResourceConfig("settings.yaml")


class Hangs(Workflow):
    @step(timeout=0.1)
    async def work(self, ev: StartEvent, it: Annotated[None, Resource(lambda: asyncio.sleep(30))]) -> StopEvent:
        return StopEvent()


async def test_a_factory_that_hangs_is_bounded_by_the_step_timeout(driver: Driver) -> None:
    """What a resource takes to be made is part of the attempt."""
    assert "did not finish within its timeout of 0.1 s" in str((await driver.see(Hangs)).error)
