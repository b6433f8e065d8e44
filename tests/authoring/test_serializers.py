"""Serializers and stores of `everstep.context`: what they write, what they build, and what they refuse to."""

import dataclasses
import sys
from contextlib import suppress
from typing import Any

import pytest
from pydantic import BaseModel

from everstep.context import BaseSerializer, JsonSerializer, PickleSerializer
from everstep.context.state_store import DictState, InMemoryStateStore
from everstep.errors import ContextSerdeError, ContextStateError, StateValueError
from everstep.events import Event


class Found(Event):
    score: float


class Invoice(BaseModel):
    total: int = 0
    lines: list[str] = []


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Opaque:
    """Has no JSON form."""

    def __init__(self, value: int) -> None:
        self.value = value


VALUE: Any = {"a": [1, None, {"b": Found(score=0.5)}], "paid": Invoice(total=3), "at": Point(1, 2)}


def test_json_keeps_the_types_that_are_allowed() -> None:
    """Events that are loaded need not be named; models and dataclasses do."""
    serializer: BaseSerializer = JsonSerializer(allowed_types=[Invoice, Point])
    assert serializer.deserialize(serializer.serialize(VALUE)) == VALUE
    more = JsonSerializer(allowed_types=[Invoice]).with_types(Point)
    assert more.deserialize(more.serialize(VALUE)) == VALUE


def test_json_builds_nothing_else() -> None:
    """A type that was not named is refused, with what to do; nothing is imported."""
    text = JsonSerializer().serialize(VALUE)
    with pytest.raises(ContextSerdeError, match=r":Invoice may not be built: give it to JsonSerializer\(allowed_types"):
        JsonSerializer().deserialize(text)
    for name in ("os:system", "antigravity:x", "builtins:eval", "subprocess:Popen", "nothing"):
        with pytest.raises(ContextSerdeError, match="may not be built"):
            JsonSerializer().deserialize('{"__type__": "' + name + '", "value": {}}')
    assert "antigravity" not in sys.modules
    with pytest.raises(TypeError, match="give classes"):
        JsonSerializer(allowed_types=["os.system"])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("value", [Opaque(1), {1: 2}, float("nan"), {"deep": [{1, 2}]}])
def test_json_refuses_what_has_no_json_form(value: Any) -> None:
    """The message names the remedy."""
    with pytest.raises(ContextSerdeError, match=r"cannot be written as JSON.*PickleSerializer within your own program"):
        JsonSerializer().serialize(value)


@pytest.mark.parametrize("text", ["", "{", "pickle:x"])
def test_json_refuses_what_it_did_not_write(text: str) -> None:
    """Damaged texts, and pickled ones."""
    with pytest.raises(ContextSerdeError, match="not what a JsonSerializer writes"):
        JsonSerializer().deserialize(text)


def test_pickle_is_used_only_where_json_will_not_do() -> None:
    """Plain values stay readable; others come back all the same."""
    serializer = PickleSerializer()
    assert serializer.serialize({"a": 1}) == '{"a": 1}'
    assert serializer.deserialize('{"a": 1}') == {"a": 1}
    assert serializer.deserialize(serializer.serialize(Opaque(7))).value == 7


async def test_a_store_in_memory_works_like_that_of_a_step() -> None:
    """Paths, whole states and edits, without a run."""
    store = InMemoryStateStore(DictState(a={"b": [1]}))
    await store.set("a.c", Point(1, 2))
    async with store.edit_state() as state:
        state["a"]["b"].append(2)
        with pytest.raises(ContextStateError, match="inside of an edit_state block"):
            await store.set("x", 1)
    assert await store.to_dict() == {"a": {"b": [1, 2], "c": {"x": 1, "y": 2}}}
    await store.delete("a.c")
    assert await store.get("a.b.1") == 2
    with suppress(RuntimeError):
        async with store.edit_state() as state:
            state["a"] = None
            raise RuntimeError
    assert await store.get("a") == {"b": [1, 2]}
    await store.clear()
    assert await store.get("a", default=0) == 0


async def test_a_typed_store_in_memory_keeps_its_type() -> None:
    """Values come as the model gives them, and wrong ones are refused."""
    store = InMemoryStateStore(Invoice(total=1))
    assert (await store.get_state()).total == 1
    with pytest.raises(StateValueError, match="total: Input should be a valid integer"):
        await store.set("total", "many")
    await store.set_state(Invoice(total=5))
    assert await store.get("total") == 5
