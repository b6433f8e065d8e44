"""What people and programs see of a run: progress, open requests, and one line that tells where it stands."""

from __future__ import annotations

from itertools import islice
from typing import Any

from everstep.engine import waits
from everstep.engine.requests import timestamp
from everstep.engine.run import Run

REQUESTS_DESCRIBED = 3
"""How many open requests the one line names."""


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
        "open_requests": list(run.open_requests),
        "waits": waits.views(run),
        "unhandled_events": run.unhandled,
        "refused_messages": list(run.refused),
    }


def requests(run: Run, *, only_open: bool = False) -> list[dict[str, Any]]:
    """The requests of the run, each with the JSON Schemas of its answers."""
    out: list[dict[str, Any]] = []
    for request in run.requests.values():
        if only_open and request.status != "open":
            continue
        schemas = {
            name: dict(run.definition.events[name].schema) for name in request.answers if name in run.definition.events
        }
        out.append({**request.view(), "answer_schemas": schemas})
    return out


def status(run: Run) -> str:
    """``new``, ``running``, ``waiting`` (only for people), ``idle`` (only for events from outside), or how it ended."""
    if not run.active:
        return run.status
    if run.open_requests and not run.invocations:
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
    unasked = [one for one in islice(run.waiters.all.values(), REQUESTS_DESCRIBED) if one.request is None]
    parts += [f"{one.invocation.step} waits for {one.wait.type}" for one in unasked]
    return "; ".join(parts)
