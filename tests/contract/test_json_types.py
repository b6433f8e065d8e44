"""What events hold survives the way between steps, by its declared type."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

from pydantic import BaseModel

from everstep import Workflow, step
from everstep.events import Event, StartEvent, StopEvent
from tests.support.drivers import Driver


class Colour(Enum):
    RED = "red"


class Inner(BaseModel):
    at: datetime
    tags: set[str]


class Everything(Event):
    when: datetime
    day: date
    span: timedelta
    raw: bytes
    price: Decimal
    id: UUID
    colour: Colour
    inner: Inner
    many: dict[str, list[Inner]]
    maybe: Inner | int | None
    pair: tuple[int, str]
    text: str


WHEN = datetime(2026, 11, 22, 9, 30, 0, 123456, tzinfo=UTC)
FULL = Everything(
    when=WHEN,
    day=date(2026, 11, 22),
    span=timedelta(days=1, microseconds=5),
    raw=b"\x00\xff bytes",
    price=Decimal("12.340"),
    id=UUID("12345678-1234-5678-1234-567812345678"),
    colour=Colour.RED,
    inner=Inner(at=WHEN, tags={"a", "b"}),
    many={"x": [Inner(at=WHEN, tags=set())]},
    maybe=Inner(at=WHEN, tags={"c"}),
    pair=(1, "one"),
    text="“ünïcode” \u2028 \x00 🙂",
)
FULL["free"] = {"nested": [1, 2.5, None, True, "x"]}


class Same(StopEvent):
    held: Everything


class TypesThrough(Workflow):
    @step
    async def make(self, ev: StartEvent) -> Everything:
        return FULL

    @step(local=True)
    async def end(self, ev: Everything) -> Same:
        assert ev == FULL
        return Same(held=ev)


async def test_types_survive_between_steps_and_in_the_result(driver: Driver) -> None:
    """Dates, bytes, decimals, enums, nested models and odd texts arrive as what they were."""
    seen = await driver.see(TypesThrough)
    assert seen.error is None
    assert seen.result == Same(held=FULL)
    assert seen.events == [Same(held=FULL)]


class NoJson(Workflow):
    @step
    async def make(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result={"handle": object()})


async def test_what_has_no_json_form_is_refused_by_name(driver: Driver) -> None:
    """An event that holds what cannot be written fails its step, on every driver, and the error says where it is."""
    seen = await driver.see(NoJson)
    assert "StopEvent cannot be written as JSON" in str(seen.error)
    assert "result" in str(seen.error)
