"""`ctx.collect_events`: batches complete once, in the order wanted; nothing is lost, whatever runs at one time."""

import asyncio
from collections import Counter

from everstep import Context, Workflow, step
from everstep.events import Event, StartEvent, StopEvent
from tests.support.drivers import Driver


class A(Event):
    n: int = 0
    group: str = ""


class B(Event):
    n: int = 0
    group: str = ""


class Batch(Event):
    what: list[str]


def named(events: list[Event]) -> list[str]:
    """Events in short: class and number."""
    return [f"{type(event).__name__}{event.get('n')}" for event in events]


class Ordered(Workflow):
    """Sends events in one order, wants them in another."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> A | B | None:
        for kind in ev.order:
            ctx.send_event((A if kind[0] == "A" else B)(n=int(kind[1:])))
        return None

    @step(num_workers=1)
    async def gather(self, ctx: Context, ev: A | B) -> Batch | None:
        found = ctx.collect_events(ev, [B, A, A])
        return None if found is None else Batch(what=named(found))

    @step(num_workers=1)
    async def end(self, ctx: Context, ev: Batch) -> StopEvent | None:
        batches = [*await ctx.store.get("batches", default=[]), ev.what]
        await ctx.store.set("batches", batches)
        return StopEvent(result=batches) if len(batches) == 2 else None


async def test_a_batch_comes_in_the_expected_order(driver: Driver) -> None:
    """Each type as often as it is wanted; among events of one type the older first; surplus stays for the next."""
    seen = await driver.see(Ordered, order=["A1", "A2", "A3", "B1", "A4", "B2"])
    assert seen.result == [["B1", "A1", "A2"], ["B2", "A3", "A4"]]


class Racing(Workflow):
    """Many events, many workers, which all are told "not yet" before any of them has ended."""

    @step
    async def begin(self, ev: StartEvent) -> list[A]:
        return [A(n=n) for n in range(ev.count)]

    @step(num_workers=8)
    async def work(self, ctx: Context, ev: A) -> Batch | B | None:
        found = ctx.collect_events(ev, [A, A, A])
        ctx.send_event(B(n=ev.n))
        await asyncio.sleep(0.01)
        return None if found is None else Batch(what=named(found))

    @step(num_workers=1)
    async def count(self, ctx: Context, ev: Batch | B) -> StopEvent | None:
        key = "batches" if isinstance(ev, Batch) else "told"
        await ctx.store.set(key, [*await ctx.store.get(key, default=[]), *(ev.what if key == "batches" else [ev.n])])
        done = [len(await ctx.store.get(name, default=[])) for name in ("batches", "told")]
        return StopEvent(result=await ctx.store.to_dict()) if done == [24, 24] else None


async def test_no_batch_is_lost_or_fired_twice(driver: Driver) -> None:
    """With many workers every event is in one batch; a pass that was told wrongly leaves no effects."""
    seen = await driver.see(Racing, count=24)
    assert Counter(seen.result["batches"]) == Counter(f"A{n}" for n in range(24))
    assert sorted(seen.result["told"]) == list(range(24))


class Buffers(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> A | None:
        for n, group in enumerate("xyxyzx"):
            ctx.send_event(A(n=n, group=group))
        return None

    @step(num_workers=1)
    async def gather(self, ctx: Context, ev: A) -> Batch | None:
        found = ctx.collect_events(ev, [A, A], buffer_id=ev.group)
        return None if found is None else Batch(what=named(found))

    @step(num_workers=1)
    async def end(self, ctx: Context, ev: Batch) -> StopEvent | None:
        batches = [*await ctx.store.get("batches", default=[]), ev.what]
        await ctx.store.set("batches", batches)
        return StopEvent(result=batches) if len(batches) == 2 else None


async def test_buffers_are_apart(driver: Driver) -> None:
    """A buffer id of one's own keeps batches side by side."""
    assert (await driver.see(Buffers)).result == [["A0", "A2"], ["A1", "A3"]]


class Odd(Workflow):
    """Expects nothing, or something else; a sync step."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> A | B | None:
        ctx.send_event(B(n=1))
        ctx.send_event(A(n=2))
        return None

    @step(num_workers=1)
    def gather(self, ctx: Context, ev: A | B) -> StopEvent | None:
        assert ctx.collect_events(ev, []) == []
        found = ctx.collect_events(ev, [A])
        return None if found is None else StopEvent(result=named(found))


async def test_what_is_not_expected_is_not_kept(driver: Driver) -> None:
    """An event of another class brings None; nothing expected is complete at once; a sync step may collect."""
    assert (await driver.see(Odd)).result == ["A2"]


class AndWaits(Workflow):
    """Collects, and then waits: the pass behind the wait is told the same."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> A | None:
        for n in range(3):
            ctx.send_event(A(n=n))
        return None

    @step
    async def gather(self, ctx: Context, ev: A) -> StopEvent | None:
        found = ctx.collect_events(ev, [A, A, A])
        if found is None:
            return None
        await ctx.store.set("asked", await ctx.store.get("asked", default=0) + 1)
        answer = await ctx.wait_for_event(B, requirements={"n": 7})
        return StopEvent(result=[*sorted(named(found)), answer.group])


async def test_a_batch_survives_a_wait(driver: Driver) -> None:
    """The step that has the batch may wait, and has it still when it is answered."""
    handler = await driver.run(AndWaits)
    await handler.send_event(B(n=7, group="go"))
    seen = await driver.seen(handler)
    assert (seen.result, seen.state) == (["A0", "A1", "A2", "go"], {"asked": 1})


class Shows(Workflow):
    """Publishes before it collects; both events are worked on at one time."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> A | None:
        ctx.send_event(A(n=1))
        ctx.send_event(A(n=2))
        return None

    @step
    async def gather(self, ctx: Context, ev: A) -> StopEvent | None:
        ctx.write_event_to_stream(B(n=ev.n))
        await asyncio.sleep(0.05 * ev.n)
        found = ctx.collect_events(ev, [A, A])
        return None if found is None else StopEvent(result=named(found))


async def test_what_a_dropped_pass_showed_can_be_told_apart(driver: Driver) -> None:
    """It stays on the stream; the pass that has the batch shows its events under the next attempt number."""
    seen = await driver.see(Shows)
    assert seen.result == ["A1", "A2"]
    shown = sorted((item.event.n, item.attempt) for item in seen.items if isinstance(item.event, B))
    assert shown == [(1, 1), (2, 1), (2, 2)]
