"""Suspending an invocation where its step waits, and letting it run again, from the top, when it is answered.

A waiter keeps its stream open and holds no slot. An answer goes to the one that has waited longest for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from everstep.engine import asking
from everstep.engine.commands import CancelTimer, SetTimer
from everstep.engine.messages import Envelope, Outcome, Wait
from everstep.engine.passes import Record
from everstep.engine.requests import Request
from everstep.engine.run import Run
from everstep.engine.scheduling import Invocation
from everstep.engine.waiters import Waiter

TIMER = "wait:"
"""What the names of the timers of waits begin with."""

WAITS_SHOWN = 100
"""How many waits the progress of a run lists."""


def suspend(run: Run, invocation: Invocation, wait: Wait, outcome: Outcome) -> None:
    """An invocation waits, its effects so far committed. An event that came early answers it at once."""
    invocation.suspend(outcome.effects, outcome.tries)
    run.waited = True
    subclasses = run.definition.steps[invocation.step].accept_event_subclasses
    waiter = Waiter(invocation, wait, run.now, subclasses=subclasses)
    if wait.timeout is not None:
        waiter.due_at = run.now + max(0.0, wait.timeout)
    question = wait.question
    if question is not None and run.router.is_a(question, "InputRequiredEvent"):
        _ask(run, waiter, question)
    run.waiters.add(waiter)
    early = run.kept.take(waiter, {name: _ancestors(run, name) for name in run.kept.by_type})
    if early is not None:
        answer(run, waiter, early)
    elif waiter.request is None and waiter.due_at is not None:
        timer = f"{TIMER}{waiter.id}"
        run.timers[timer] = waiter.due_at
        run.commands.append(SetTimer(timer, waiter.due_at))


def offer(run: Run, event: Envelope, step: str | None = None) -> Waiter | None:
    """Give an event to the one that has waited longest for it, if anybody waits for it; gives who took it."""
    waiter = find(run, event, step)
    if waiter is not None:
        answer(run, waiter, event)
    return waiter


def find(run: Run, event: Envelope, step: str | None = None) -> Waiter | None:
    """Who would take an event."""
    return run.waiters.find(event, run.router.ancestors(event), step) if run.waiters else None


def may_wait(run: Run, step: str | None = None) -> bool:
    """Whether events that nobody takes are kept, because a step may wait for them later on."""
    return run.waited or (bool(run.waiting_steps) if step is None else step in run.waiting_steps)


def answer(run: Run, waiter: Waiter, event: Envelope | None, by: str | None = None) -> None:
    """Answer a wait, by an event or, with None, by its timeout: the invocation is queued again."""
    run.waiters.remove(waiter.id)
    request = run.requests.get(waiter.request or "")
    if request is not None and request.status == "open":
        request.status = "expired" if event is None else "answered"
        if event is not None:
            request.answer, request.answered_by, request.answered_at = event, by, run.now
        asking.close(run, request)
    if waiter.request is not None:
        run.streams[waiter.invocation.scope].open -= 1  # never the last: the invocation keeps it open
    timer = f"{TIMER}{waiter.id}"
    if run.timers.pop(timer, None) is not None:
        run.commands.append(CancelTimer(timer))
    suspended = waiter.invocation
    assert suspended.record is not None
    resume(run, suspended, suspended.record.answered(event))


def resume(run: Run, suspended: Invocation, record: Record) -> None:
    """Queue the next pass of an invocation, under a number of its own."""
    again = replace(suspended, id=run.next_invocation, record=record)
    run.next_invocation += 1
    run.invocations[again.id] = again
    run.scheduler.enqueue(again.step, again.id)


def due(run: Run, number: int) -> None:
    """The time of a wait is up."""
    run.timers.pop(f"{TIMER}{number}", None)
    waiter = run.waiters.all.get(number)
    if waiter is not None:
        answer(run, waiter, None)


def waiter_of(run: Run, request: Request) -> Waiter | None:
    """The suspended invocation that a request belongs to."""
    return None if request.waiter is None else run.waiters.all.get(request.waiter)


def views(run: Run) -> list[dict[str, Any]]:
    """The waits of a run as people see them, the longest first."""
    shown = list(run.waiters.all.values())[:WAITS_SHOWN]
    return [
        {
            "step": waiter.invocation.step,
            "type": waiter.wait.type,
            "requirements": dict(waiter.wait.requirements),
            "waiter_id": waiter.wait.waiter_id,
            "request": waiter.request,
            "since": asking.iso(waiter.since),
            "until": None if waiter.due_at is None else asking.iso(waiter.due_at),
        }
        for waiter in shown
    ]


def _ask(run: Run, waiter: Waiter, question: Envelope) -> None:
    """Open the request of a wait; it is due when the wait or the question says, whatever comes first."""
    times = [waiter.due_at, question.due_at, None if question.due_in is None else run.now + question.due_in]
    due_at = min((at for at in times if at is not None), default=None)
    waiter.due_at = due_at
    invocation = waiter.invocation
    request = asking.ask(
        run,
        replace(question, due_in=None, due_at=due_at),
        invocation.scope,
        invocation.recoveries,
        invocation.step,
        invocation.id,
        waiter=(waiter.wait.type,),
    )
    waiter.request = request.id


def _ancestors(run: Run, type_name: str) -> tuple[str, ...]:
    event, _ = run.kept.by_type[type_name][0]
    return run.router.ancestors(event)
