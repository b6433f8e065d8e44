"""Messages from outside: events and people's answers. Each is judged once, in order of arrival, and taken or refused.

Nothing here fails a run because a message is bad: it is refused with the reason, and recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain, islice
from typing import Any, cast

from everstep.engine import children, unjudged, waits
from everstep.engine.asking import accept, close, closed, due_timer, iso, over, record_refusal, refuse, reply, was_asked
from everstep.engine.commands import FailRun, JudgeMessage, SetTimer
from everstep.engine.delivery import deliver, fail, release
from everstep.engine.inputs import MessageMalformed, MessageReceived, MessagesJudged, Verdict
from everstep.engine.messages import Envelope
from everstep.engine.requests import Message, Request, excerpt
from everstep.engine.run import Run
from everstep.engine.streams import ROOT
from everstep.engine.waiters import Waiter

EXPIRED_EVENT = "InputExpiredEvent"

EARLY_TIMER = "early:"
"""Before a message's number: the timer of its second look."""

SECOND_LOOK = 0.001
"""Seconds to the second look: in the next workflow task, whatever the time."""

NAMES_SHOWN = 20
"""How many names a refusal lists: it stays readable, and its cost does not grow with the run."""


def receive(run: Run, message: MessageReceived) -> int:
    """Take in a message and have it judged, or refuse it at once; gives its number."""
    number = run.next_message
    run.next_message += 1
    fault = _fault(message)
    if fault is not None:
        refuse(run, Message(number, {"message": message.data}, ()), fault)
        return number
    entry = Message(number, message.data, (), message.request, message.step, message.by, message.key)
    answer = run.active and _is_answer(run, message)
    taker = unjudged.taker(run, message) if message.unattended and not answer else None
    if taker is None:
        _take_in(run, entry, message.type, answer=answer)
    else:
        accept(run, entry)
        unjudged.hand_over(run, message, taker)
    return number


def _take_in(run: Run, entry: Message, type_name: str | None, *, answer: bool) -> None:
    if entry.key is not None and entry.key in run.taken_keys:
        entry.request = run.taken_keys[entry.key] or None
        reply(run, entry, True)
    elif not run.active:
        refuse(run, entry, over(run))
    elif entry.key is not None and entry.key in run.judging_keys:
        run.messages[run.judging_keys[entry.key]].again.append(entry.id)
    elif answer:
        _receive_answer(run, entry, type_name)
    else:
        _receive_event(run, entry, type_name)


def look_again(run: Run, number: int) -> None:
    """The second look at an answer for which there was no request at the first."""
    run.timers.pop(f"{EARLY_TIMER}{number}", None)
    entry = run.early.pop(number, None)
    if entry is not None:
        types, entry.types = entry.types, ()
        _take_in(run, entry, types[0] if types else None, answer=True)


def malformed(run: Run, message: MessageMalformed) -> None:
    """Record something that is no message."""
    record_refusal(run, message.raw, message.by, message.reason)


def judged(run: Run, verdicts: MessagesJudged) -> None:
    """Carry out verdicts, in order."""
    for verdict in verdicts.verdicts:
        message = run.messages.pop(verdict.message, None)
        if message is None:
            continue
        if message.key is not None:
            del run.judging_keys[message.key]
        if message.request is not None:
            _answer(run, message, run.requests[message.request], verdict)
        elif verdict.event is None:
            refuse(run, message, verdict.reason)
        elif not _deliverable(run, verdict.event, message.step):
            refuse(run, message, _no_taker(run, verdict.event.type, message.step))
        else:
            accept(run, message)
            deliver(run, verdict.event, ROOT, {}, message.step)


def due(run: Run, request_id: str) -> None:
    """The time of a request is up: expire it, after the verdicts on answers that came before."""
    request = run.requests[request_id]
    run.timers.pop(due_timer(request), None)
    if request.status != "open":
        return
    request.overdue = True
    if not request.judging:
        _expire(run, request)


def judge_again(run: Run) -> None:
    """Ask again for the verdicts that were outstanding when the engine was saved."""
    for message in run.messages.values():
        run.commands.append(_judgement(run, message))


def _fault(message: MessageReceived) -> str | None:
    """What is wrong with the form of a message; it comes from outside, whatever its annotations say."""
    data: Any = message.data
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in cast("Mapping[Any, Any]", data)):
        return f"the data of a message must be a JSON object; got {excerpt(data)!r}"
    texts: dict[str, Any] = {name: getattr(message, name) for name in ("type", "request", "step", "by", "key")}
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            return f"the {name} of a message must be a string; got {excerpt(text)!r}"
    return None


def _is_answer(run: Run, message: MessageReceived) -> bool:
    """Answers sent as plain events are answers too, wherever the flow asks by requests; also those for one step."""
    if message.answer:
        return True
    if message.type is None:
        return False
    if message.step is not None and (run.protocol < 3 or message.step not in run.definition.steps):
        return False
    if message.step is None and _answers_below(run, message, message.type):
        return True
    if not (run.asks_people or run.requests or run.family.requests):
        return False
    if not run.open_requests and message.request is None and run.waiters.waits_for(message.type):
        return False  # there is nothing to answer but a wait that asked nobody
    return run.router.is_a(Envelope(message.type, {}), "HumanResponseEvent")


def _answers_below(run: Run, message: MessageReceived, type_name: str) -> bool:
    """Whether an event is for a request from below: it names one, or is of a type that answers one."""
    below = run.family
    named = message.request or message.data.get("request_id")
    if isinstance(named, str) and named:
        return named in below.requests
    some = islice(below.open_requests, NAMES_SHOWN)
    return any(type_name in below.requests[name].view.get("answer_types", ()) for name in some)


def _judge(run: Run, entry: Message, types: tuple[str, ...]) -> None:
    entry.types = types
    run.messages[entry.id] = entry
    if entry.key is not None:
        run.judging_keys[entry.key] = entry.id
    request = run.requests.get(entry.request or "")
    entry.waited = any(map(run.waiters.waits_for, types)) or (request is not None and request.waiter is not None)
    run.commands.append(_judgement(run, entry))


def _judgement(run: Run, entry: Message) -> JudgeMessage:
    question = None
    if run.definition.checks_answers and entry.request in run.requests and not entry.expiry:
        question = run.requests[entry.request].question
    return JudgeMessage(entry.id, entry.types, entry.data, entry.waited, question, not entry.expiry)


def _receive_event(run: Run, entry: Message, type_name: str | None) -> None:
    entry.request = None  # only an answer closes a request, whatever an event names
    if type_name is None:
        refuse(run, entry, 'the event names no type; send {"type": …, "data": {…}}')
    elif entry.step is not None and entry.step not in run.definition.steps:
        refuse(run, entry, f"there is no step {entry.step!r}; the steps are {_names(run.definition.steps)}")
    else:
        _judge(run, entry, (type_name,))


def _receive_answer(run: Run, entry: Message, type_name: str | None) -> None:
    if entry.request is None:
        named = entry.data.get("request_id")
        entry.request = named if isinstance(named, str) and named else None
    if entry.request is None:
        below = run.family.open_requests
        if not (run.open_requests or below) and (types := _waited_answers(run, type_name)):
            _judge(run, entry, types)
            return
        if len(run.open_requests) + len(below) != 1:
            _refuse_unless_early(run, entry, type_name, _which(run))
            return
        entry.request = next(chain(run.open_requests, below))
    if (target := children.target_of(run, entry.request)) is not None:
        entry.request = None
        children.forward(run, entry, type_name, target)
    else:
        _answer_own(run, entry, entry.request, type_name)


def _answer_own(run: Run, entry: Message, request_id: str, type_name: str | None) -> None:
    """Have an answer judged that is for a request of this run."""
    request = run.requests.get(request_id) or run.requests.get(request_id.removeprefix(f"{run.id}/"))
    entry.request = None if request is None else request.id
    if request is None and was_asked(run, request_id):
        refuse(run, entry, f"request {request_id} was closed; open are: {_open_names(run)}")
    elif request is None:
        reason = f"there is no request {request_id!r}; open are: {_open_names(run)}"
        _refuse_unless_early(run, entry, type_name, reason, request_id)
    elif request.status != "open" or request.overdue:
        refuse(run, entry, closed(request))
    elif type_name is not None and not _answers(run, type_name, request):
        refuse(run, entry, f"{type_name} does not answer request {request.id}; it takes {_names(request.answers)}")
    elif not request.answers and type_name is None:
        refuse(run, entry, f"the flow {run.definition.name} takes no HumanResponseEvent; no answer fits")
    else:
        request.judging += 1
        _judge(run, entry, (type_name,) if type_name is not None else request.answers)


def _refuse_unless_early(
    run: Run, entry: Message, type_name: str | None, reason: str, request_id: str | None = None
) -> None:
    """Refuse an answer to what was not asked, but look again first if a step may just have asked it.

    People see a question as soon as the outcome that asks it is recorded. Where one workflow task brings that outcome
    and the answer, because no worker was there for a while, workflow code is told of the answer first.
    """
    if entry.looked or run.protocol < 2 or not run.scheduler.in_flight:
        refuse(run, entry, reason)
        return
    entry.looked, entry.request = True, request_id
    entry.types = () if type_name is None else (type_name,)
    run.early[entry.id] = entry
    timer = f"{EARLY_TIMER}{entry.id}"
    run.timers[timer] = run.now + SECOND_LOOK
    run.commands.append(SetTimer(timer, run.timers[timer]))


def _waited_answers(run: Run, type_name: str | None) -> tuple[str, ...]:
    """The types of an answer that steps wait for without having asked for it by a request."""
    if type_name is not None:
        return (type_name,) if run.waiters.waits_for(type_name) else ()
    waiters = islice(run.waiters.all.values(), NAMES_SHOWN)
    types = dict.fromkeys(waiter.wait.type for waiter in waiters)
    return tuple(name for name in types if run.router.is_a(Envelope(name, {}), "HumanResponseEvent"))


def _answers(run: Run, type_name: str, request: Request) -> bool:
    event = Envelope(type_name, {})
    return any(run.router.is_a(event, name) for name in request.answers or ("HumanResponseEvent",))


def _answer(run: Run, message: Message, request: Request, verdict: Verdict) -> None:
    """A verdict on an answer: it closes its request, or is refused."""
    request.judging -= 1
    if message.expiry:
        _expired_answer(run, request, verdict)
        return
    if request.status != "open":
        refuse(run, message, closed(request))
    elif verdict.event is None:
        refuse(run, message, verdict.reason)
    elif (waiter := waits.waiter_of(run, request)) is not None:
        if waiter.meets(verdict.event):
            accept(run, message)
            waits.answer(run, waiter, verdict.event, message.by)
            return
        refuse(run, message, _not_required(request, waiter))
    elif not _deliverable(run, verdict.event, message.step):
        refuse(run, message, _no_taker(run, verdict.event.type, message.step))
    else:
        request.status = "answered"
        request.answer, request.answered_by, request.answered_at = verdict.event, message.by, run.now
        close(run, request)
        accept(run, message)
        deliver(run, verdict.event, request.scope, request.recoveries, message.step)
        if run.active:
            release(run, request.scope)
        return
    if request.overdue and not request.judging and request.status == "open":
        _expire(run, request)


def _expire(run: Run, request: Request) -> None:
    """Tell the flow that nobody answered: by the expiry event if a step takes it, else by an answer that says so."""
    if (waiter := waits.waiter_of(run, request)) is not None:
        waits.answer(run, waiter, None)
        return
    request.status = "expired"
    close(run, request)
    data = {
        "request_id": request.id,
        "step_name": request.step,
        "due": iso(request.due_at or run.now),
        "question": dict(request.question.data),
    }
    event = Envelope(EXPIRED_EVENT, data)
    if run.router.steps_for(event):
        deliver(run, event, request.scope, request.recoveries)
        if run.active:
            release(run, request.scope)
        return
    if not request.answers:
        _expired_answer(run, request, Verdict(0, None, "the flow takes no HumanResponseEvent"))
        return
    entry = Message(run.next_message, {"request_id": request.id, "expired": True}, (), request.id, expiry=True)
    run.next_message += 1
    request.judging += 1
    _judge(run, entry, request.answers)


def _expired_answer(run: Run, request: Request, verdict: Verdict) -> None:
    reason = verdict.reason
    if verdict.event is not None and not _deliverable(run, verdict.event, None):
        reason = _no_taker(run, verdict.event.type, None)
    elif verdict.event is not None:
        deliver(run, verdict.event, request.scope, request.recoveries)
        if run.active:
            release(run, request.scope)
        return
    fail(
        run,
        FailRun(
            "expired",
            f"request {request.id} of step {request.step!r} expired at {iso(request.due_at or run.now)} unanswered, "
            f"and no step takes {EXPIRED_EVENT}. Add a step that does, or give "
            f"{' / '.join(request.answers) or 'the answer'} defaults so that an answer with expired=True can be built "
            f"({reason}).",
            step=request.step,
        ),
    )


def _deliverable(run: Run, event: Envelope, target: str | None) -> bool:
    if run.router.is_stop(event) or run.router.steps_for(event, target):
        return True
    return waits.may_wait(run, target) or waits.find(run, event, target) is not None


def _no_taker(run: Run, type_name: str, target: str | None) -> str:
    if target is not None:
        accepts = run.definition.steps[target].accepts
        return f"step {target!r} does not accept {type_name}; it accepts {_names(accepts)}"
    accepted = dict.fromkeys(name for step in run.definition.steps.values() for name in step.accepts)
    return f"no step of {run.definition.name} accepts {type_name}; the flow accepts {_names(accepted)}"


def _not_required(request: Request, waiter: Waiter) -> str:
    required = ", ".join(f"{name}={excerpt(value)!r}" for name, value in waiter.wait.requirements.items())
    return f"request {request.id} waits for {waiter.wait.type} with {required}; this answer is another one"


def _which(run: Run) -> str:
    if not (run.open_requests or run.family.open_requests):
        return "no request is open, so there is nothing to answer"
    return f'several requests are open; name one of them as "request": {_open_names(run)}'


def _open_names(run: Run) -> str:
    below = run.family.open_requests
    if not below:
        return _names(run.open_requests)
    named = list(islice(chain(run.open_requests, below), NAMES_SHOWN))
    more = len(run.open_requests) + len(below) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _names(names: Collection[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(islice(names, NAMES_SHOWN)) + more if names else "none"
