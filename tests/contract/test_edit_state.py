"""`edit_state`: one block at a time on the newest state, committed once, whatever becomes of the attempt."""

import asyncio

import pytest
from pydantic import BaseModel

from everstep import Context, Workflow, step
from everstep.errors import ContextStateError, StateValueError
from everstep.events import Event, StartEvent, StopEvent
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from tests.support.drivers import Driver

RETRIES = retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(5))


class Add(Event):
    number: int


class Added(Event):
    saw: int


class Tally(BaseModel):
    count: int = 0
    seen: list[int] = []


class Adds(Workflow):
    """Many steps at one time add to one counter; each lets others run within its block."""

    @step
    async def begin(self, ev: StartEvent) -> list[Add]:
        return [Add(number=number) for number in range(ev.steps)]

    @step(num_workers=20)
    async def add(self, ctx: Context[Tally], ev: Add) -> Added:
        async with ctx.store.edit_state() as state:
            saw = state.count
            await asyncio.sleep(0.001)
            state.count = saw + 1
            state.seen.append(ev.number)
        return Added(saw=saw)

    @step
    async def end(self, ctx: Context, ev: list[Added]) -> StopEvent:
        assert sorted(added.saw for added in ev) == list(range(len(ev)))
        return StopEvent(result=await ctx.store.get("count"))


async def test_no_change_is_lost_to_another_step(driver: Driver) -> None:
    """Each block sees what the one before it has left."""
    seen = await driver.see(Adds, steps=30)
    assert (seen.error, seen.result) == (None, 30)
    assert sorted(seen.state["seen"]) == list(range(30))


class Retried(Workflow):
    """Each of its attempts edits the state twice; the first ones fail in between or afterwards."""

    @step(retry_policy=RETRIES)
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        attempt = ctx.retry_info().retry_number
        async with ctx.store.edit_state() as state:
            first = state.get("first", 0)
            state["first"] = first + 1
        if attempt == 0:
            raise ValueError("between")
        async with ctx.store.edit_state() as state:
            second = state.get("second", 0)
            state["second"] = second + 1
        if attempt == 1:
            raise ValueError("after")
        both = [await ctx.store.get("first"), await ctx.store.get("second")]
        return StopEvent(result=[attempt, first, second, *both])


async def test_a_block_is_applied_once_over_all_attempts(driver: Driver) -> None:
    """The attempts after it see the state that the first one saw, and commit nothing again."""
    seen = await driver.see(Retried)
    assert seen.result == [2, 0, 0, 1, 1]
    assert seen.state == {"first": 1, "second": 1}


class Raises(Workflow):
    @step(retry_policy=RETRIES)
    async def work(self, ctx: Context[Tally], ev: StartEvent) -> StopEvent:
        attempt = ctx.retry_info().retry_number
        async with ctx.store.edit_state() as state:
            state.count += 1
            if attempt < 2:
                raise ValueError("within")
        return StopEvent(result=attempt)


async def test_a_block_that_raises_changes_nothing(driver: Driver) -> None:
    """And the lock is free for the next attempt."""
    seen = await driver.see(Raises)
    assert (seen.result, seen.state["count"]) == (2, 1)


class Committed(Workflow):
    @step
    async def work(self, ctx: Context[Tally], ev: StartEvent) -> StopEvent:
        await ctx.store.set("seen", [1])
        async with ctx.store.edit_state() as state:
            state.count += 1
        raise ValueError("for good")


async def test_a_block_stays_when_its_step_fails(driver: Driver) -> None:
    """It is committed when it ends; what was only set is lost with the step."""
    seen = await driver.see(Committed)
    assert seen.state == {"count": 1, "seen": []}


class Mixed(Workflow):
    """Sets what it then edits."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("a", {"x": 1, "y": 1})
        await ctx.store.set("b", 1)
        async with ctx.store.edit_state() as state:
            state["a"]["x"] += 1
            state["b"] += 1
            assert await ctx.store.get("b") == 1
            with pytest.raises(ContextStateError, match="set cannot be used inside of an edit_state block"):
                await ctx.store.set("b", 5)
            with pytest.raises(ContextStateError, match="edit_state cannot be used inside"):
                async with ctx.store.edit_state():
                    pass
        await ctx.store.set("c", await ctx.store.get("a.x"))
        return StopEvent()


async def test_blocks_and_plain_changes_fit_together(driver: Driver) -> None:
    """A block sees what its step has set before, and what it makes of it is not undone by that."""
    seen = await driver.see(Mixed)
    assert (seen.error, seen.state) == (None, {"a": {"x": 2, "y": 1}, "b": 2, "c": 2})


class Misfits(Workflow):
    @step
    async def work(self, ctx: Context[Tally], ev: StartEvent) -> StopEvent:
        said: list[str] = []
        for value in ("many", object()):
            try:
                async with ctx.store.edit_state() as state:
                    state.count = value  # pyright: ignore[reportAttributeAccessIssue]
            except StateValueError as error:
                said.append(str(error))
        return StopEvent(result=said)


async def test_a_block_whose_state_does_not_fit_is_refused(driver: Driver) -> None:
    """At its end, with the path."""
    seen = await driver.see(Misfits)
    assert "does not fit Tally: count: Input should be a valid integer" in seen.result[0]
    assert "the state at 'count' cannot hold a object" in seen.result[1]
    assert seen.state["count"] == 0


class Local(Workflow):
    @step(local=True)
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        async with ctx.store.edit_state():
            pass
        return StopEvent()


async def test_local_steps_cannot_edit(driver: Driver) -> None:
    """The refusal names the step and the remedy."""
    assert "step 'work' is local=True, and a local step cannot use edit_state" in str((await driver.see(Local)).error)


class TimesOut(Workflow):
    """Its first attempt hangs within its block; another step waits for the lock."""

    @step
    async def begin(self, ev: StartEvent) -> list[Add]:
        return [Add(number=0), Add(number=1)]

    @step(timeout=0.3, retry_policy=RETRIES)
    async def add(self, ctx: Context[Tally], ev: Add) -> Added:
        if ev.number:
            await asyncio.sleep(0.05)
        async with ctx.store.edit_state() as state:
            if not ev.number and not ctx.retry_info().retry_number:
                await asyncio.sleep(60)
            state.count += 1
        return Added(saw=state.count)

    @step
    async def end(self, ctx: Context[Tally], ev: list[Added]) -> StopEvent:
        return StopEvent(result=await ctx.store.get("count"))


async def test_an_attempt_that_is_given_up_keeps_no_lock(driver: Driver) -> None:
    """When its time is over, the next in turn has the lock."""
    assert await (await driver.run(TimesOut)) == 2


class Waits(Workflow):
    """Ends while some of its steps wait for the lock."""

    @step
    async def begin(self, ev: StartEvent) -> list[Add]:
        return [Add(number=number) for number in range(4)]

    @step
    async def add(self, ctx: Context[Tally], ev: Add) -> StopEvent | None:
        async with ctx.store.edit_state() as state:
            await asyncio.sleep(0.2)
            state.count += 1
        return StopEvent(result=ev.number)


async def test_a_run_ends_while_steps_wait_for_the_lock(driver: Driver) -> None:
    """They are told, and the run completes."""
    seen = await driver.see(Waits)
    assert seen.error is None
    assert seen.state["count"] in (1, 2)


class Go(Event):
    pass


class EditsAndWaits(Workflow):
    """Edits before a wait and behind it; while it waits, another step edits too."""

    @step
    async def begin(self, ev: StartEvent) -> list[Add]:
        return [Add(number=0), Add(number=1)]

    @step(retry_policy=RETRIES)
    async def add(self, ctx: Context[Tally], ev: Add) -> Added:
        if ev.number:
            return await self.other(ctx)
        await ctx.store.set("seen", [5])
        async with ctx.store.edit_state() as state:
            first = [state.count, *state.seen]
            state.count += 1
        await ctx.wait_for_event(Go)
        between = await ctx.store.get("count")
        async with ctx.store.edit_state() as state:
            state.seen += [*first, between, state.count]
            state.count += 1
        if not ctx.retry_info().retry_number:
            raise ValueError("once more")
        return Added(saw=0)

    async def other(self, ctx: Context[Tally]) -> Added:
        """Adds ten when the first block was committed, and lets the other step go on."""
        while True:
            async with ctx.store.edit_state() as state:
                done = state.count
                state.count += 10 if done else 0
            if done:
                ctx.send_event(Go())
                return Added(saw=done)
            await asyncio.sleep(0.02)

    @step
    async def end(self, ctx: Context, ev: list[Added]) -> StopEvent:
        return StopEvent(result=await ctx.store.to_dict())


async def test_blocks_before_a_wait_are_applied_once(driver: Driver) -> None:
    """The pass behind the wait sees in them what the first one saw; new ones see what others did meanwhile."""
    seen = await driver.see(EditsAndWaits)
    assert seen.error is None
    assert seen.result == {"count": 12, "seen": [5, 0, 5, 11, 11]}
