"""Events from outside that their step judges itself: one that one step alone takes, and whose sender does not wait.

It saves the way to an activity that only judges.
"""

from __future__ import annotations

from everstep.engine.asking import record_refusal
from everstep.engine.delivery import release, spawn
from everstep.engine.inputs import MessageReceived
from everstep.engine.messages import Envelope
from everstep.engine.run import Run
from everstep.engine.scheduling import Invocation
from everstep.engine.streams import ROOT


def taker(run: Run, message: MessageReceived) -> str | None:
    """The step that judges an event itself, which saves the way to an activity that only judges.

    It is the one step that takes it, with nothing else, and gets it in its turn: no message before it is still being
    judged, and no step waits in the middle of its code for an event that this could be.
    """
    if run.protocol < 3 or message.type is None or message.key is not None or not run.active:
        return None
    if run.messages or run.early or run.waiters:
        return None
    event = Envelope(message.type, {})
    steps = () if run.router.is_stop(event) else run.router.steps_for(event, message.step)
    if len(steps) != 1 or steps[0].join or steps[0].parameters or steps[0].local or steps[0].task_queue is not None:
        return None
    return steps[0].name


def hand_over(run: Run, message: MessageReceived, step: str) -> None:
    """Give an event to its step, as it came."""
    invocation = spawn(run, step, ROOT, {}, event=Envelope(message.type or "", message.data))
    invocation.unjudged, invocation.by = True, message.by


def unfit(run: Run, invocation: Invocation, reason: str) -> None:
    """The step that was to judge a message finds that it is no event for it: the message is refused, nothing else."""
    del run.invocations[invocation.id]
    run.scheduler.finish(invocation.step, failed=None)
    record_refusal(run, None if invocation.event is None else invocation.event.data, invocation.by, reason)
    release(run, invocation.scope)
