"""Events: fields, free keys, and their way to JSON and back."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field

from everstep.errors import EventDecodeError, EventEncodeError, StepTimeoutError
from everstep.events import (
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StepFailedEvent,
    StopEvent,
    UnreconstructedException,
    UnresolvedEvent,
    WorkflowFailedEvent,
    due_in_seconds,
    event_ancestors,
    event_from_data,
    event_to_data,
)

E = TypeVar("E", bound=Event)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    numbers: tuple[int, ...] = ()


@dataclass
class Point:
    x: int
    y: float


class Typed(Event):
    text: str = ""
    at: datetime | None = None
    day: date | None = None
    span: timedelta = timedelta(0)
    raw: bytes = b""
    chosen: set[int] = Field(default_factory=set)
    frozen: frozenset[str] = frozenset()
    pair: tuple[int, str] = (0, "")
    color: Color = Color.RED
    address: Address | None = None
    point: Point | None = None
    price: Decimal = Decimal(0)
    key: UUID | None = None
    score: float = 0.0
    by_number: dict[int, list[Address]] = Field(default_factory=dict)


class Scored(Event):
    score: float

    if TYPE_CHECKING:

        def __init__(self, *, score: float, **free: Any) -> None: ...


def over_the_wire(event: E) -> E:
    """The event after it was written as JSON text and read back."""
    return event_from_data(type(event), json.loads(json.dumps(event_to_data(event), allow_nan=False)))


addresses = st.builds(Address, street=st.text(), numbers=st.lists(st.integers()).map(tuple))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
free_keys = st.dictionaries(st.text(min_size=1).filter(lambda key: key not in Typed.model_fields), json_values)


@given(
    st.builds(
        Typed,
        text=st.text(),
        at=st.none() | st.datetimes(timezones=st.just(UTC)),
        day=st.none() | st.dates(),
        span=st.timedeltas(min_value=timedelta(days=-9999), max_value=timedelta(days=9999)),
        raw=st.binary(),
        chosen=st.sets(st.integers()),
        frozen=st.frozensets(st.text()),
        pair=st.tuples(st.integers(), st.text()),
        color=st.sampled_from(Color),
        address=st.none() | addresses,
        point=st.none() | st.builds(Point, x=st.integers(), y=st.floats(allow_nan=False)),
        price=st.decimals(allow_nan=False, allow_infinity=False),
        key=st.none() | st.uuids(),
        score=st.floats(allow_nan=False),
        by_number=st.dictionaries(st.integers(), st.lists(addresses, max_size=2), max_size=3),
    )
)
def test_typed_fields_are_equal_after_the_wire(event: Typed) -> None:
    """Declared fields of any type that pydantic knows come back as they were."""
    assert over_the_wire(event) == event


@given(free_keys)
def test_free_keys_are_equal_after_the_wire(free: dict[str, Any]) -> None:
    """Free keys with plain JSON come back as they were, beside declared fields and without any."""
    assert over_the_wire(Event(**free)).to_dict() == free
    assert over_the_wire(Typed(**free)).to_dict() == free


def test_fields_and_free_keys_are_attributes_and_items() -> None:
    """Both can be read both ways, and `in` and `get` know both."""
    event = Scored(score=0.5, by="ann")
    assert (event.score, event["score"], event.by, event["by"]) == (0.5, 0.5, "ann", "ann")
    assert "score" in event
    assert "by" in event
    assert event.get("missing", 7) == 7
    with pytest.raises(KeyError):
        event["missing"]


def test_listing_methods_list_the_free_keys() -> None:
    """What lists keys leaves out the declared fields."""
    event = Scored(score=0.5, by="ann")
    event["at"] = "noon"
    assert list(event.keys()) == ["by", "at"] == list(event)
    assert list(event.values()) == ["ann", "noon"]
    assert dict(event.items()) == {"by": "ann", "at": "noon"} == event.to_dict()
    assert len(event) == 2


def test_an_event_is_true_even_when_it_is_empty() -> None:
    """`if event:` asks whether there is one."""
    assert Event()


def test_free_keys_may_have_the_names_of_methods() -> None:
    """A free key called like a method neither breaks the method nor the JSON."""
    event = Event(items=[1], keys=2, get="x")
    assert over_the_wire(event) == event
    assert event["items"] == [1]
    assert event.get("get") == "x"


def test_private_attributes_are_set_by_name_and_stay_home() -> None:
    """A private attribute is no free key, and does not travel."""

    class Private(Event):
        shown: int
        _hidden: int = 0

    event = Private(shown=1, _hidden=2)
    assert event._hidden == 2
    assert event_to_data(event) == {"shown": 1}


def test_repr_shows_fields_and_free_keys() -> None:
    """An event in a log can be read."""
    assert repr(Scored(score=0.5, by="ann")) == "Scored(score=0.5, by='ann')"


def test_what_is_read_shares_nothing_with_the_data() -> None:
    """Changing a decoded event leaves the recorded data as it was."""
    data = {"found": [1]}
    event_from_data(Event, data).found.append(2)
    assert data == {"found": [1]}


def test_computed_fields_do_not_become_free_keys() -> None:
    """A computed field is computed again, and not carried along."""

    class Area(Event):
        side: int

        @computed_field
        @property
        def area(self) -> int:
            return self.side**2

    assert over_the_wire(Area(side=3)) == Area(side=3)


@pytest.mark.parametrize("score", [math.inf, -math.inf])
def test_infinite_declared_floats_travel(score: float) -> None:
    """JSON has no infinity; a declared float has one after the wire all the same."""
    assert over_the_wire(Scored(score=score)).score == score


def test_nan_in_a_declared_float_travels() -> None:
    """NaN comes back as NaN."""
    assert math.isnan(over_the_wire(Scored(score=math.nan)).score)


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        (object(), "x", "object"),
        ({"deep": [1, {2}]}, "x.deep.1", "set"),
        (datetime(2026, 1, 1, tzinfo=UTC), "x", "datetime"),
        (Address(street="a"), "x", "Address"),
        (math.nan, "x", "nan"),
        ({1: "a"}, "x", "key 1"),
    ],
)
def test_free_keys_that_are_not_plain_json_are_refused(value: object, path: str, kind: str) -> None:
    """The message names the event, the path, the type, and the remedy."""
    with pytest.raises(EventEncodeError) as caught:
        event_to_data(Scored(score=1, x=value))
    assert str(caught.value).startswith(f"Scored cannot be written as JSON: {path}: ")
    assert kind in str(caught.value)
    assert "declare it as a typed field" in str(caught.value)


def test_free_data_that_contains_itself_is_refused() -> None:
    """A cycle is an error of the event, not of the interpreter."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EventEncodeError, match="contains itself"):
        event_to_data(Event(x=loop))


def test_a_declared_field_with_a_wrong_value_is_refused_by_name() -> None:
    """What was assigned later, and does not fit, is found when the event leaves."""
    event = Scored(score=1.0)
    event.score = "high"  # type: ignore[assignment]
    with pytest.raises(EventEncodeError, match="score: a str does not fit its declared type"):
        event_to_data(event)


def test_every_fault_of_bad_data_is_named_with_its_path() -> None:
    """Someone who answers by hand sees all that is wrong at once."""
    with pytest.raises(EventDecodeError) as caught:
        event_from_data(Typed, {"text": 1, "address": {"street": "a", "numbers": ["one"]}})
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["text", "address.numbers.0"]


def test_a_validator_that_raises_anything_gives_a_decode_error() -> None:
    """The author's own code cannot break the reading of events."""

    class Odd(Event):
        n: int

        def model_post_init(self, context: Any, /) -> None:
            super().model_post_init(context)
            raise LookupError("no such n")

    with pytest.raises(EventDecodeError, match="LookupError: no such n"):
        event_from_data(Odd, {"n": 1})


def test_stop_event_takes_its_result_by_position() -> None:
    """`StopEvent(x)` and `StopEvent(result=x)` are the same."""
    assert StopEvent(3) == StopEvent(result=3)
    assert StopEvent().result is None
    assert over_the_wire(StopEvent({"a": [1]}, more=1)) == StopEvent(result={"a": [1]}, more=1)


def test_a_stop_event_may_declare_what_its_result_is() -> None:
    """A subclass can give the result a type."""

    class Count(StopEvent):
        result: int  # pyright: ignore[reportGeneralTypeIssues]

    assert Count(result=3).result == 3
    with pytest.raises(ValidationError):
        Count()


def test_a_typed_stop_event_prints_what_it_says() -> None:
    """`print(await handler)` shows the fields of a flow's own stop event, and of a plain one its result."""

    class Published(StopEvent):
        where: str
        pages: int = 3

    assert str(Published(where="blog")) == "Published(where='blog', pages=3)"
    assert str(Published(where="blog", result="done")) == "done"
    assert (str(StopEvent(result=4)), str(StopEvent())) == ("4", "None")


def test_a_field_that_is_not_there_is_told_with_those_that_are() -> None:
    """A misspelled field is an AttributeError that lists declared fields and free keys."""
    with pytest.raises(
        AttributeError, match=r"'StopEvent' object has no attribute 'anser'; its fields are: result, answer"
    ):
        _ = StopEvent(answer=1).anser
    assert not hasattr(Event(), "answer")


@pytest.mark.parametrize("due", [timedelta(hours=1), 30, 2.5, datetime(2026, 1, 1, tzinfo=UTC)])
def test_a_request_keeps_its_due_over_the_wire(due: Any) -> None:
    """Each form of a due time comes back as the same form."""
    asked = InputRequiredEvent(prefix="Pay?", due=due, assignee="finance")
    assert over_the_wire(asked) == asked


@pytest.mark.parametrize(
    ("due", "remedy"), [(datetime(2026, 1, 1), "time zone"), (-1, "above 0"), (math.nan, "above 0"), (True, "above 0")]
)
def test_a_due_that_is_no_time_is_refused_with_the_remedy(due: Any, remedy: str) -> None:
    """A naive datetime, a negative wait and the like are refused where they are written."""
    with pytest.raises(ValidationError, match=remedy):
        InputRequiredEvent(due=due)


def test_due_in_seconds_counts_from_now_or_takes_the_instant() -> None:
    """Durations count from when it is asked; a datetime is an instant."""
    assert due_in_seconds(timedelta(minutes=1), 1000.0) == 1060.0
    assert due_in_seconds(2.5, 1000.0) == 1002.5
    assert due_in_seconds(datetime.fromtimestamp(50, UTC), 1000.0) == 50.0
    assert due_in_seconds(None, 1000.0) is None


def test_an_answer_has_free_keys_and_a_request_id() -> None:
    """The answer that LlamaIndex's flows send works as it is."""
    answer = HumanResponseEvent(response="yes", request_id="r1", user_name="ann")
    assert (answer.response, answer.request_id, answer.expired) == ("yes", "r1", False)


def failure(exception: Exception) -> StepFailedEvent:
    """A failure event around an exception."""
    return StepFailedEvent(
        step_name="fetch",
        input_event=Scored(score=1.5, by="ann"),
        exception=exception,
        attempts=3,
        elapsed_seconds=1.5,
        failed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    "exception", [ValueError("bad"), KeyError("k"), ConnectionError(), TimeoutError("slow"), StepTimeoutError("a", 2.0)]
)
def test_known_exceptions_come_back_as_what_they_were(exception: Exception) -> None:
    """A handler can go by the type of a builtin exception, or one of everstep's."""
    back = over_the_wire(failure(exception)).exception
    assert type(back) is type(exception)
    assert str(back) == str(exception)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "eval", "SystemExit", "httpx.ReadTimeout"])
def test_no_other_name_is_ever_called(name: str) -> None:
    """A name that is no builtin exception is kept as text."""
    data = event_to_data(failure(ValueError("x")))
    data["exception"] = {"type": name, "message": "ls"}
    back = event_from_data(StepFailedEvent, data)
    assert isinstance(back.exception, UnreconstructedException)
    assert back.exception_type == name
    assert event_to_data(back)["exception"] == data["exception"]


def test_the_failed_input_is_rebuilt_by_the_resolver() -> None:
    """With the flow's types at hand the input event has its class, and the failure is equal."""
    event = failure(ValueError("x"))
    back = event_from_data(StepFailedEvent, event_to_data(event), {"Scored": Scored}.get)
    assert type(back.input_event) is Scored
    assert back == event


def test_the_failed_input_without_its_class_keeps_its_data_and_name() -> None:
    """Where the class is not to be had nothing is lost, and it is written back as it was."""
    data = event_to_data(failure(ValueError("x")))
    back = event_from_data(StepFailedEvent, data)
    assert isinstance(back.input_event, UnresolvedEvent)
    assert (back.input_event.original_type, back.input_event.by) == ("Scored", "ann")
    assert event_to_data(back) == data


def test_ancestors_are_nearest_first_and_end_with_event() -> None:
    """Routing by subclass works on these names."""
    assert event_ancestors(WorkflowFailedEvent) == ("StopEvent", "Event")
    assert event_ancestors(Event) == ()


class Exact(Event):
    model_config = ConfigDict(extra="forbid")

    name: str


def test_a_class_may_take_no_free_keys() -> None:
    """What is misspelled is refused, wherever it comes from; the event is read and written as any other."""
    event = Exact(name="ann")
    assert (event["name"], list(event.keys()), len(event), "names" in event) == ("ann", [], 0, False)
    assert event_from_data(Exact, event_to_data(event)) == event
    with pytest.raises(ValidationError, match="names"):
        Exact.model_validate({"name": "ann", "names": "bob"})
    with pytest.raises(KeyError, match="takes no free keys"):
        event["names"] = "bob"
    with pytest.raises(EventDecodeError, match="names: Extra inputs are not permitted"):
        event_from_data(Exact, {"name": "ann", "names": "bob"})
