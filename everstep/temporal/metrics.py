"""What a worker counts, by the meter of its client's Temporal runtime: one endpoint has Temporal's metrics and these.

Where that runtime has no metrics configured nothing is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from temporalio.client import Client
from temporalio.common import MetricCounter, MetricHistogramFloat, MetricMeter
from temporalio.runtime import Runtime

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine.messages import Outcome
from everstep.engine.requests import Request
from everstep.engine.run import Run
from everstep.observe.careful import careful


def meter_of(client: Client) -> MetricMeter | None:
    """The meter that a client's workers count by; None where it counts nothing."""
    runtime = client.service_client.config.runtime or Runtime.default()
    return None if runtime.metric_meter is MetricMeter.noop else runtime.metric_meter


class WorkerMeters:
    """The instruments of a worker, all named ``everstep_…``.

    Args:
        meter: makes them.
    """

    def __init__(self, meter: MetricMeter) -> None:
        def counter(name: str, description: str) -> MetricCounter:
            return meter.create_counter(f"everstep_{name}", description)

        def seconds(name: str, description: str) -> MetricHistogramFloat:
            return meter.create_histogram_float(f"everstep_{name}", description, "s")

        self.runs_started = counter("runs_started", "runs that began, by flow")
        self.runs = counter("runs", "runs that ended, by flow and status")
        self.steps = counter("steps", "invocations that ended, by flow, step and outcome")
        self.attempts = counter("step_attempts", "attempts of steps that ended, by flow, step and outcome")
        self.step_seconds = seconds("step_seconds", "how long an attempt took")
        self.queue_seconds = seconds(
            "queue_seconds", "how long an invocation waited, for a slot of its run or a worker"
        )
        self.requests = counter("requests", "requests to people, by flow and what became of them: opened, answered, …")
        self.request_seconds = seconds("request_seconds", "how long a request was open")
        self.waiting_runs = meter.create_gauge("everstep_waiting_runs", "runs that wait for a person, by flow")
        self.open_requests = meter.create_gauge("everstep_open_requests", "requests to people that are open, by flow")
        self.left_threads = meter.create_gauge(
            "everstep_left_threads", "attempts of sync steps that were given up and still run, by flow and step"
        )
        self._tokens = counter("tokens", "tokens that models read (prompt) and wrote (completion)")

    def tokens(self, model: str, prompt: int, completion: int) -> None:
        """A model has read and written tokens."""
        if prompt:
            self._tokens.add(prompt, {"model": model, "kind": "prompt"})
        if completion:
            self._tokens.add(completion, {"model": model, "kind": "completion"})


class RunMeter:
    """Counts what happens to one run, from workflow code. It is told of replays too, and counts nothing then."""

    traceparent: str | None = None

    def __init__(self, meters: WorkerMeters, run: Run) -> None:
        self._meters = meters
        self._run = run
        self._flow = run.definition.name
        self._seen = run.next_invocation
        self._queued: dict[int, float] = {}
        self._running: dict[int, str] = {}
        self._last_closed = next(reversed(run.closed_requests), None)
        self._asked = sum(run.request_counts.values())

    def applied(self, what: happened.Input, commands: Sequence[do.Command], *, live: bool) -> None:
        """The engine has taken an input, and gave these commands."""
        with careful():
            self._applied(what, commands, live=live)

    def _applied(self, what: happened.Input, commands: Sequence[do.Command], *, live: bool) -> None:
        meters, run = self._meters, self._run
        if live and isinstance(what, happened.StartRun):
            meters.runs_started.add(1, {"flow": self._flow})
        if isinstance(what, happened.StepSucceeded | happened.StepFailed):
            self._step_ended(what, live=live)
        for invocation in range(self._seen, run.next_invocation):
            self._queued[invocation] = run.now
        self._seen = run.next_invocation
        for command in commands:
            if isinstance(command, do.RunStep):
                self._step_begins(command, live=live)
            elif live and isinstance(command, do.CompleteRun | do.FailRun | do.CancelRun):
                meters.runs.add(1, {"flow": self._flow, "status": run.status})
                self._left_open()
        self._requests(live=live)

    def _step_begins(self, command: do.RunStep, *, live: bool) -> None:
        since = self._queued.pop(command.invocation, None)
        self._running[command.invocation] = command.step
        if live and since is not None:
            told = {"flow": self._flow, "step": command.step, "for": "slot"}
            self._meters.queue_seconds.record(self._run.now - since, told)

    def _step_ended(self, what: happened.StepSucceeded | happened.StepFailed, *, live: bool) -> None:
        step = self._running.pop(what.invocation, None)
        if not live or step is None:
            return
        outcome = "failed"
        if isinstance(what, happened.StepSucceeded):
            outcome = _outcome(what.outcome)
        self._meters.steps.add(1, {"flow": self._flow, "step": step, "outcome": outcome})

    def _requests(self, *, live: bool) -> None:
        run, meters = self._run, self._meters
        asked = sum(run.request_counts.values()) if run.request_counts else 0
        if live and asked > self._asked:
            meters.requests.add(asked - self._asked, {"flow": self._flow, "status": "opened"})
        self._asked = asked
        newest = next(reversed(run.closed_requests), None)
        if live:
            for request_id in reversed(run.closed_requests):
                if request_id == self._last_closed:
                    break
                self._request_closed(run.requests[request_id])
        self._last_closed = newest

    def _left_open(self) -> None:
        """The run has ended: what nobody had answered then is closed with it."""
        for request in self._run.requests.values():
            if request.status == "closed":
                self._request_closed(request)

    def _request_closed(self, request: Request) -> None:
        self._meters.requests.add(1, {"flow": self._flow, "status": request.status})
        self._meters.request_seconds.record(self._run.now - request.asked_at, {"flow": self._flow})


class StepMeter:
    """Measures the attempts of one step on this worker."""

    def __init__(self, meters: WorkerMeters, flow: str, step: str) -> None:
        self._meters = meters
        self._labels = {"flow": flow, "step": step}

    async def timed(self, queued: float, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Run an attempt and measure it; `queued` is how many seconds it waited for a worker."""
        self._meters.queue_seconds.record(max(0.0, queued), {**self._labels, "for": "worker"})
        began = time.perf_counter()
        outcome = "failed"
        try:
            result = await work
            outcome = _outcome(result)
            return result
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._meters.step_seconds.record(time.perf_counter() - began, self._labels)
            self._meters.attempts.add(1, {**self._labels, "outcome": outcome})


def _outcome(outcome: Outcome) -> str:
    return "waits" if outcome.suspended else "refused" if outcome.unfit is not None else "succeeded"
