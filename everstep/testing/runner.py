"""Runs a flow to its end and gives all that was seen of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from everstep.context import Context
from everstep.events import Event, StartEvent
from everstep.handler import WorkflowHandler
from everstep.local import LocalRuntime
from everstep.runtime import Runtime, use_runtime
from everstep.testing.clock import SkippingClock
from everstep.testing.fakes import fake_steps
from everstep.workflow import Workflow


@dataclass
class WorkflowTestResult:
    """What was seen of a run: the events of its stream, how many of each type, its result, context and handle."""

    collected: list[Event]
    event_types: dict[type[Event], int]
    result: Any
    ctx: Context[Any]
    handler: WorkflowHandler


class WorkflowTestRunner:
    """Runs a flow end to end in a test.

    Args:
        workflow: the flow's instance.
        fakes: step fakes for all runs, by name; see `fake_steps`.
        skip_time: skip retry delays, timeouts and due times, in process; False: let time pass as it does.

    A flow that has a runtime of its own, or is run within `use_runtime`, runs there; else in process.

    Example:
        >>> runner = WorkflowTestRunner(MyFlow(), fakes={"research": lambda ev: Found(text="x")})
        >>> seen = await runner.run(StartEvent(topic="tides"))
        >>> assert seen.result == "x"
        >>> assert seen.event_types[Progress] == 2
    """

    def __init__(self, workflow: Workflow, *, fakes: Mapping[str, Any] | None = None, skip_time: bool = True) -> None:
        self._workflow = workflow
        self._fakes = dict(fakes or {})
        self._skip_time = skip_time

    async def run(
        self,
        start_event: StartEvent | None = None,
        ctx: Any | None = None,
        expose_internal: bool = True,
        exclude_events: Sequence[type[Event]] | None = None,
    ) -> WorkflowTestResult:
        """Run the flow to its end.

        Args:
            start_event: what it begins with; by default one without fields.
            ctx: a context or a state that it begins with.
            expose_internal: collect the engine's own events, too.
            exclude_events: types that are not collected; their subclasses are.

        Raises:
            Exception: what the run raises.
        """
        fakes = fake_steps(self._workflow, **self._fakes) if self._fakes else nullcontext()
        runtime = self._runtime()
        with fakes, nullcontext() if runtime is None else use_runtime(runtime):
            handler = self._workflow.run(ctx=ctx, start_event=start_event)
            excluded = tuple(exclude_events or ())
            events = handler.stream_events(expose_internal=expose_internal)
            collected = [event async for event in events if type(event) not in excluded]
            result = await handler
        return WorkflowTestResult(
            collected, dict(Counter(type(event) for event in collected)), result, handler.ctx, handler
        )

    def _runtime(self) -> Runtime | None:
        """One that skips time, where the flow would otherwise run on the usual one in process."""
        usual = self._workflow.runtime
        return LocalRuntime(clock=SkippingClock()) if self._skip_time and type(usual) is LocalRuntime else None
