"""Which step takes which event: branches, loops, several takers, subclasses; and where a step runs."""

import asyncio
import threading

from everstep import Context, Workflow, step
from everstep.events import Event, StartEvent, StopEvent
from tests.support.drivers import Driver


class Small(Event):
    amount: int


class Large(Event):
    amount: int


class Branching(Workflow):
    @step
    async def judge(self, ev: StartEvent) -> Small | Large | StopEvent:
        if ev.amount == 0:
            return StopEvent(result="nothing")
        return Small(amount=ev.amount) if ev.amount < 100 else Large(amount=ev.amount)

    @step
    async def small(self, ev: Small) -> StopEvent:
        return StopEvent(result=f"small {ev.amount}")

    @step
    async def large(self, ev: Large) -> StopEvent:
        return StopEvent(result=f"large {ev.amount}")


class Either(Workflow):
    @step
    async def judge(self, ev: StartEvent) -> Small | Large:
        return Small(amount=ev.amount) if ev.amount < 100 else Large(amount=ev.amount)

    @step
    async def end(self, ev: Small | Large) -> StopEvent:
        return StopEvent(result=type(ev).__name__)


async def test_a_union_branches(driver: Driver) -> None:
    """A step that returns one of several events leads to the step that takes it."""
    flow = Branching()
    assert [await (await driver.run(flow, amount=amount)) for amount in (0, 5, 500)] == [
        "nothing",
        "small 5",
        "large 500",
    ]


async def test_a_step_takes_a_union(driver: Driver) -> None:
    """A step that accepts several events gets each as its own class."""
    flow = Either()
    assert [await (await driver.run(flow, amount=amount)) for amount in (5, 500)] == ["Small", "Large"]


class Draft(Event):
    text: str
    tries: int


class Looping(Workflow):
    @step
    async def write(self, ev: StartEvent | Draft) -> Draft | StopEvent:
        text, tries = (ev.text, ev.tries) if isinstance(ev, Draft) else ("", 0)
        if len(text) >= ev.get("length", 5):
            return StopEvent(result=[text, tries])
        return Draft(text=text + "x", tries=tries + 1)


async def test_a_loop_ends_when_its_step_says_so(driver: Driver) -> None:
    """A step that accepts what it returns runs again until it returns something else."""
    seen = await driver.see(Looping)
    assert seen.result == ["xxxxx", 5]
    assert seen.types() == ["StopEvent"]


class InThreads(Workflow):
    @step
    def begin(self, ev: StartEvent) -> Small:
        return Small(amount=ev.amount + (threading.current_thread() is threading.main_thread()))

    @step
    def end(self, ev: Small) -> StopEvent:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return StopEvent(result=ev.amount)
        return StopEvent(result="on a loop")


async def test_sync_steps_run_in_threads(driver: Driver) -> None:
    """A plain function is a step too; it runs on no event loop and not in the main thread."""
    assert (await driver.see(InThreads, amount=7)).result == 7


class Told(Event):
    by: str


class SeveralTakers(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> Small:
        return Small(amount=3)

    @step
    async def double(self, ctx: Context, ev: Small) -> Told:
        await ctx.store.set("double", ev.amount * 2)
        return Told(by="double")

    @step
    async def triple(self, ctx: Context, ev: Small) -> Told:
        await ctx.store.set("triple", ev.amount * 3)
        return Told(by="triple")

    @step(num_workers=1)
    async def end(self, ctx: Context, ev: Told) -> StopEvent | None:
        told = [*await ctx.store.get("told", default=[]), ev.by]
        await ctx.store.set("told", told)
        return StopEvent(result=sorted(told)) if len(told) == 2 else None


async def test_each_step_that_accepts_an_event_gets_it(driver: Driver) -> None:
    """Two steps that take the same event both run, each on its own delivery."""
    seen = await driver.see(SeveralTakers)
    assert seen.result == ["double", "triple"]
    assert (seen.state["double"], seen.state["triple"]) == (6, 9)


class Animal(Event):
    name: str


class Cat(Animal):
    lives: int = 9


class Kitten(Cat):
    """Not named in any annotation: known because it is loaded, and a subclass of what is."""


class Zoo(Workflow):
    @step
    async def begin(self, ev: StartEvent) -> Animal:
        return Kitten(name="Mia") if ev.kitten else Animal(name="Rex")

    @step(accept_event_subclasses=True)
    async def feed(self, ev: Animal) -> StopEvent:
        return StopEvent(result=[type(ev).__name__, ev.name, ev.get("lives")])


async def test_a_step_that_wants_them_takes_subclasses(driver: Driver) -> None:
    """With accept_event_subclasses a step takes a subclass that no annotation names, as what it is."""
    flow = Zoo()
    assert await (await driver.run(flow, kitten=True)) == ["Kitten", "Mia", 9]
    assert await (await driver.run(flow, kitten=False)) == ["Animal", "Rex", None]


class Elsewhere(Workflow):
    @step(local=True)
    async def here(self, ctx: Context, ev: StartEvent) -> Small:
        await ctx.store.set("here", await ctx.store.get("here", default=0) + 1)
        ctx.write_event_to_stream(Told(by="here"))
        return Small(amount=ev.amount + 1)

    @step(task_queue="contract-elsewhere")
    def there(self, ev: Small) -> Large:
        return Large(amount=ev.amount * 10)

    @step(local=True)
    def end(self, ev: Large) -> StopEvent:
        return StopEvent(result=ev.amount)


async def test_where_a_step_runs_changes_nothing(driver: Driver) -> None:
    """Steps in the workflow's own worker and on a task queue of their own act as any other."""
    await driver.serve(Elsewhere, "contract-elsewhere")
    seen = await driver.see(Elsewhere, amount=1)
    assert seen.result == 20
    assert seen.state == {"here": 1}
    assert seen.events == [Told(by="here"), StopEvent(result=20)]


class LocalLoop(Workflow):
    @step(local=True)
    async def count(self, ctx: Context, ev: StartEvent | Small) -> Small | StopEvent:
        n = await ctx.store.get("n", default=0)
        await ctx.store.set("n", n + 1)
        return Small(amount=n) if n < 119 else StopEvent(result=n)


async def test_a_long_chain_of_local_steps_keeps_its_state(driver: Driver) -> None:
    """A hundred local steps in a row each see what the one before has set."""
    seen = await driver.see(LocalLoop)
    assert (seen.result, seen.state) == (119, {"n": 120})
