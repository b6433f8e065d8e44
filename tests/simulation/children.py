"""The children of a run: each begins once, and whoever called it is told its end."""

from __future__ import annotations

from collections.abc import Sequence

from everstep.engine.commands import CancelChild, Command, RunStep, StartChild
from everstep.engine.inputs import ChildEnded, Input
from everstep.engine.passes import ChildEnd
from everstep.engine.run import Run
from tests.simulation.broken import hold


class Children:
    """The children of one run. `running` have begun; `ends` are by the first number of who called, and by their own."""

    def __init__(self) -> None:
        self.running: dict[str, StartChild] = {}
        self.ends: dict[tuple[int, int], ChildEnd] = {}
        self._lost: list[str] = []

    def before(self, what: Input) -> None:
        """Note what the engine is about to be given."""
        if isinstance(what, ChildEnded):
            started = self.running.pop(what.end.run, None)
            if started is not None:
                self.ends[started.origin, started.number] = what.end

    def crashed(self) -> None:
        """Nobody hears of those that run any more."""
        self._lost = list(self.running)
        self.running = {}

    def restored(self, commands: Sequence[Command]) -> None:
        """Those that ran are heard of again, and first."""
        again = [one.run for one in commands if isinstance(one, StartChild)][: len(self._lost)]
        hold(again == self._lost, "after a crash a run hears of its children again")

    def told(self, command: Command) -> None:
        """One begins, or is cancelled."""
        if isinstance(command, StartChild):
            hold(command.run not in self.running, f"a child begins once: {command.run} began again")
            self.running[command.run] = command
        elif isinstance(command, CancelChild):
            hold(self.running.pop(command.run, None), f"child {command.run} is cancelled, and does not run")

    def ran(self, call: RunStep) -> None:
        """A pass starts: it is told how its children have ended."""
        record = call.record
        if record is None:
            return
        for number, end in enumerate(record.children):
            # Not known yet is the end of one whose id was taken.
            known = self.ends.setdefault((record.origin, number), end)
            hold(known == end, f"a step is told how its children ended: {call.invocation} was told of another one")

    def check(self, run: Run) -> None:
        """Assert what must hold after any input."""
        hold(list(self.running) == [child.run for child in run.family.running()], "which children run is known")
