"""State with a type: defaults, paths into models, refusals where a value is set, the state at both ends of a run."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, Field, field_validator

from everstep import Context, Workflow, step
from everstep.errors import ContextStateError, StateValueError, WorkflowValidationError
from everstep.events import Event, StartEvent, StopEvent
from everstep.state_store import DictState
from tests.support.drivers import Driver


class Item(BaseModel):
    name: str
    price: int = 0


class Base(BaseModel):
    count: int = 0


class Shop(Base):
    items: list[Item] = []
    by_name: dict[str, Item] = {}
    opened: datetime = Field(default_factory=lambda: datetime.now(UTC))
    note: str | None = None

    @field_validator("note")
    @classmethod
    def _quiet(cls, note: str | None) -> str | None:
        if note == "loud":
            raise ValueError("not so loud")
        return note


class Next(Event):
    pass


class Typed(Workflow):
    """Only its second step says more than the first of the state."""

    @step
    async def write(self, ctx: Context[Base], ev: StartEvent) -> Next:
        store = ctx.store
        opened = await store.get("opened")
        assert isinstance(opened, datetime)
        await store.set("items", [Item(name="tea"), {"name": "milk", "price": 2}])
        await store.set("items.0.price", "3")
        await store.set("by_name.tea", Item(name="tea", price=3))
        await store.set("by_name.tea.price", 4)
        await store.set("count", 1)
        await store.delete("count")
        return Next()

    @step
    async def read(self, ctx: Context[Shop], ev: Next) -> StopEvent:
        state = await ctx.store.get_state()
        assert isinstance(state, Shop)
        assert (await ctx.store.get("items.0")) == state.items[0] == Item(name="tea", price=3)
        assert isinstance(await ctx.store.get("by_name.tea"), Item)
        state.count = 7
        assert await ctx.store.get("count") == 0, "a copy"
        await ctx.store.set_state(state)
        missing = await ctx.store.get("items.5", default="missing")
        return StopEvent(result=[await ctx.store.get("count"), await ctx.store.get("by_name.tea.price"), missing])


async def test_a_typed_state_has_defaults_and_typed_values(driver: Driver) -> None:
    """Every step sees the most derived type: values come as its types, and what is set is kept as its JSON."""
    handler = await driver.run(Typed)
    assert await handler == [7, 4, "missing"]
    state = await handler.state()
    assert state["items"] == [{"name": "tea", "price": 3}, {"name": "milk", "price": 2}]
    typed = await handler.ctx.store.get_state()
    assert isinstance(typed, Shop)
    assert typed.count == 7
    assert await handler.ctx.store.get("items.1.name") == "milk"


class Keeps(Workflow):
    @step
    async def first(self, ctx: Context[Shop], ev: StartEvent) -> Next:
        await ctx.store.set("note", str(await ctx.store.get("opened")))
        return Next()

    @step
    async def second(self, ctx: Context, ev: Next) -> StopEvent:
        return StopEvent(result=await ctx.store.get("note") == str(await ctx.store.get("opened")))


async def test_defaults_are_made_once(driver: Driver) -> None:
    """A default that is new each time, as a time stamp, is the same for all steps of a run."""
    assert await (await driver.run(Keeps)) is True


class Sets(Workflow):
    """Sets one thing, and says how that went."""

    @step
    async def write(self, ctx: Context[Shop], ev: StartEvent) -> StopEvent:
        values: dict[str, Any] = {"object": object(), "nested": {"a": [1, {"b": {1, object()}}]}, "nan": float("nan")}
        value = values.get(ev.value, ev.value) if isinstance(ev.value, str) else ev.value
        try:
            await ctx.store.set(ev.path, value)
        except StateValueError as error:
            return StopEvent(result=str(error))
        return StopEvent(result="taken")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("count", "many", "the state cannot be set at 'count': the state does not fit Shop: count: Input should be"),
        ("items.1", {}, "the state cannot be set at 'items.1': the state has nothing at 'items.1': '1' is missing"),
        (
            "items.0",
            {},
            "set at 'items.0': the state does not fit Shop: items.0.name: Field required",
        ),
        ("by_name.tea", {"price": 1}, "by_name.tea.name: Field required"),
        ("note", "loud", "note: Value error, not so loud"),
        ("typo", 1, "the state cannot be set at 'typo': Shop declares no such field"),
        ("note", "object", "the state at 'note' cannot hold a object"),
        ("by_name.x", "nested", "the state at 'by_name.x.a.1.b."),
        ("count", "nan", "the state at 'count' cannot hold a float"),
    ],
)
async def test_a_wrong_value_is_refused_where_it_is_set(path: str, value: Any, said: str) -> None:
    """The message has the path, and says what does not fit; nothing is set."""
    handler = Sets().run(path=path, value=value)
    assert said in await handler
    assert (await handler.ctx.store.get_state()).note is None


async def test_a_wrong_value_is_refused_on_every_driver(driver: Driver) -> None:
    """The model judges, wherever the step runs."""
    assert "count: Input should be a valid integer" in await (await driver.run(Sets, path="count", value="many"))


class Clears(Workflow):
    @step
    async def write(self, ctx: Context, ev: StartEvent) -> Next:
        await ctx.store.set_state(DictState(a={"b": 1}, c=2))
        return Next()

    @step
    async def clear(self, ctx: Context, ev: Next) -> StopEvent:
        state = await ctx.store.get_state()
        assert (state["c"], state.a, state.get("x", 0)) == (2, {"b": 1}, 0)
        await ctx.store.set("lost", True)
        await ctx.store.clear()
        await ctx.store.set("kept", True)
        return StopEvent(result=await ctx.store.to_dict())


async def test_a_state_without_type_is_set_and_cleared_as_a_whole(driver: Driver) -> None:
    """`set_state` replaces, `clear` leaves nothing, and what is set after it stands."""
    seen = await driver.see(Clears, ctx={"old": 1})
    assert seen.result == seen.state == {"kept": True}


class ClearsTyped(Workflow):
    @step
    async def clear(self, ctx: Context[Shop], ev: StartEvent) -> Next:
        await ctx.store.clear()
        await ctx.store.set("note", "new")
        return Next()

    @step
    async def part(self, ctx: Context, ev: Next) -> StopEvent:
        await ctx.store.set_state(Base(count=9))
        state = await ctx.store.get_state()
        return StopEvent(result=[state.count, state.note])


async def test_a_typed_state_is_cleared_to_its_defaults(driver: Driver) -> None:
    """And a state of a base type replaces the fields that the base has."""
    assert await (await driver.run(ClearsTyped, ctx=Shop(count=5, note="old"))) == [9, "new"]


class Counts(Workflow):
    @step
    async def count(self, ctx: Context[Base], ev: StartEvent) -> StopEvent:
        state = await ctx.store.get_state()
        await ctx.store.set("count", state.count + 1)
        return StopEvent(result=state.count + 1)


@pytest.mark.parametrize("begin", [{"count": 4}, Base(count=4)], ids=["dict", "model"])
async def test_a_run_begins_with_a_typed_state(driver: Driver, begin: Any) -> None:
    """Given as its type or as plain data."""
    seen = await driver.see(Counts, ctx=begin)
    assert (seen.result, seen.state) == (5, {"count": 5})


async def test_a_state_is_carried_into_the_next_run(driver: Driver) -> None:
    """A run that is given another run's context begins with its state."""
    first = await driver.run(Counts)
    await first
    second = await driver.run(Counts, ctx=first.ctx)
    assert await second == 2
    assert await first.state() == {"count": 1}


async def test_a_state_that_does_not_fit_starts_no_run(driver: Driver) -> None:
    """The refusal comes from `run`, before anything has begun."""
    with pytest.raises(StateValueError, match="does not fit Base: count"):
        await driver.run(Counts, ctx={"count": "many"})
    with pytest.raises(StateValueError, match="given as a dict or a model, not with a int; the start event"):
        await driver.run(Counts, ctx=3)


class Needs(BaseModel):
    name: str


class SetsFirst(Workflow):
    """The field of its state has no default, and is set before it is read."""

    @step
    async def write(self, ctx: Context[Needs], ev: StartEvent) -> StopEvent:
        with pytest.raises(StateValueError, match=r"does not fit Needs: name: Field required.*run\(ctx=Needs"):
            await ctx.store.get_state()
        await ctx.store.set_state(Needs(name="ann"))
        return StopEvent(result=await ctx.store.get("name"))


async def test_a_state_without_defaults_can_be_set_by_a_step(driver: Driver) -> None:
    """Until then, reading it says what is missing and how to give it."""
    assert await (await driver.run(SetsFirst)) == "ann"


def test_unrelated_state_types_are_refused() -> None:
    """The message names the steps and the types."""

    class Two(Workflow):
        @step
        async def one(self, ctx: Context[Base], ev: StartEvent) -> Next:
            return Next()

        @step
        async def two(self, ctx: Context[Item], ev: Next) -> StopEvent:
            return StopEvent()

    with pytest.raises(WorkflowValidationError, match="'one' and 'two' of Two declare the unrelated state types Base"):
        Two()


def test_a_state_type_is_a_model() -> None:
    """Another class is refused, with the remedy."""

    class Plain(Workflow):
        @step
        async def one(self, ctx: Context[dict], ev: StartEvent) -> StopEvent:
            return StopEvent()

    with pytest.raises(WorkflowValidationError, match="a state type is a pydantic model"):
        Plain()


async def test_concurrent_steps_see_their_own_copies() -> None:
    """What one attempt reads and changes in place is its own."""

    class Own(Workflow):
        @step
        async def one(self, ctx: Context, ev: StartEvent) -> StopEvent:
            first, second = await asyncio.gather(ctx.store.get("list"), ctx.store.get("list"))
            first.append(1)
            return StopEvent(result=second)

    assert await Own().run(ctx={"list": []}) == []


async def test_keys_of_a_state_are_without_dots() -> None:
    """They could not be told from paths."""
    with pytest.raises(StateValueError, match=r"cannot have the key 'a\.b'"):
        Clears().run(ctx={"a.b": 1})
    assert issubclass(StateValueError, ContextStateError)
