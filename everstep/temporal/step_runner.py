"""Runs the steps of one workflow execution as activities, within what one workflow task may schedule.

Workflow code: deterministic, like the interpreter that owns it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine.core import Engine
from everstep.engine.messages import Failure, Outcome
from everstep.flow.definition import StepDefinition
from everstep.temporal import names
from everstep.temporal.boundary import Limits
from everstep.temporal.endings import step_failure
from everstep.temporal.payloads import dump, raw_bytes
from everstep.wire import STATE_RIDES_ALONG, StepCall

ATTEMPT_LIMIT = timedelta(days=3650)
"""Practically none: a step's own timeout is kept by its worker, and a lost worker is seen by its heartbeats."""

SERVER_RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
"""For what no policy decides, above all lost workers; a step's own failures carry their delay with them."""

TASK_BYTES = 1_500_000
"""How many bytes of step inputs one workflow task schedules: above 4 MB a server ends the run."""

LOCAL_STREAK = 50
"""After how many local steps in one workflow task the chain is broken, so that history is kept and messages come in."""


DEFERRED = "next workflow task"
"""The name of the timer that brings about a workflow task for steps that were put off."""


class StepRunner:
    """The steps under way in this execution.

    Args:
        engine: knows the steps and holds the state that rides along.
        limits: of the run.
        report: takes what became of a step.
        trace: where the run's spans belong, for the steps' workers; None where it is not traced.
    """

    def __init__(
        self, engine: Engine, limits: Limits, report: Callable[[happened.Input], None], trace: str | None = None
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._report = report
        self._trace = trace
        self._run_id = workflow.info().workflow_id
        self._heartbeat = limits.heartbeat
        self._untold = 0 if trace is None else len(dump({"trace": trace})) - 1
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._deferred: deque[do.RunStep] = deque()
        self._deferring = False
        self._task_mark = 0
        self._task_bytes = 0
        self._local_streak = 0
        self._closed = False

    def run(self, command: do.RunStep) -> None:
        """Start a step, now or in the next workflow task."""
        step = self._engine.definition.steps[command.step]
        call, data = step_input(self._engine, command, self._run_id, self._trace)
        limit, size = self._limits.payload, len(data)
        if self._engine.run.protocol > 2:
            size -= self._untold  # whether runs are traced is the present worker's choice: no command may hang on it
        if limit is not None and size > limit:
            self._report(too_large(command, workflow.time(), size, limit))
        elif self._fits(step, size):
            self._start(command, step, data, call.event_name)
        else:
            self._defer(command)

    def cancel(self, command: do.CancelStep) -> None:
        """Stop a step; what it still reports is not taken."""
        task = self._tasks.pop(command.invocation, None)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """Take no more reports: the run has ended."""
        self._closed = True
        self._deferred.clear()

    def move(self) -> None:
        """Stop what still runs: it runs again in the next execution."""
        self.close()
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def _fits(self, step: StepDefinition, size: int) -> bool:
        """Whether one more step may be scheduled by the present workflow task."""
        if self._deferring:
            return False
        mark = workflow.info().get_current_history_length()
        if mark != self._task_mark:
            self._task_mark = mark
            self._task_bytes = self._local_streak = 0
        if self._task_bytes and self._task_bytes + size > TASK_BYTES:
            return False
        if step.local and self._local_streak >= LOCAL_STREAK:
            return False
        self._task_bytes += size
        self._local_streak += step.local
        return True

    def _start(self, command: do.RunStep, step: StepDefinition, data: bytes, summary: str) -> None:
        activity = names.step_activity(self._engine.definition.name, step.name)
        common: dict[str, Any] = {
            "start_to_close_timeout": ATTEMPT_LIMIT,
            "retry_policy": SERVER_RETRIES,
            "activity_id": str(command.invocation),
            "summary": summary,
        }
        task: asyncio.Task[Any]
        if step.local:
            task = workflow.start_local_activity(activity, raw_bytes(data), **common)
        else:
            task = workflow.start_activity(
                activity,
                raw_bytes(data),
                task_queue=step.task_queue,
                heartbeat_timeout=self._heartbeat,
                **common,
            )
        self._tasks[command.invocation] = task
        task.add_done_callback(partial(self._done, command.invocation))

    def _done(self, invocation: int, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()  # asked for in any case, or asyncio would log it
        if self._tasks.pop(invocation, None) is None or self._closed:
            return
        now = workflow.time()
        if task.cancelled():
            failure = Failure("CancelledError", "the step was cancelled from outside of its run")
            self._report(happened.StepFailed(now, invocation, failure))
        elif error is not None:
            self._report(happened.StepFailed(now, invocation, step_failure(error)))
        else:
            self._report(happened.StepSucceeded.from_json(now, invocation, task.result() or {}))

    def _defer(self, command: do.RunStep) -> None:
        """Leave a step to the next workflow task; a timer brings that task about."""
        self._deferred.append(command)
        if not self._deferring:
            self._deferring = True
            task = asyncio.create_task(workflow.sleep(timedelta(milliseconds=1), summary=DEFERRED))
            task.add_done_callback(self._run_deferred)

    def _run_deferred(self, _: asyncio.Task[None]) -> None:
        self._deferring = False
        waiting, self._deferred = self._deferred, deque()
        for command in waiting:
            if not self._closed:
                self.run(command)


def step_input(engine: Engine, command: do.RunStep, run_id: str, trace: str | None = None) -> tuple[StepCall, bytes]:
    """What a step is given, and how it is written; small state rides along."""
    step, run = engine.definition.steps[command.step], engine.run
    rides = step.needs_context and (step.local or run.state_size <= STATE_RIDES_ALONG)
    call = StepCall(
        run_id,
        command.invocation,
        command.event,
        command.batch,
        run.state if rides else None,
        command.record,
        bool(step.parameters),
        trace,
        command.unjudged,
    )
    return call, dump(call.to_json())


def too_large(command: do.RunStep, now: float, size: int, limit: int) -> happened.Input:
    """What becomes of a step whose input the server would not take: it fails, or refuses what came from outside."""
    text = (
        f"the input of step {command.step!r} has {size} bytes, over the server's limit of {limit}; pass references "
        "instead of contents, or set up external storage for payloads"
    )
    if command.unjudged:
        return happened.StepSucceeded(now, command.invocation, Outcome(unfit=text))
    return happened.StepFailed(now, command.invocation, Failure("PayloadTooLarge", text))
