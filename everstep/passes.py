"""One pass of a step, from its top: what it does is numbered, so that a later pass does not do it again.

A step that waits, for an event or for a flow that it runs, ends its pass there and runs again when it is answered. What
it did before was committed; the next pass goes through it again, is held to the same order, and does only what is new.
"""

from __future__ import annotations

from typing import NoReturn

from everstep.engine.calls import ChildCall
from everstep.engine.messages import Envelope, Gather, Wait
from everstep.engine.passes import ChildEnd, Record
from everstep.errors import WorkflowRuntimeError
from everstep.workflow import Workflow


class Suspension(BaseException):
    """Ends a pass where its step waits. No `Exception`, so that a step's own error handling does not catch it."""


_NOTHING_DONE = Record(0)


class Pass:
    """What one attempt at one pass has done.

    Args:
        step: the step's name.
        record: what earlier passes left.
        may_wait: whether the step may wait; local ones may not.
    """

    def __init__(self, step: str, record: Record | None, *, may_wait: bool = True) -> None:
        self._step = step
        self._record = record or _NOTHING_DONE
        self._may_wait = may_wait
        self._place = 0
        self._seen_there = 0
        self._waits = 0
        self._collections = 0
        self.effects: list[tuple[str, int]] = []
        self.gathers: list[Gather] = []
        self.wait: Wait | None = None
        self.calls: list[ChildCall] = []
        self.flows: list[Workflow] = []
        self._children = 0
        self._over = False

    @property
    def suspended(self) -> bool:
        """Whether the step waits: what it does from then on does not count."""
        return self.wait is not None or bool(self.calls)

    def repeats(self, effect: str) -> bool:
        """Number the next effect, given as its kind and target; whether an earlier pass has done it.

        Raises:
            WorkflowRuntimeError: an earlier pass did something else at this place.
            Suspension: the pass is over, as it waits.
        """
        self._still_on()
        done = self._record.effects
        if self._place < len(done):
            before, count = done[self._place]
            if before != effect:
                raise self._differs(f"did {effect!r}", before)
            self._seen_there += 1
            if self._seen_there == count:
                self._place, self._seen_there = self._place + 1, 0
            return True
        if self.effects and self.effects[-1][0] == effect:
            self.effects[-1] = effect, self.effects[-1][1] + 1
        else:
            self.effects.append((effect, 1))
        return False

    def wait_for(self, wait: Wait) -> Envelope | None:
        """The answer to a wait; None if it timed out.

        Raises:
            Suspension: there is none yet.
        """
        if not self._may_wait:
            raise WorkflowRuntimeError(
                f"step {self._step!r} is local and waits for {wait.type}: local steps cannot wait; remove local=True"
            )
        if self.calls:
            raise Suspension  # what was begun side by side comes first
        if self.repeats(f"wait {wait.type}" + ("" if wait.waiter_id is None else f" {wait.waiter_id}")):
            self._waits += 1
            return self._record.answers[self._waits - 1]
        self.wait = wait
        raise Suspension

    def run_child(self, call: ChildCall, flow: Workflow) -> ChildEnd | None:
        """How a flow ended that the step runs; None if that is to come: then the pass is over, by `suspend`.

        Until then the step may begin more of them, side by side: they are waited for together.
        """
        if not self._may_wait:
            raise WorkflowRuntimeError(
                f"step {self._step!r} is local and runs the flow {call.flow}: local steps cannot run flows; remove "
                "local=True"
            )
        if self.repeats(f"run {call.flow}" + ("" if call.run_id is None else f" as {call.run_id}")):
            self._children += 1
            return self._record.children[self._children - 1]
        self.calls.append(call)
        self.flows.append(flow)
        return None

    def suspend(self) -> NoReturn:
        """The pass is over: the step waits for the flows that it runs."""
        self._over = True
        raise Suspension

    def collect(self, gather: Gather) -> list[Envelope] | None:
        """The batch that an event completes, or None, which may turn out wrong: then there is another pass."""
        self._still_on()
        told = self._record.collected
        if self._collections == len(told):
            self.gathers.append(gather)
            return None
        buffer, batch = told[self._collections]
        self._collections += 1
        if buffer != gather.buffer:
            raise self._differs(f"collected in {gather.buffer!r}", f"collect in {buffer}")
        return batch

    def finish(self) -> None:
        """The step has returned: a pass that left out something that was done before is refused."""
        done = self._record.effects
        if self._place < len(done):
            raise self._differs("ended", done[self._place][0])

    def _still_on(self) -> None:
        if self.wait is not None or self._over:
            raise Suspension

    def _differs(self, what: str, before: str) -> WorkflowRuntimeError:
        return WorkflowRuntimeError(
            f"step {self._step!r} ran again from its top and {what}, where its first pass did {before!r}: what stands "
            "before a wait, a collection or a flow that is run must be the same each time. Move what depends on the "
            "time, on chance or on state that changes into a step before, or behind the last wait."
        )
