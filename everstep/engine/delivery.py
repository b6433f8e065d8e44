"""Events on their way: routing, streams and joins, what an outcome commits, and how a run ends or comes to rest."""

from __future__ import annotations

from typing import Literal

from everstep.engine import asking, children, locks, paths, views, waits
from everstep.engine.commands import CancelRun, CancelStep, CompleteRun, FailRun, Publish
from everstep.engine.messages import Envelope, Failure, Outcome
from everstep.engine.requests import timestamp
from everstep.engine.run import Run
from everstep.engine.scheduling import Invocation, Recoveries
from everstep.engine.slots import Slots
from everstep.engine.streams import ROOT, Stream
from everstep.flow.definition import StepDefinition


def deliver(run: Run, event: Envelope, scope: int, recoveries: Recoveries, target: str | None = None) -> int:
    """Give an event to whoever waits for it and to every step that takes it; gives how many did.

    The step that took it by waiting is not given it again. What nobody takes is kept for a later wait, where the flow
    may wait. A stop event ends the run.
    """
    if run.router.is_stop(event):
        complete(run, event)
        return 1
    steps = run.router.steps_for(event, target)
    waiter = waits.offer(run, event, target)
    if waiter is not None:
        steps = tuple(step for step in steps if step.name != waiter.invocation.step)
    for step in steps:
        if step.join:
            _collect(run, step, event, scope, recoveries)
        elif step.parameters:
            _pair(run, step, event, scope, recoveries)
        else:
            spawn(run, step.name, scope, recoveries, event=event)
    if not steps and waiter is None:
        dropped = run.kept.add(event, target) if waits.may_wait(run, target) else (event, target)
        if dropped is not None:
            _unhandled(run, *dropped)
    return len(steps) + (waiter is not None)


def _unhandled(run: Run, event: Envelope, target: str | None) -> None:
    run.unhandled += 1
    data = {
        "event_type": event.type,
        "qualified_name": event.type,
        "step_name": target,
        "idle": not run.invocations and not run.open_requests,
    }
    run.commands.append(Publish(Envelope("UnhandledEvent", data)))


def spawn(
    run: Run,
    step: str,
    scope: int,
    recoveries: Recoveries,
    *,
    event: Envelope | None = None,
    batch: list[Envelope] | None = None,
) -> Invocation:
    """Queue a new invocation of a step."""
    invocation = Invocation(run.next_invocation, step, event, batch, scope, recoveries)
    run.next_invocation += 1
    run.invocations[invocation.id] = invocation
    run.streams[scope].open += 1
    run.scheduler.enqueue(step, invocation.id)
    return invocation


def open_stream(run: Run, opener: Invocation, members: list[Envelope]) -> None:
    """Open a stream within the opener's scope; without members it closes at once and its joins fire empty."""
    scope, recoveries, invocation = opener.scope, opener.recoveries, opener.id
    step = run.definition.steps[opener.step]
    stream = Stream(run.next_stream, scope, step.feeds, dict(recoveries)).within(run.streams[scope])
    run.next_stream += 1
    run.streams[stream.id] = stream
    run.streams[scope].open += 1
    stream.open += 1  # held while the members are given out, so that none closes it early
    for member in members:
        emit(run, member, stream.id, recoveries, step.name, invocation)
        if not run.active:
            return
    release(run, stream.id)


def release(run: Run, scope: int) -> None:
    """One thing less keeps a stream open; when it was the last the stream closes and its joins fire."""
    while True:
        stream = run.streams[scope]
        stream.open -= 1
        if stream.open or stream.parent is None:
            return
        _tell_unmatched(run, stream)
        for join in stream.feeds:
            if join not in stream.fired and (join in stream.collected or join not in stream.inner):
                _fire(run, stream, join)
        if run.protocol > 1 and stream.parent != ROOT:
            around = run.streams[stream.parent].inner
            around += [join for join in (*stream.feeds, *stream.inner) if join not in around]
        del run.streams[scope]
        scope = stream.parent


def commit(run: Run, invocation: Invocation, outcome: Outcome) -> None:
    """Apply all effects of a pass, in the order: state, sent events, returned events.

    One that waits is suspended then; else the invocation is done.
    """
    for operation in outcome.state:
        run.state_size += paths.change(run.state, operation)
    scope, recoveries = invocation.scope, invocation.recoveries
    for item in outcome.sent:
        emit(run, item.event, scope, recoveries, invocation.step, invocation.id, item.step)
        if not run.active:
            return
    if outcome.wait is not None:
        waits.suspend(run, invocation, outcome.wait, outcome)
        return
    if outcome.calls:
        children.suspend(run, invocation, outcome)
        return
    if isinstance(outcome.returned, list):
        open_stream(run, invocation, outcome.returned)
    elif outcome.returned is not None:
        emit(run, outcome.returned, scope, recoveries, invocation.step, invocation.id)
    if run.active:
        release(run, scope)


def emit(
    run: Run,
    event: Envelope,
    scope: int,
    recoveries: Recoveries,
    step: str,
    invocation: int,
    target: str | None = None,
) -> None:
    """What a step gave out: a question to a person opens a request, everything else is delivered."""
    if run.router.is_a(event, "InputRequiredEvent"):
        asking.ask(run, event, scope, recoveries, step, invocation)
        if not run.router.steps_for(event, target):
            return
    deliver(run, event, scope, recoveries, target)


def settle(run: Run) -> None:
    """When nothing is under way: fire the joins of the run's own scope, else say that it is idle, or fail as stuck."""
    root = run.streams[ROOT]
    if root.open or run.messages or run.early or not run.active:
        under_way = run.invocations or run.messages or run.early or run.open_requests or run.family.children
        if run.active and run.waiters and not under_way:
            _idle(run)
        else:
            run.idle = False
        return
    root.fired.clear()
    joins = list(root.collected)
    for join in joins:
        _fire(run, root, join)
    if joins:
        return
    if run.awaits_outside:
        _idle(run)
        return
    fail(
        run,
        FailRun(
            "stuck",
            f"the run of {run.definition.name} is stuck: no step is running, no event is waiting, and no "
            f"{' or '.join(run.definition.stops)} came. The last step was {run.last_step!r}; it must return an event "
            f"that some step accepts, or the stop event.{''.join(f' {line}.' for line in views.unmatched(run))}",
        ),
    )


def _idle(run: Run) -> None:
    """Only something from outside moves the run on: tell so, once."""
    if not run.idle:
        run.idle = True
        run.commands.append(Publish(Envelope("WorkflowIdleEvent", {})))


def complete(run: Run, event: Envelope) -> None:
    """The first stop event wins; what still runs is cancelled."""
    _end(run, "completed")
    run.commands.append(CompleteRun(event))


def fail(run: Run, command: FailRun) -> None:
    """End the run in failure."""
    _end(run, "failed")
    run.commands.append(command)


def cancel(run: Run, reason: str) -> None:
    """End the run as cancelled."""
    _end(run, "cancelled")
    run.commands.append(CancelRun(reason))


def step_failed(run: Run, invocation: Invocation, failure: Failure) -> None:
    """Give a failure to its error handler, while the lineage has recoveries left; else the run fails."""
    step = run.definition.steps[invocation.step]
    source = ", ".join(event.type for event in views.given(invocation)) if invocation.event or step.parameters else None
    handler = None if step.role == "catch_error" else _handler(run, invocation.step)
    used = 0 if handler is None else invocation.recoveries.get(handler.name, 0)
    if handler is None or used >= handler.max_recoveries:
        message = f"step {invocation.step!r} failed: {failure.type}: {failure.message}"
        if handler is not None:
            message += f" (its error handler {handler.name!r} has used its max_recoveries of {handler.max_recoveries})"
        fail(run, FailRun("step", message, failure, invocation.step, source))
        return
    data = {
        "step_name": invocation.step,
        "input_event": _input(run, invocation).to_json(),
        "exception": failure.exception,
        "attempts": failure.attempts,
        "elapsed_seconds": failure.elapsed,
        "failed_at": timestamp(run.now),
        "traceback": failure.traceback,
    }
    recoveries = {**invocation.recoveries, handler.name: used + 1}
    spawn(run, handler.name, invocation.scope, recoveries, event=Envelope("StepFailedEvent", data))
    release(run, invocation.scope)


def _input(run: Run, invocation: Invocation) -> Envelope:
    """What an invocation was given, as one event; a batch as one of a type that no flow declares."""
    if invocation.event is not None:
        return invocation.event
    return Envelope(
        views.given_name(run, invocation), {"events": [event.to_json() for event in invocation.batch or ()]}
    )


def _handler(run: Run, step: str) -> StepDefinition | None:
    """The error handler of a step: one that names it before one for all."""
    wildcard = None
    for candidate in run.definition.steps.values():
        if candidate.role == "catch_error":
            if candidate.for_steps is None:
                wildcard = wildcard or candidate
            elif step in candidate.for_steps:
                return candidate
    return wildcard


def _collect(run: Run, step: StepDefinition, event: Envelope, scope: int, recoveries: Recoveries) -> None:
    """Keep a member for its join, in the nearest stream that feeds it; the run's own scope takes any.

    A stream whose join has taken all it wanted lets further members go. The run's own scope does so until it comes to
    rest, and begins the next batch then.
    """
    stream = run.streams[run.streams[scope].nearest.get(step.name, ROOT)]
    if step.name in stream.fired:
        return
    have = stream.collect(step.name, event, recoveries)
    if step.take is not None and have >= step.take:
        _fire(run, stream, step.name)
        if stream.parent is not None or run.protocol > 1:
            stream.fired.append(step.name)


def _fire(run: Run, stream: Stream, join: str) -> None:
    """Start a join with what it has; it belongs to the scope around the stream."""
    batch = stream.take(join)
    scope = ROOT if stream.parent is None else stream.parent
    spawn(run, join, scope, batch.recoveries, batch=batch.events)


def _pair(run: Run, step: StepDefinition, event: Envelope, scope: int, recoveries: Recoveries) -> None:
    """Keep an event for a step that takes several, in its own scope; with the one that was lacking the step starts."""
    kept = run.streams[scope].slots
    slots = kept.get(step.name) or Slots(len(step.parameters))
    batch = slots.add(event, run.router.parameters_for(step, event), recoveries)
    if not slots.empty:
        kept[step.name] = slots
    else:
        kept.pop(step.name, None)
    if batch is not None:
        spawn(run, step.name, scope, batch[1], batch=batch[0])


def _tell_unmatched(run: Run, stream: Stream) -> None:
    """A scope ends: nothing comes any more for what waits there for the rest of a batch."""
    for step, slots in stream.slots.items():
        for event in slots.left():
            _unhandled(run, event, step)


def _end(run: Run, status: Literal["completed", "failed", "cancelled"]) -> None:
    """Stop everything that is still under way."""
    run.status = status
    for stream in run.streams.values():
        _tell_unmatched(run, stream)
    running = [invocation.id for invocation in run.invocations.values() if invocation.running]
    run.commands.extend(CancelStep(invocation) for invocation in running)
    locks.end(run)
    children.end(run)
    run.let_go()
    asking.refuse_pending(run)
