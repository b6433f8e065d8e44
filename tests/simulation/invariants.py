"""What holds of an engine after every input, whatever happened."""

from __future__ import annotations

from collections import Counter

from everstep.engine import paths
from everstep.engine.asking import due_timer
from everstep.engine.children import AT_ONCE
from everstep.engine.core import Engine
from everstep.engine.mail import EARLY_TIMER
from everstep.engine.run import Run
from everstep.engine.streams import ROOT
from everstep.engine.waits import TIMER


def check(engine: Engine) -> None:
    """Assert every invariant."""
    run = engine.run
    _slots(run)
    _streams(run)
    _people(run)
    _lock(run)
    _waits(run)
    _family(run)
    assert run.state_size == paths.size(run.state)
    if run.status not in ("new", "running"):
        left = [
            run.invocations,
            run.messages,
            run.early,
            run.timers,
            run.open_requests,
            run.judging_keys,
            run.waiters,
            run.buffers,
            run.family.children,
            run.family.callers,
            run.family.open_requests,
        ]
        assert not any(left)
        assert run.scheduler.in_flight == 0


def _slots(run: Run) -> None:
    scheduler = run.scheduler
    running = Counter(one.step for one in run.invocations.values() if one.running)
    waiting = [one.id for one in run.invocations.values() if not one.running]
    assert scheduler.in_flight == sum(running.values()) <= scheduler.cap
    assert sorted(number for queue in scheduler.queues.values() for number in queue.waiting) == waiting
    for name, queue in scheduler.queues.items():
        assert queue.running == running[name] <= queue.num_workers
        assert list(queue.waiting) == sorted(queue.waiting), "first in, first out"
        could_start = queue.waiting and queue.running < queue.num_workers and scheduler.in_flight < scheduler.cap
        assert scheduler.paused or not run.active or not could_start, f"a slot of {name} is left empty"


def _streams(run: Run) -> None:
    open_now = Counter(one.scope for one in run.invocations.values())
    open_now.update(one.invocation.scope for one in run.waiters.all.values())
    open_now.update(one.invocation.scope for one in run.family.callers.values())
    open_now.update(stream.parent for stream in run.streams.values() if stream.parent is not None)
    expiring = {message.request for message in run.messages.values() if message.expiry}
    open_now.update(run.requests[name].scope for name in (*run.open_requests, *expiring) if name is not None)
    for number, stream in run.streams.items():
        assert stream.open == open_now[number], f"stream {number} counts {stream.open}, has {open_now[number]}"
        assert number == ROOT or stream.open > 0
        assert stream.parent is None or stream.parent in run.streams
        assert all(near in run.streams for near in stream.nearest.values())
        assert all(not slots.empty and slots.lacking() for slots in stream.slots.values()), "a batch is not given"


def _people(run: Run) -> None:
    open_requests = [one.id for one in run.requests.values() if one.status == "open"]
    assert list(run.open_requests) == open_requests
    closed = [one.id for one in run.requests.values() if one.status in ("answered", "expired")]
    assert sorted(run.closed_requests) == sorted(closed)
    judging = Counter(message.request for message in run.messages.values())
    if run.active:
        assert all(one.judging == judging[one.id] for one in run.requests.values())
        due = {due_timer(one) for one in run.requests.values() if one.status == "open" and one.due_at is not None}
        overdue = {due_timer(one) for one in run.requests.values() if one.overdue}
        assert {one for one in run.timers if one.startswith("due:")} == due - overdue
    assert {one for one in run.timers if one.startswith(EARLY_TIMER)} == {f"{EARLY_TIMER}{one}" for one in run.early}
    assert run.judging_keys == {one.key: one.id for one in run.messages.values() if one.key is not None}


def _lock(run: Run) -> None:
    lock = run.lock
    running = {one.id for one in run.invocations.values() if one.running}
    holder = {lock.holder.invocation} if lock.holder is not None else set[int]()
    assert holder or not lock.waiting, "the lock is free, and somebody waits"
    assert not holder & lock.waiting.keys()
    assert holder | lock.waiting.keys() | lock.tokens.keys() <= running
    suspended = [*run.waiters.all.values(), *run.family.callers.values()]
    under_way = [*run.invocations.values(), *(one.invocation for one in suspended)]
    assert lock.applied.keys() <= {one.origin for one in under_way}


def _waits(run: Run) -> None:
    waiters = run.waiters.all
    assert all(number == one.id for number, one in waiters.items())
    assert not waiters.keys() & run.invocations.keys()
    due = {f"{TIMER}{one.id}" for one in waiters.values() if one.request is None and one.due_at is not None}
    assert {one for one in run.timers if one.startswith(TIMER)} == due
    asking = {one.request for one in waiters.values() if one.request is not None}
    if run.active:
        assert asking == {one.id for one in run.requests.values() if one.status == "open" and one.waiter is not None}
    for buffer in run.buffers.values():
        assert not buffer.empty
        lacking = [name for name, count in buffer.needs.items() if len(buffer.events.get(name, ())) < count]
        assert len(lacking) == buffer.lacking > 0
    assert all(kept for kept in run.kept.by_type.values())


def _family(run: Run) -> None:
    family = run.family
    waiting = [name for name, child in family.children.items() if not child.begun]
    assert list(family.queue) == waiting
    assert family.begun <= AT_ONCE
    assert not waiting or family.begun == AT_ONCE or run.scheduler.paused, "a child could begin"
    open_places = {
        (number, place) for number, one in family.callers.items() for place, end in enumerate(one.ends) if not end
    }
    assert {(child.caller, child.place) for child in family.children.values()} == open_places
    assert all(one.open == one.ends.count(None) > 0 for one in family.callers.values())
    assert not family.callers.keys() & (run.invocations.keys() | run.waiters.all.keys())
    asked = {request for child in family.children.values() for request in child.asked}
    assert asked == set(family.open_requests)
    assert set(family.open_requests) == {n for n, one in family.requests.items() if one.view["status"] == "open"}
