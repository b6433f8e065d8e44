"""Opening requests to humans, refusing messages, and answering their senders; delivers nothing itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from everstep.engine.commands import CancelTimer, ReplyToMessage, RequestChanged, SetTimer
from everstep.engine.messages import Envelope
from everstep.engine.requests import REFUSALS_KEPT, REFUSED_SIZE_KEPT, Message, Request, excerpt, timestamp
from everstep.engine.run import Run
from everstep.engine.scheduling import Recoveries

CLOSED_REQUESTS_KEPT = 1000
"""How many closed requests a run remembers; older ones are read in its history. A snapshot must not grow for ever."""

TAKEN_KEYS_KEPT = 1000
"""How many senders' message ids are remembered, so that a message sent again is taken once."""


def ask(
    run: Run,
    question: Envelope,
    scope: int,
    recoveries: Recoveries,
    step: str,
    invocation: int,
    *,
    waiter: tuple[str, ...] | None = None,
) -> Request:
    """Open a request; it keeps its stream open until it is closed.

    With `waiter`, the types that it waits for, the answer goes to the invocation itself, which is suspended.
    """
    number = run.request_counts.get(step, 0) + 1
    run.request_counts[step] = number
    due_at = question.due_at if question.due_in is None else run.now + question.due_in
    request = Request(
        f"{step}-{number}",
        step,
        invocation,
        question,
        answer_types(run, question) if waiter is None else waiter,
        run.now,
        due_at,
        scope,
        recoveries,
        waiter=None if waiter is None else invocation,
    )
    run.requests[request.id] = request
    run.open_requests[request.id] = None
    run.streams[scope].open += 1
    run.commands.append(RequestChanged(request.id, opened=True))
    if due_at is not None:
        timer = due_timer(request)
        run.timers[timer] = due_at
        run.commands.append(SetTimer(timer, due_at))
    return request


def answer_types(run: Run, question: Envelope) -> tuple[str, ...]:
    """The event types that answer a question: the one it declares, else every answer that the flow takes."""
    known = run.definition.events.get(question.type)
    if known is not None and known.response is not None:
        return (known.response,)
    accepted = dict.fromkeys(name for step in run.definition.steps.values() for name in step.accepts)
    events = run.definition.events
    return tuple(name for name in accepted if name in events and events[name].is_a("HumanResponseEvent"))


def was_asked(run: Run, request_id: str) -> bool:
    """Whether this is the id of a request that the run once had."""
    step, _, number = request_id.rpartition("-")
    return number.isdecimal() and len(number) < 10 and 0 < int(number) <= run.request_counts.get(step, 0)


def due_timer(request: Request) -> str:
    """The name of the timer that bounds a request."""
    return f"due:{request.id}"


def close(run: Run, request: Request) -> None:
    """A request needs no more answers; its timer is no longer needed. The oldest closed one is forgotten."""
    run.open_requests.pop(request.id, None)
    run.closed_requests[request.id] = None
    run.commands.append(RequestChanged(request.id))
    oldest = next(iter(run.closed_requests))
    if len(run.closed_requests) > CLOSED_REQUESTS_KEPT and not run.requests[oldest].judging:
        del run.closed_requests[oldest], run.requests[oldest]
    timer = due_timer(request)
    if run.timers.pop(timer, None) is not None:
        run.commands.append(CancelTimer(timer))


def refuse(run: Run, message: Message, reason: str) -> None:
    """Refuse a message: record it where people look, and tell its sender."""
    request = run.requests.get(message.request or "")
    if request is not None:
        request.refuse(run.now, message.data, message.by, reason)
    else:
        record_refusal(run, message.data, message.by, reason)
    reply(run, message, False, reason)


def record_refusal(run: Run, data: Any, by: str | None, reason: str) -> None:
    """Record a refused message that belongs to no request."""
    if len(run.refused) < REFUSALS_KEPT:
        run.refused.append(
            {"at": timestamp(run.now), "by": by, "message": excerpt(data), "reason": reason[:REFUSED_SIZE_KEPT]}
        )


def accept(run: Run, message: Message) -> None:
    """Tell the sender that a message was taken, and remember its key."""
    if message.key is not None:
        run.taken_keys[message.key] = message.request or ""
        if len(run.taken_keys) > TAKEN_KEYS_KEPT:
            del run.taken_keys[next(iter(run.taken_keys))]
    reply(run, message, True)


def reply(run: Run, message: Message, accepted: bool, reason: str = "") -> None:
    """Tell the sender of a message, and all who sent it again meanwhile, what became of it."""
    for number in (message.id, *message.again):
        run.commands.append(ReplyToMessage(number, accepted, reason, message.request))


def refuse_pending(run: Run) -> None:
    """The run has ended: its open requests are closed, and whoever still waits for a verdict is told so."""
    for message in (*run.messages.values(), *run.early.values()):
        if not message.expiry:
            refuse(run, message, over(run))
    run.messages.clear()
    run.early.clear()
    run.judging_keys.clear()
    for request_id in run.open_requests:
        run.requests[request_id].status = "closed"
    run.open_requests.clear()


def over(run: Run) -> str:
    """Why a run that is not active takes nothing."""
    if run.status == "new":
        return f"the run of {run.definition.name} has not begun yet; send it again when it has"
    how = (
        "has completed" if run.status == "completed" else "was cancelled" if run.status == "cancelled" else "has failed"
    )
    return f"the run of {run.definition.name} {how}; it takes no more messages"


def closed(request: Request) -> str:
    """Why a request that is not open takes no answer."""
    if request.status == "expired" or request.overdue:
        return f"request {request.id} was due at {iso(request.due_at or request.asked_at)}; this answer came too late"
    who = f" by {request.answered_by}" if request.answered_by else ""
    return f"request {request.id} was already answered at {iso(request.answered_at or request.asked_at)}{who}"


def iso(seconds: float) -> str:
    """Epoch seconds for a sentence: ISO 8601, to the second."""
    return datetime.fromisoformat(timestamp(seconds)).isoformat(timespec="seconds")
