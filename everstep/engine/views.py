"""What people and programs see of a run: progress, open requests, and one line that tells where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from everstep.engine import children, waits
from everstep.engine.messages import Envelope
from everstep.engine.requests import timestamp
from everstep.engine.run import Run
from everstep.engine.scheduling import Invocation
from everstep.engine.slots import Slots
from everstep.engine.streams import ROOT

REQUESTS_DESCRIBED = 3
"""How many open requests the one line names."""

UNMATCHED_SHOWN = 100
"""How many scopes with unmatched events the progress of a run lists."""


def progress(run: Run) -> dict[str, Any]:
    """Counts per step and what the run waits for, as plain JSON."""
    return {
        "flow": run.definition.name,
        "status": status(run),
        "started_at": timestamp(run.started_at),
        "last_step": run.last_step,
        "steps": [
            {
                "step": name,
                "queued": len(queue.waiting),
                "running": queue.running,
                "done": queue.done,
                "failed": queue.failed,
            }
            for name, queue in run.scheduler.queues.items()
        ],
        "open_requests": [*run.open_requests, *run.family.open_requests],
        "waits": waits.views(run),
        "children": children.views(run),
        "unmatched": list(islice(_unmatched(run), UNMATCHED_SHOWN)),
        "unhandled_events": run.unhandled,
        "refused_messages": list(run.refused),
    }


def given(invocation: Invocation) -> list[Envelope]:
    """The events that an invocation was given."""
    return list(invocation.batch or ()) if invocation.event is None else [invocation.event]


def given_name(run: Run, invocation: Invocation) -> str:
    """What an invocation was given, by type; several events as Python writes such types."""
    if invocation.event is not None:
        return invocation.event.type
    step = run.definition.steps[invocation.step]
    if step.parameters:
        return f"tuple[{', '.join(event.type for event in given(invocation))}]"
    return f"list[{' | '.join(step.accepts)}]"


def unmatched(run: Run) -> list[str]:
    """A sentence for each step of which some events came, outside of streams, and not one for each parameter."""
    return [
        f"Step {name!r} has {_counted(slots)}, and nothing came for " + ", ".join(_lacking(run, name, slots))
        for name, slots in run.streams[ROOT].slots.items()
    ]


def _unmatched(run: Run) -> Iterator[dict[str, Any]]:
    for stream in run.streams.values():
        for name, slots in stream.slots.items():
            yield {"step": name, "has": slots.counts(), "lacks": _lacking(run, name, slots)}


def _counted(slots: Slots) -> str:
    return ", ".join(f"{kind} ×{count}" if count > 1 else kind for kind, count in slots.counts().items())


def _lacking(run: Run, name: str, slots: Slots) -> list[str]:
    parameters = run.definition.steps[name].parameters
    lacking = [parameters[place] for place in slots.lacking()]
    return [f"{each.name}: {' | '.join(each.accepts)}" for each in lacking]


def requests(run: Run, *, only_open: bool = False) -> list[dict[str, Any]]:
    """The requests of the run and of those below it, each with the JSON Schemas of its answers.

    One from below tells the run that it is of, as ``run``, and its id there, as ``request``.
    """
    own = run.open_requests if only_open else run.requests
    below = run.family.open_requests if only_open else run.family.requests
    return [request(run, name) for name in (*own, *below)]


def request(run: Run, request_id: str) -> dict[str, Any]:
    """One request, of the run or of one below it."""
    below = run.family.requests.get(request_id)
    if below is not None:
        return dict(below.view)
    found = run.requests[request_id]
    events = run.definition.events
    schemas = {name: dict(events[name].schema) for name in found.answers if name in events}
    return {**found.view(), "answer_schemas": schemas}


def status(run: Run) -> str:
    """``new``, ``running``, ``waiting`` (only for people), ``idle`` (only for events from outside), or how it ended."""
    if not run.active:
        return run.status
    if not run.invocations and (run.open_requests or run.family.open_requests) and children.all_ask(run):
        return "waiting"
    return "idle" if run.idle else "running"


def describe(run: Run) -> str:
    """Where the run stands, in one line."""
    queues = run.scheduler.queues.items()
    running = [f"{name} ×{queue.running}" if queue.running > 1 else name for name, queue in queues if queue.running]
    queued = sum(len(queue.waiting) for _, queue in queues)
    done = sum(queue.done for _, queue in queues)
    parts = [f"{status(run)}"]
    if running:
        parts.append("running " + ", ".join(running))
    if queued:
        parts.append(f"{queued} queued")
    parts.append(f"{done} done")
    for request_id in islice(run.open_requests, REQUESTS_DESCRIBED):
        request = run.requests[request_id]
        until = f" until {timestamp(request.due_at)}" if request.due_at is not None else ""
        parts.append(f"waits for {request.question.data.get('assignee') or 'a person'}: {request_id}{until}")
    if len(run.open_requests) > REQUESTS_DESCRIBED:
        parts.append(f"and {len(run.open_requests) - REQUESTS_DESCRIBED} more requests")
    for child in islice(run.family.children.values(), REQUESTS_DESCRIBED):
        asks = " (which waits for a person)" if child.asked else ""
        parts.append(f"waits for child {child.run} of {child.call.flow}{asks}")
    if len(run.family.children) > REQUESTS_DESCRIBED:
        parts.append(f"and {len(run.family.children) - REQUESTS_DESCRIBED} more children")
    unasked = [one for one in islice(run.waiters.all.values(), REQUESTS_DESCRIBED) if one.request is None]
    parts += [f"{one.invocation.step} waits for {one.wait.type}" for one in unasked]
    parts += [line[0].lower() + line[1:] for line in unmatched(run)]
    return "; ".join(parts)
