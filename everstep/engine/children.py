"""Running flows as children: their steps are suspended, without a slot, until all children of the pass have ended.

At most `AT_ONCE` children of a run go on at one time; the others wait for their turn. What a child asks people is kept
here too, so that they find it where they look for the run above.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from everstep.engine import asking, waits
from everstep.engine.calls import ChildCall
from everstep.engine.commands import (
    CancelChild,
    CancelRun,
    CompleteRun,
    FailRun,
    ForwardAnswer,
    RequestChanged,
    StartChild,
)
from everstep.engine.family import Caller, Child, ChildRequest
from everstep.engine.inputs import ChildAsked, ChildEnded
from everstep.engine.messages import Outcome
from everstep.engine.passes import ChildEnd
from everstep.engine.requests import Message
from everstep.engine.run import Run
from everstep.engine.scheduling import Invocation

AT_ONCE = 40
"""How many children of a run go on at one time: servers bound what may arrive during one workflow task."""

CLOSED_KEPT = 1000
"""How many closed requests from below a run remembers."""

SHOWN = 100
"""How many children the progress of a run lists."""


def suspend(run: Run, invocation: Invocation, outcome: Outcome) -> None:
    """An invocation waits for children, its effects so far committed."""
    record = invocation.suspend(outcome.effects, outcome.tries)
    family = run.family
    caller = Caller(invocation, [None] * len(outcome.calls), len(outcome.calls))
    for place, call in enumerate(outcome.calls):
        name = _run_id(run, invocation.step, call)
        if name == run.id or name in family.children:
            caller.ends[place] = _taken(name)
            caller.open -= 1
            continue
        number = len(record.children) + place
        family.children[name] = Child(name, call, invocation.id, place, record.origin, number, run.now)
        family.queue.append(name)
    if caller.open:
        family.callers[invocation.id] = caller
    else:
        _go_on(run, caller)


def begin_next(run: Run) -> None:
    """Begin children whose turn it is."""
    family = run.family
    while family.queue and family.begun < AT_ONCE and not run.scheduler.paused:
        child = family.children[family.queue.popleft()]
        child.begun = True
        run.commands.append(StartChild(child.run, child.call, child.origin, child.number))


def ended(run: Run, what: ChildEnded) -> None:
    """A child has ended; what it had still asked is closed. Its caller goes on with the last of them."""
    family = run.family
    child = family.children.get(what.end.run)
    if child is None or not child.begun:
        return
    del family.children[child.run]
    for request_id in list(child.asked):
        _close(run, family.requests[request_id], "closed")
    caller = family.callers[child.caller]
    caller.ends[child.place] = what.end
    caller.open -= 1
    if not caller.open:
        del family.callers[child.caller]
        _go_on(run, caller)


def asked(run: Run, what: ChildAsked) -> None:
    """A child tells of a request to a person, its own or one from below it: it was opened, or closed."""
    family = run.family
    child = family.children.get(what.run)
    view = what.view
    if child is None or not child.begun:
        return
    found = ChildRequest(child.run, str(view.get("run") or child.run), str(view.get("request") or view["id"]), {})
    found.view = {**view, "id": found.id, "run": found.run, "request": found.request}
    before = family.requests.get(found.id)
    if before is not None and before.child != child.run:
        return
    family.requests[found.id] = found
    if view.get("status") == "open":
        family.open_requests[found.id] = None
        child.asked[found.id] = None
        run.commands.append(RequestChanged(found.id, opened=before is None))
    else:
        _close(run, found, str(view.get("status")))


def target_of(run: Run, request_id: str | None) -> ChildRequest | None:
    """The request from below that an answer is for, if it is for one."""
    return None if request_id is None else run.family.requests.get(request_id)


def forward(run: Run, message: Message, type_name: str | None, target: ChildRequest) -> None:
    """Pass an answer on to the run that asked: it is judged there."""
    if target.child not in run.family.children:
        asking.refuse(run, message, f"request {target.id} was closed when run {target.run} ended")
        return
    data = {key: value for key, value in message.data.items() if key != "request_id"}
    run.commands.append(
        ForwardAnswer(message.id, target.child, target.run, target.request, data, type_name, message.by)
    )


def restored(run: Run) -> None:
    """The children that run go on: hear of them again, or begin them again where they did not outlive the restart."""
    for child in run.family.running():
        run.commands.append(StartChild(child.run, child.call, child.origin, child.number, again=True))


def end(run: Run) -> None:
    """The run has ended: its children are cancelled."""
    run.commands.extend(CancelChild(child.run) for child in run.family.running())
    for request_id in run.family.open_requests:
        run.family.requests[request_id].view["status"] = "closed"
    run.family.let_go()


def end_of(run_id: str, command: CompleteRun | FailRun | CancelRun) -> ChildEnd:
    """How a run ended, as the run above is told."""
    if isinstance(command, CompleteRun):
        return ChildEnd(run_id, command.event)
    if isinstance(command, CancelRun):
        why = f": {command.reason}" if command.reason else ""
        return ChildEnd.failed(run_id, "everstep.errors.WorkflowCancelledByUser", f"it was cancelled{why}")
    if command.failure is not None:
        return ChildEnd(run_id, failure=command.failure, reason=command.message)
    return ChildEnd.failed(run_id, failure_type(command.kind), command.message)


def failure_type(kind: str) -> str:
    """The error that a run raises which ended in failure of this kind, but for those of its steps."""
    errors = {"timeout": "WorkflowTimeoutError", "expired": "RequestExpiredError"}
    return f"everstep.errors.{errors.get(kind, 'WorkflowRuntimeError')}"


def views(run: Run) -> list[dict[str, Any]]:
    """The children of a run that have not ended, as people see them."""
    return [
        {
            "run": child.run,
            "flow": child.call.flow,
            "step": run.family.callers[child.caller].invocation.step,
            "since": asking.iso(child.since),
            "queued": not child.begun,
        }
        for child in islice(run.family.children.values(), SHOWN)
    ]


def all_ask(run: Run) -> bool:
    """Whether every child waits for a person."""
    return all(child.asked for child in run.family.children.values())


def _go_on(run: Run, caller: Caller) -> None:
    invocation = caller.invocation
    assert invocation.record is not None
    waits.resume(run, invocation, invocation.record.joined(end for end in caller.ends if end is not None))


def _run_id(run: Run, step: str, call: ChildCall) -> str:
    """The id that the caller has given, or one that tells whose child it is."""
    if call.run_id is not None:
        return call.run_id
    number = run.family.counts.get(step, 0) + 1
    run.family.counts[step] = number
    return f"{run.id}/{step}-{number}"


def _taken(name: str) -> ChildEnd:
    reason = f"a run {name!r} is under way already: choose another run_id, or leave it out"
    return ChildEnd.failed(name, "everstep.errors.RunAlreadyStartedError", reason)


def _close(run: Run, request: ChildRequest, status: str) -> None:
    """A request from below is open no more; the oldest closed one is forgotten."""
    family = run.family
    known: Mapping[str, Any] = request.view
    request.view = {**known, "status": status}
    family.open_requests.pop(request.id, None)
    child = family.children.get(request.child)
    if child is not None:
        child.asked.pop(request.id, None)
    run.commands.append(RequestChanged(request.id))
    # Moved to the end: what stands first was closed first, or is open.
    family.requests[request.id] = family.requests.pop(request.id)
    if len(family.requests) - len(family.open_requests) > CLOSED_KEPT:
        oldest = next(name for name in family.requests if name not in family.open_requests)
        del family.requests[oldest]
