"""The children of a run in process: runs of their own, on the same loop, that end with it.

They are not counted by `num_concurrent_runs`: a run that waits for a child must not keep that child from beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine.messages import Envelope
from everstep.engine.passes import ChildEnd
from everstep.errors import EverstepError, ResponseRefusedError
from everstep.flow.compile import former_steps
from everstep.workflow import Workflow

if TYPE_CHECKING:
    from everstep.context.snapshot import Snapshot
    from everstep.local.run import LocalRun

Above = Callable[[Mapping[str, Any], bool], None]
"""Takes what a run asks people, as they see it, and whether it is new."""


class MakeRun(Protocol):
    """Makes a run of a flow, to be begun; `timeout` instead of the flow's own."""

    def __call__(self, flow: Workflow, run_id: str, timeout: float | None, above: Above) -> LocalRun: ...


class LocalChildren:
    """The children of one run.

    Args:
        make: makes a run of a flow.
        feed: takes inputs for the engine of the run above.
        show: takes events for the stream of the run above.
        clock: gives epoch seconds.
        module: where the flow above is defined.
    """

    def __init__(
        self,
        make: MakeRun,
        feed: Callable[[happened.Input], None],
        show: Callable[[Envelope], None],
        clock: Callable[[], float],
        module: str,
    ) -> None:
        self.trace: str | None = None
        """Where the spans of the run above belong; None where it is not traced."""
        self._make = make
        self._module = module
        self._feed = feed
        self._show = show
        self._clock = clock
        self._flows: dict[tuple[int, int], Workflow] = {}
        self._runs: dict[str, LocalRun] = {}
        self._taken: dict[str, Snapshot] = {}
        self._passing_on: set[asyncio.Task[None]] = set()

    def called(self, origin: int, first: int, flows: Sequence[Workflow]) -> None:
        """A pass has called these instances, as the `first` and following children of its invocation."""
        for number, flow in enumerate(flows, first):
            self._flows[origin, number] = flow

    def start(self, command: do.StartChild) -> None:
        """Begin a child."""
        flow = self._flows.pop((command.origin, command.number), None) or _loaded(command.call.flow, self._module)
        if flow is None:
            reason = f"flow {command.call.flow} cannot be built in this process: import a class that needs no arguments"
            self._feed(_failed(self._clock(), command.run, reason))
            return
        run = self._make(flow, command.run, command.call.timeout, partial(self._asked, command.run))
        run.trace_above = self.trace
        self._runs[command.run] = run
        run.ended.add_done_callback(lambda _: self._ended(command.run))
        taken = self._taken.pop(command.run, None)
        try:
            if taken is None:
                run.begin(command.call.start, command.call.state)
            else:
                taken.check_fits(flow.definition, former_steps(type(flow)))
                run.resume(taken)
        except EverstepError as error:
            del self._runs[command.run]
            self._feed(_failed(self._clock(), command.run, str(error)))

    def taken_down(self) -> dict[str, Snapshot]:
        """Those under way, each as it is now; of those that have just ended, the run above hears before."""
        for run_id in [run_id for run_id, run in self._runs.items() if run.end is not None]:
            self._ended(run_id)
        return {run_id: run.snapshot() for run_id, run in self._runs.items()}

    def go_on_with(self, taken: Mapping[str, Snapshot]) -> None:
        """When these begin again, they go on from where they were taken down."""
        self._taken = dict(taken)

    def cancel(self, command: do.CancelChild) -> None:
        """End a child as cancelled."""
        run = self._runs.pop(command.run, None)
        if run is not None:
            run.cancel("the run above has ended")

    def forward(self, command: do.ForwardAnswer, sender: asyncio.Future[None] | None) -> None:
        """Pass an answer on to the child that it is for, and its verdict back."""
        task = asyncio.ensure_future(self._forward(command, sender))
        self._passing_on.add(task)
        task.add_done_callback(self._passing_on.discard)

    async def _forward(self, command: do.ForwardAnswer, sender: asyncio.Future[None] | None) -> None:
        child = self._runs.get(command.child)
        request = command.request if command.run == command.child else f"{command.run}/{command.request}"
        try:
            if child is None:
                raise ResponseRefusedError(f"run {command.run} has ended")
            await child.send(command.data, type_name=command.type, answer=True, request=request, by=command.by)
        except ResponseRefusedError as error:
            if sender is not None and not sender.done():
                sender.set_exception(error)
        else:
            if sender is not None and not sender.done():
                sender.set_result(None)

    def _asked(self, run_id: str, view: Mapping[str, Any], opened: bool) -> None:
        if run_id not in self._runs:
            return
        if opened:
            self._show(Envelope(view["type"], view["question"]))
        self._feed(happened.ChildAsked(self._clock(), run_id, view))

    def _ended(self, run_id: str) -> None:
        run = self._runs.pop(run_id, None)
        if run is not None and run.end is not None:
            self._feed(happened.ChildEnded(self._clock(), run.end))


def _failed(now: float, run_id: str, reason: str) -> happened.ChildEnded:
    return happened.ChildEnded(now, ChildEnd.failed(run_id, "everstep.errors.WorkflowRuntimeError", reason))


def _loaded(name: str, module: str) -> Workflow | None:
    """The flow of a name, for children begun before a restart: of several that are loaded the one in this module."""
    named = [cls for cls in _subclasses(Workflow) if cls.__name__ == name]
    near = [cls for cls in named if cls.__module__ == module]
    for few in (named, near):
        if len(few) == 1:
            try:
                return few[0]()
            except TypeError:  # it is not built without arguments
                return None
    return None


def _subclasses(cls: type[Workflow]) -> Iterator[type[Workflow]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)
