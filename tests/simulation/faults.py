"""Faults to put into the engine, to see that the simulation finds them. `Fault.made` puts one in for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from everstep.engine import asking, children, collecting, delivery, locks, mail, paths, unjudged, waits
from everstep.engine.family import Family
from everstep.engine.locks import Claim
from everstep.engine.messages import Envelope, Outcome
from everstep.engine.requests import Message, Request
from everstep.engine.routing import Router
from everstep.engine.run import Run
from everstep.engine.scheduling import Invocation, Scheduler
from everstep.engine.slots import Slots
from everstep.engine.streams import ROOT, Stream
from everstep.engine.waiters import KeptEvents

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `owner.name` is replaced by what `wrong` makes of it."""

    owner: Any
    name: str
    wrong: Callable[[Function], Function]

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """The engine has the fault within the block."""
        right = getattr(self.owner, self.name)
        setattr(self.owner, self.name, self.wrong(right))
        try:
            yield
        finally:
            setattr(self.owner, self.name, right)


def _does_nothing(right: Function) -> Function:
    return lambda *args, **kwargs: None


def _drops_kept(right: Function) -> Function:
    def add(self: KeptEvents, event: Envelope, step: str | None) -> None:
        if event.type != "Later":
            right(self, event, step)

    return add


def _fires_twice(right: Function) -> Function:
    def fire(run: Run, stream: Stream, join: str) -> None:
        batch = stream.collected.get(join)
        right(run, stream, join)
        if stream.parent is not None:
            events = list(batch.events) if batch else []
            delivery.spawn(run, join, stream.parent, dict(stream.recoveries), batch=events)

    return fire


def _fires_only_full(right: Function) -> Function:
    def fire(run: Run, stream: Stream, join: str) -> None:
        if join in stream.collected:
            right(run, stream, join)

    return fire


def _restored_without(attribute: str) -> Callable[[Function], Function]:
    def wrong(right: Function) -> Function:
        def restore(self: Run, data: Any) -> None:
            right(self, data)
            getattr(self, attribute).clear()

        return restore

    return wrong


def _saved_without(key: str, empty: Any = None) -> Callable[[Function], Function]:
    def wrong(right: Function) -> Function:
        def snapshot(self: Any) -> dict[str, Any]:
            kept = {name: value for name, value in right(self).items() if name != key}
            return kept if empty is None else kept | {key: empty}

        return snapshot

    return wrong


def _leaks_slots(right: Function) -> Function:
    def finish(self: Scheduler, step: str, *, failed: bool | None) -> None:
        right(self, step, failed=failed)
        self.queues[step].running += failed is True

    return finish


def _counts_refusals(right: Function) -> Function:
    def finish(self: Scheduler, step: str, *, failed: bool | None) -> None:
        right(self, step, failed=bool(failed))

    return finish


def _forgets_turns(right: Function) -> Function:
    def finish(self: Scheduler, step: str, *, failed: bool | None) -> None:
        queue = self.queues[step]
        waiting, queue.waiting = queue.waiting, type(queue.waiting)()
        right(self, step, failed=failed)
        queue.waiting = waiting

    return finish


def _last_in_first_out(right: Function) -> Function:
    def enqueue(self: Scheduler, step: str, invocation: int) -> None:
        right(self, step, invocation)
        self.queues[step].waiting.rotate(1)

    return enqueue


def _tells_one_sender(right: Function) -> Function:
    def reply(run: Run, message: Message, accepted: bool, reason: str = "") -> None:
        message.again.clear()
        right(run, message, accepted, reason)

    return reply


def _forgets_keys(right: Function) -> Function:
    return lambda run, message: asking.reply(run, message, True)


def _answers_again(right: Function) -> Function:
    def answer(run: Run, message: Message, request: Request, verdict: Any) -> None:
        if request.status == "answered" and request.waiter is None:
            request.status = "open"
            run.streams[request.scope if request.scope in run.streams else ROOT].open += 1
        right(run, message, request, verdict)

    return answer


def _commits_what_is_dropped(right: Function) -> Function:
    def completes(run: Run, invocation: Invocation, outcome: Outcome) -> bool:
        again = right(run, invocation, outcome)
        if again:
            for change in outcome.state:
                run.state_size += paths.change(run.state, change)
        return again

    return completes


def _offers_and_delivers(right: Function) -> Function:
    def offer(run: Run, event: Envelope, step: str | None = None) -> None:
        right(run, event, step)

    return offer


def _lets_a_stream_go(right: Function) -> Function:
    def suspend(run: Run, invocation: Invocation, *rest: Any) -> None:
        right(run, invocation, *rest)
        run.streams[invocation.scope].open -= 1

    return suspend


def _leaves_a_batch(right: Function) -> Function:
    def take(self: Slots, types: Any) -> Any:
        kept = Slots.from_json(self.to_json())
        batch = right(self, types)
        self.kept, self.fits = kept.kept, kept.fits
        return batch

    return take


def _gives_to_the_first(right: Function) -> Function:
    return lambda self, event, target=None: right(self, event, target)[:1]


def _leaves_timers(right: Function) -> Function:
    def close(run: Run, request: Request) -> None:
        timer = run.timers.pop(asking.due_timer(request), None)
        right(run, request)
        if timer is not None:
            run.timers[asking.due_timer(request)] = timer

    return close


def _grants_to_all(right: Function) -> Function:
    def grant(run: Run) -> None:
        run.lock.holder = None
        right(run)

    return grant


def _listens_to_anybody(right: Function) -> Function:
    return lambda claim, other: bool(claim.edit == other.edit) if isinstance(claim, Claim) else right(claim, other)


FAULTS = {
    "a kept event is dropped": Fault(KeptEvents, "add", _drops_kept),
    "kept events are not saved": Fault(Run, "snapshot", _saved_without("kept")),
    "a join fires twice": Fault(delivery, "_fire", _fires_twice),
    "a join of an empty list does not fire": Fault(delivery, "_fire", _fires_only_full),
    "which joins have fired is not saved": Fault(Stream, "to_json", _saved_without("fired", [])),
    "what waits for its partners is not saved": Fault(Stream, "to_json", _saved_without("slots")),
    "what lacks its partners is not told": Fault(delivery, "_tell_unmatched", _does_nothing),
    "a batch leaves its events": Fault(Slots, "_take", _leaves_a_batch),
    "a stream forgets one that waits": Fault(waits, "suspend", _lets_a_stream_go),
    "children are not saved": Fault(Family, "snapshot", _saved_without("children", [])),
    "nobody hears of children after a crash": Fault(children, "restored", _does_nothing),
    "children go on without their run": Fault(children, "end", _does_nothing),
    "requests are forgotten at restore": Fault(Run, "restore", _restored_without("open_requests")),
    "timers are forgotten at restore": Fault(Run, "restore", _restored_without("timers")),
    "buffers are not saved": Fault(Run, "snapshot", _saved_without("buffers")),
    "a request outlives its due time": Fault(mail, "_expire", _does_nothing),
    "a request is answered twice": Fault(mail, "_answer", _answers_again),
    "timers outlive their requests": Fault(asking, "close", _leaves_timers),
    "a message sent again is taken again": Fault(mail, "accept", _forgets_keys),
    "who sent a message again is not told": Fault(asking, "reply", _tells_one_sender),
    "verdicts are not asked for after a crash": Fault(mail, "judge_again", _does_nothing),
    "who answered early hears nothing": Fault(mail, "look_again", _does_nothing),
    "the lock is not given back": Fault(locks, "pass_over", _does_nothing),
    "the lock is given to several": Fault(locks, "_next", _grants_to_all),
    "what was edited is not remembered": Fault(locks, "_remember", _does_nothing),
    "a lost lock still commits": Fault(locks, "_is", _listens_to_anybody),
    "failures leak slots": Fault(Scheduler, "finish", _leaks_slots),
    "what is refused counts as done": Fault(Scheduler, "finish", _counts_refusals),
    "what is to be judged by its step is not saved": Fault(Invocation, "to_json", _saved_without("unjudged")),
    "a refused event keeps its place": Fault(unjudged, "release", _does_nothing),
    "a free slot is left empty": Fault(Scheduler, "finish", _forgets_turns),
    "the last in is the first out": Fault(Scheduler, "enqueue", _last_in_first_out),
    "a dropped pass leaves its changes": Fault(collecting, "completes", _commits_what_is_dropped),
    "who waited is given the event too": Fault(waits, "offer", _offers_and_delivers),
    "only the first step is given an event": Fault(Router, "steps_for", _gives_to_the_first),
    "what nobody takes is not told": Fault(delivery, "_unhandled", _does_nothing),
    "an end leaves things under way": Fault(Run, "let_go", _does_nothing),
}
