"""The data of one run: what the engine's functions read and change, and its snapshot.

Everything is plain data. `now` and `commands` belong to the input being applied; the rest is the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from everstep.engine import paths
from everstep.engine.buffers import Buffer
from everstep.engine.commands import Command
from everstep.engine.family import Family
from everstep.engine.locks import Lock
from everstep.engine.requests import CLOSED_BYTES_KEPT, Message, Request
from everstep.engine.routing import Router
from everstep.engine.scheduling import Invocation, Scheduler
from everstep.engine.streams import ROOT, Stream
from everstep.engine.waiters import KeptEvents, Waiter, Waiters
from everstep.flow.definition import FlowDefinition

RunStatus = Literal["new", "running", "completed", "failed", "cancelled"]


class Run:
    """One run's state. See the modules of this package for the functions that change it."""

    def __init__(self, definition: FlowDefinition, run_id: str = "") -> None:
        self.id = run_id
        self.definition = definition
        self.protocol = definition.protocol
        self.router = Router(definition)
        self.scheduler = Scheduler(definition.steps, definition.max_in_flight)
        self.status: RunStatus = "new"
        self.now = 0.0
        self.commands: list[Command] = []
        self.started_at = 0.0
        self.state: dict[str, Any] = {}
        self.state_size = 2
        self.state_limit: int | None = None
        self.state_ceiling = 2
        self.lock = Lock()
        self.next_invocation = 1
        self.next_stream = ROOT + 1
        self.next_message = 1
        self.invocations: dict[int, Invocation] = {}
        self.streams: dict[int, Stream] = {ROOT: Stream(ROOT, None, ())}
        self.requests: dict[str, Request] = {}
        self.open_requests: dict[str, None] = {}
        self.closed_requests: dict[str, None] = {}
        self.request_counts: dict[str, int] = {}
        self.messages: dict[int, Message] = {}
        self.early: dict[int, Message] = {}
        self.judging_keys: dict[str, int] = {}
        self.taken_keys: dict[str, str] = {}
        self.refused: list[dict[str, Any]] = []
        self.timers: dict[str, float] = {}
        self.waiters = Waiters()
        self.kept = KeptEvents()
        self.waited = False
        self.family = Family()
        self.waiting_steps = frozenset(step.name for step in definition.steps.values() if step.waits)
        self.buffers: dict[str, Buffer] = {}
        self.unhandled = 0
        self.last_step: str | None = None
        self.idle = False
        accepted = [name for step in definition.steps.values() if step.role == "step" for name in step.accepts]
        self.asks_people = any(self._is_a(name, "InputRequiredEvent") for name in definition.produced())
        # Whether something from outside can move an idle run on: an answer cannot, in a flow that asks by requests.
        self.awaits_outside = any(
            not (self.asks_people and self._is_a(name, "HumanResponseEvent")) for name in definition.external()
        ) or (not self.asks_people and any(self._is_a(name, "HumanResponseEvent") for name in accepted))

    def _is_a(self, name: str, base: str) -> bool:
        known = self.definition.events.get(name)
        return known.is_a(base) if known else name == base

    @property
    def active(self) -> bool:
        """Whether the run has begun and not ended."""
        return self.status == "running"

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Replace the run's state as a whole, by a copy."""
        text = paths.dumps(dict(state))
        self.state = json.loads(text)
        self.state_size = len(text)
        self.state_ceiling = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))

    def let_go(self) -> None:
        """Forget all that was under way: the run has ended."""
        self.invocations.clear()
        self.scheduler.clear()
        self.streams = {ROOT: Stream(ROOT, None, ())}
        self.timers.clear()
        self.waiters.clear()
        self.kept.by_type.clear()
        self.buffers.clear()
        self.family.let_go()
        self.idle = False

    def snapshot(self) -> dict[str, Any]:
        """All of it as plain JSON; where order matters it stands in lists, because JSON writers may sort keys.

        What the run goes on changing is copied, so that a snapshot stays what it was.
        """
        requests, closed = self._remembered()
        return {
            "status": self.status,
            "now": self.now,
            "started_at": self.started_at,
            "state": json.loads(paths.dumps(self.state)),
            "next": [self.next_invocation, self.next_stream, self.next_message],
            "invocations": [invocation.to_json() for invocation in self.invocations.values()],
            "streams": [stream.to_json() for stream in self.streams.values()],
            "requests": requests,
            "open_requests": list(self.open_requests),
            "closed_requests": closed,
            "request_counts": dict(self.request_counts),
            "messages": [message.to_json() for message in self.messages.values()],
            "early": [message.to_json() for message in self.early.values()],
            "taken_keys": list(self.taken_keys.items()),
            "refused": list(self.refused),
            "timers": list(self.timers.items()),
            "unhandled": self.unhandled,
            "last_step": self.last_step,
            "idle": self.idle,
            "scheduler": self.scheduler.snapshot(),
            **self._suspended(),
        }

    def _remembered(self) -> tuple[list[dict[str, Any]], list[str]]:
        """The requests for a snapshot, and the names of the closed ones: these as far as they fit, the latest first."""
        requests = {name: request.to_json() for name, request in self.requests.items()}
        left = CLOSED_BYTES_KEPT if self.protocol > 2 else None
        for name in reversed(self.closed_requests):
            if left is None:
                break
            left -= len(paths.dumps(requests[name]))
            if left < 0 and not self.requests[name].judging:
                del requests[name]
        return list(requests.values()), [name for name in self.closed_requests if name in requests]

    def _suspended(self) -> dict[str, Any]:
        """What waits, also for children, what was collected and what was edited, where there is any."""
        out: dict[str, Any] = {
            "waiters": [waiter.to_json() for waiter in self.waiters.all.values()],
            "kept": self.kept.to_json(),
            "buffers": [[name, buffer.to_json()] for name, buffer in self.buffers.items()],
            "waited": self.waited,
            "lock": self.lock.snapshot(),
            "family": self.family.snapshot(),
        }
        return {name: value for name, value in out.items() if value}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self.status = data["status"]
        self.now = data["now"]
        self.started_at = data["started_at"]
        self.set_state(data["state"])
        self.next_invocation, self.next_stream, self.next_message = data["next"]
        self.invocations = {item["id"]: Invocation.from_json(item) for item in data["invocations"]}
        self.streams = {item["id"]: Stream.from_json(item) for item in data["streams"]}
        for stream in self.streams.values():  # what is nested comes after what it is nested in
            if stream.parent is not None:
                stream.within(self.streams[stream.parent])
        self.requests = {item["id"]: Request.from_json(item) for item in data["requests"]}
        self.open_requests = dict.fromkeys(data["open_requests"])
        self.closed_requests = dict.fromkeys(data["closed_requests"])
        self.request_counts = dict(data["request_counts"])
        self.messages = {item["id"]: Message.from_json(item) for item in data["messages"]}
        self.early = {item["id"]: Message.from_json(item) for item in data.get("early", ())}
        self.judging_keys = {item.key: item.id for item in self.messages.values() if item.key is not None}
        self.taken_keys = dict(data["taken_keys"])
        self.refused = list(data["refused"])
        self.timers = dict(data["timers"])
        self.unhandled = data["unhandled"]
        self.last_step = data["last_step"]
        self.idle = data["idle"]
        for item in data.get("waiters", ()):
            self.waiters.add(Waiter.from_json(item))
        self.kept = KeptEvents.from_json(data.get("kept", ()))
        self.buffers = {name: Buffer.from_json(item) for name, item in data.get("buffers", ())}
        self.waited = data.get("waited", False)
        self.scheduler.restore(data["scheduler"])
        self.lock = Lock.restored(data.get("lock", {}))
        self.family = Family.restored(data.get("family", {}))
