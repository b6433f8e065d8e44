"""A run's children as data: what runs for which suspended invocation, and what the children ask people.

A child of a child is known only by its requests: they are passed on upwards, under an id that names their run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from everstep.engine.calls import ChildCall
from everstep.engine.passes import ChildEnd
from everstep.engine.scheduling import Invocation


@dataclass(slots=True)
class Child:
    """A flow run as a child, under the id `run`.

    `caller` is the number of the suspended invocation, `place` its place among the children of that pass; `origin` the
    invocation's first number, `number` its place among all the children of the invocation. `asked` are the requests
    that are open in it, or below it. One that is not `begun` waits for its turn.
    """

    run: str
    call: ChildCall
    caller: int
    place: int
    origin: int
    number: int
    since: float
    begun: bool = False
    asked: dict[str, None] = field(default_factory=dict[str, None])

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        out = {name: getattr(self, name) for name in self.__slots__}
        return out | {"call": self.call.to_json(), "asked": list(self.asked)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Child:
        """The inverse of `to_json`."""
        rebuilt: dict[str, Any] = {"call": ChildCall.from_json(data["call"]), "asked": dict.fromkeys(data["asked"])}
        return cls(**{**data, **rebuilt})


@dataclass(slots=True)
class Caller:
    """An invocation, suspended until all children of its pass have ended: `open` of them have not.

    `ends` stand in the order of its calls.
    """

    invocation: Invocation
    ends: list[ChildEnd | None]
    open: int

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {
            "invocation": self.invocation.to_json(),
            "ends": [None if end is None else end.to_json() for end in self.ends],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Caller:
        """The inverse of `to_json`."""
        ends = [None if end is None else ChildEnd.from_json(end) for end in data["ends"]]
        return cls(Invocation.from_json(data["invocation"]), ends, ends.count(None))


@dataclass(slots=True)
class ChildRequest:
    """A request to a person of a run below this one: its id there is `request`, and `run` the run it is of.

    `child` is the child of this run through which it came. `view` is what people see of it.
    """

    child: str
    run: str
    request: str
    view: dict[str, Any]

    @property
    def id(self) -> str:
        """Its id in this run, and in every one between: no other has it."""
        return f"{self.run}/{self.request}"

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form."""
        return {"child": self.child, "run": self.run, "request": self.request, "view": dict(self.view)}


@dataclass(slots=True)
class Family:
    """The children of one run that have not ended, those who wait for them, and the requests from below.

    `queue` are the children that have not begun; `counts` how many each step has had.
    """

    children: dict[str, Child] = field(default_factory=dict[str, Child])
    queue: deque[str] = field(default_factory=deque[str])
    callers: dict[int, Caller] = field(default_factory=dict[int, Caller])
    requests: dict[str, ChildRequest] = field(default_factory=dict[str, ChildRequest])
    open_requests: dict[str, None] = field(default_factory=dict[str, None])
    counts: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def begun(self) -> int:
        """How many children run."""
        return len(self.children) - len(self.queue)

    def running(self) -> Iterator[Child]:
        """The children that have begun."""
        return (child for child in self.children.values() if child.begun)

    def let_go(self) -> None:
        """The run has ended: nobody waits for children any more."""
        self.children.clear()
        self.queue.clear()
        self.callers.clear()
        self.open_requests.clear()

    def snapshot(self) -> dict[str, Any]:
        """The plain JSON form; empty where there never was a child."""
        out: dict[str, Any] = {
            "children": [child.to_json() for child in self.children.values()],
            "queue": list(self.queue),
            "callers": [caller.to_json() for caller in self.callers.values()],
            "requests": [request.to_json() for request in self.requests.values()],
            "open_requests": list(self.open_requests),
            "counts": list(self.counts.items()),
        }
        return {name: value for name, value in out.items() if value}

    @classmethod
    def restored(cls, data: Mapping[str, Any]) -> Family:
        """The inverse of `snapshot`."""
        callers = [Caller.from_json(item) for item in data.get("callers", ())]
        requests = [ChildRequest(**item) for item in data.get("requests", ())]
        return cls(
            {item["run"]: Child.from_json(item) for item in data.get("children", ())},
            deque(data.get("queue", ())),
            {caller.invocation.id: caller for caller in callers},
            {request.id: request for request in requests},
            dict.fromkeys(data.get("open_requests", ())),
            dict(data.get("counts", ())),
        )
