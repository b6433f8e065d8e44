"""What a run's inner life looks like to those who ask for it: notices made of an engine's inputs and commands.

The engine does not know of them: whoever feeds it shows a `Watch` each input with its commands, or does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from everstep.engine.commands import CancelStep, Command, Publish, RunStep
from everstep.engine.inputs import Input, StepFailed, StepSucceeded
from everstep.engine.messages import Envelope, Outcome
from everstep.engine.run import Run
from everstep.engine.views import given_name

STATE_CHANGED = "StepStateChanged"
DISCARDED = "OutcomeDiscardedEvent"

_BATCH = "the events that it collected make a batch: it runs again, with the batch"
_LOCK = "its edit_state block had lost the lock before it was committed: it runs again"


class Watch:
    """Tells the states of a run's steps, and the engine's own events, in order.

    Args:
        run: of the engine that is watched, before its next input.
        tell: is given each notice.

    Example:
        >>> watch = Watch(engine.run, print)
        >>> commands = engine.apply(what)
        >>> watch.saw(what, commands)
    """

    def __init__(self, run: Run, tell: Callable[[Envelope], None]) -> None:
        self._run = run
        self._tell = tell
        self._running: dict[int, tuple[RunStep, str]] = {}
        self._next = run.next_invocation

    def saw(self, what: Input, commands: Iterable[Command]) -> None:
        """Tell what an input has brought about, with the commands that it gave."""
        ended = self._ended(what)
        for command in commands:
            if isinstance(command, RunStep):
                if ended is not None and command.invocation == ended.invocation:
                    self._discarded(ended, command)
                self._begun(command)
            elif isinstance(command, CancelStep):
                self._changed(command.invocation, None)
            elif isinstance(command, Publish):
                self._tell(command.event)
        self._queued()

    def _ended(self, what: Input) -> RunStep | None:
        """The pass that an input ends, told as no longer running."""
        if not isinstance(what, StepSucceeded | StepFailed) or what.invocation not in self._running:
            return None
        command, _ = self._running[what.invocation]
        self._changed(what.invocation, _returned(what.outcome) if isinstance(what, StepSucceeded) else None)
        return command

    def _begun(self, command: RunStep) -> None:
        name = given_name(self._run, self._run.invocations[command.invocation])
        self._running[command.invocation] = command, name
        self._state(command.step, "running", command.invocation, name)

    def _changed(self, invocation: int, output: str | None) -> None:
        command, name = self._running.pop(invocation)
        self._state(command.step, "not_running", invocation, name, output)

    def _discarded(self, ended: RunStep, again: RunStep) -> None:
        before = len(ended.record.collected) if ended.record else 0
        batch = again.record is not None and len(again.record.collected) > before
        data = {"name": ended.step, "worker_id": str(ended.invocation), "reason": _BATCH if batch else _LOCK}
        self._tell(Envelope(DISCARDED, data))

    def _queued(self) -> None:
        """Tell of the new invocations that could not begin at once."""
        run = self._run
        for number in range(self._next, run.next_invocation):
            invocation = run.invocations.get(number)
            if invocation is not None and not invocation.running:
                self._state(invocation.step, "preparing", number, given_name(run, invocation))
        self._next = run.next_invocation

    def _state(self, step: str, state: str, invocation: int, given: str, output: str | None = None) -> None:
        data: Mapping[str, str | None] = {
            "name": step,
            "step_state": state,
            "worker_id": str(invocation),
            "input_event_name": given,
            "output_event_name": output,
        }
        self._tell(Envelope(STATE_CHANGED, data))


def _returned(outcome: Outcome) -> str | None:
    """The type of what a step returned; of a list those of its members."""
    if isinstance(outcome.returned, list):
        return f"list[{' | '.join(dict.fromkeys(event.type for event in outcome.returned))}]"
    return None if outcome.returned is None else outcome.returned.type
