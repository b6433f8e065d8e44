"""The state of a run: dotted paths, what steps see of each other, and that effects commit together."""

from datetime import UTC, datetime

from pydantic import BaseModel

from everstep import Context, Workflow, step
from everstep.events import Event, StartEvent, StopEvent
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from tests.support.drivers import Driver


class Next(Event):
    pass


class Cart(BaseModel):
    items: list[str]
    at: datetime


class Paths(Workflow):
    @step
    async def write(self, ctx: Context, ev: StartEvent) -> Next:
        store = ctx.store
        await store.set("cart", Cart(items=["tea"], at=datetime(2026, 1, 2, tzinfo=UTC)))
        await store.set("deep.er.value", 1)
        await store.set("list", [{"n": 1}, {"n": 2}])
        await store.set("list.1.n", 5)
        await store.set("list.2", {"n": 3})
        await store.set("gone.soon", True)
        await store.delete("gone.soon")
        assert await store.get("deep.er.value") == 1
        return Next()

    @step
    async def read(self, ctx: Context, ev: Next) -> StopEvent:
        items = await ctx.store.get("cart.items")
        items.append("not kept: a copy")
        await ctx.store.set("deep.er.value", await ctx.store.get("deep.er.value") + 1)
        missing = await ctx.store.get("gone.soon", default="missing")
        return StopEvent(result=[await ctx.store.get("cart.items.0"), await ctx.store.get("list.1.n"), missing])


async def test_state_is_set_read_and_deleted_by_path(driver: Driver) -> None:
    """What one step sets by dotted path, the next one reads; models become JSON, lists grow, deletions hold."""
    seen = await driver.see(Paths)
    assert seen.result == ["tea", 5, "missing"]
    assert seen.state == {
        "cart": {"items": ["tea"], "at": "2026-01-02T00:00:00Z"},
        "deep": {"er": {"value": 2}},
        "list": [{"n": 1}, {"n": 5}, {"n": 3}],
        "gone": {},
    }


class BadPath(Workflow):
    @step
    async def read(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await ctx.store.get(ev.path))


async def test_a_path_that_leads_nowhere_is_named(driver: Driver) -> None:
    """Reading what is not there, without a default, fails the step and says what is missing."""
    seen = await driver.see(BadPath, path="no.where")
    assert "the state has nothing at 'no.where': 'no' is missing; set it first" in str(seen.error)


async def test_a_run_begins_with_the_state_it_is_given(driver: Driver) -> None:
    """A run may start with a state, which its first step reads."""
    seen = await driver.see(BadPath, ctx={"a": {"b": 3}}, path="a.b")
    assert (seen.result, seen.state) == (3, {"a": {"b": 3}})


class Mark(Event):
    attempt: int


class Together(Workflow):
    """Its step fails after it has set, sent and shown, and succeeds at the third attempt."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(3)))
    async def write(self, ctx: Context, ev: StartEvent) -> Next | Mark:
        attempt = ctx.retry_info().retry_number
        await ctx.store.set(f"attempt-{attempt}", True)
        await ctx.store.set("last", attempt)
        ctx.send_event(Mark(attempt=attempt))
        if attempt < 2:
            raise ValueError("not yet")
        return Next()

    @step(num_workers=1)
    async def note(self, ctx: Context, ev: Mark | Next) -> StopEvent | None:
        notes = [*await ctx.store.get("notes", default=[]), ev.get("attempt", "next")]
        await ctx.store.set("notes", notes)
        return StopEvent(result=notes) if len(notes) == 2 else None


async def test_a_failed_attempt_leaves_nothing_behind(driver: Driver) -> None:
    """What an attempt sets and sends takes effect only when it succeeds: all of it, once; sent before returned."""
    seen = await driver.see(Together)
    assert seen.result == [2, "next"]
    assert seen.state == {"attempt-2": True, "last": 2, "notes": [2, "next"]}


class FailsForGood(Workflow):
    @step
    async def write(self, ctx: Context, ev: StartEvent) -> Next:
        await ctx.store.set("kept", True)
        return Next()

    @step
    async def fail(self, ctx: Context, ev: Next) -> StopEvent:
        await ctx.store.set("lost", True)
        raise RuntimeError("no")


async def test_a_failed_step_changes_no_state(driver: Driver) -> None:
    """The state of a failed run is that of the steps that succeeded."""
    assert (await driver.see(FailsForGood)).state == {"kept": True}


class Growing(Workflow):
    """Its state soon is larger than what rides along with each call."""

    @step
    async def write(self, ctx: Context, ev: StartEvent | Next) -> Next | StopEvent:
        pages = await ctx.store.get("pages", default=[])
        total = sum(len(page) for page in pages)
        if total >= ev.get("enough", 30_000):
            return StopEvent(result=[len(pages), total])
        await ctx.store.set("pages", [*pages, "x" * 6_000])
        return Next()


async def test_a_large_state_is_read_like_a_small_one(driver: Driver) -> None:
    """A state of tens of kilobytes is seen whole, and up to date, by each step."""
    seen = await driver.see(Growing)
    assert seen.result == [5, 30_000]
    assert [len(page) for page in seen.state["pages"]] == [6_000] * 5
