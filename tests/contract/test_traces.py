"""What a run shows in traces: one tree, whole while it waits, the same on every driver."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.observe import RunLogFilter
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from tests.support.drivers import Driver
from tests.support.traced import Traces, ids, times, traced


class Ask(StartEvent):
    text: str


class Drafted(Event):
    text: str


class Verdict(HumanResponseEvent):
    approved: bool


class Approve(InputRequiredEvent):
    response_event = Verdict
    text: str


class Letter(Workflow):
    """Drafts, asks a person, ends; one step is async, one sync."""

    def __init__(self, tracer: trace.Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    @step
    async def draft(self, ev: Ask) -> Drafted:
        with self.tracer.start_as_current_span("thinking"):
            return Drafted(text=f"Dear {ev.text}")

    @step
    def ask(self, ev: Drafted) -> Approve:
        with self.tracer.start_as_current_span("in a thread"):
            trace.get_current_span().set_attribute("mine", 1)
        return Approve(text=ev.text, assignee="ann", due=timedelta(days=2))

    @step
    async def send(self, ev: Verdict) -> StopEvent:
        return StopEvent(result="sent" if ev.approved else "dropped")


class Shaky(Workflow):
    """Its step works when it is tried often enough."""

    fails = 2

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(3)))
    async def work(self, ctx: Context, ev: Ask) -> StopEvent:
        if ctx.retry_info().retry_number < self.fails:
            raise ValueError(f"try {ctx.retry_info().retry_number}")
        return StopEvent(result=ev.text)


class Hopeless(Shaky):
    fails = 9


class Patient(Workflow):
    """Asks from within a step."""

    @step
    async def work(self, ctx: Context, ev: Ask) -> StopEvent:
        verdict = await ctx.wait_for_event(Verdict, waiter_event=Approve(text=ev.text))
        return StopEvent(result=verdict.approved)


@pytest.fixture
def traces() -> Iterator[Traces]:
    """What the test's runs trace, without contents."""
    with traced() as traces:
        yield traces


@pytest.fixture
def wordy() -> Iterator[Traces]:
    """What the test's runs trace, with contents."""
    with traced(payloads=True) as traces:
        yield traces


def _attributes(traces: Traces, name: str) -> dict[str, Any]:
    (span,) = traces.named(name)
    return dict(span.attributes or {})


async def test_a_waiting_run_is_a_whole_tree(driver: Driver, traces: Traces) -> None:
    """While a run waits for a person its spans are one tree, with a root; nothing is held back until its end."""
    handler = await driver.run(Letter(traces.tracer), text="Ann")
    await driver.open_requests(handler)
    traces.until("Letter")
    assert traces.tree().lines() == ["Letter", "  draft", "    thinking", "  ask", "    in a thread"]
    await handler.respond({"approved": True}, by="ann")
    assert await handler == "sent"


async def test_a_wait_for_a_person_is_a_span(driver: Driver, traces: Traces) -> None:
    """It lasts from the question to the answer, and tells who answered; the end of such a run is a span as well."""
    handler = await driver.run(Letter(traces.tracer), text="Ann")
    (request,) = await driver.open_requests(handler)
    await handler.respond({"approved": True}, by="ann")
    await handler
    traces.until("Letter completed")
    names = [node.name for node in traces.tree().under]
    assert sorted(names) == ["Letter completed", "ask", "draft", "send", "wait for a person: Approve"]
    told = _attributes(traces, "wait for a person: Approve")
    assert told["everstep.request.id"] == request["id"] == "ask-1"
    assert told["everstep.request.status"] == "answered"
    assert (told["everstep.request.assignee"], told["everstep.request.answered_by"]) == ("ann", "ann")
    (wait,) = traces.named("wait for a person: Approve")
    (sent,) = traces.named("send")
    assert times(wait)[0] < times(wait)[1] <= times(sent)[1]


async def test_names_and_sizes_are_told_without_contents(driver: Driver, traces: Traces) -> None:
    """A step's span names what it was given and gave back, with sizes; what stands in events stays out."""
    handler = await driver.run(Shaky, text="secret")
    await handler
    traces.until("Shaky")
    told = _attributes(traces, "Shaky")
    assert told["openinference.span.kind"] == "CHAIN"
    assert told["session.id"] == told["everstep.run_id"] == handler.run_id
    assert told["everstep.outcome"] == "completed"
    last = dict(traces.named("work")[-1].attributes or {})
    assert (last["everstep.event.type"], last["everstep.event.size"]) == ("Ask", len('{"text":"secret"}'))
    assert last["everstep.returned.types"] == "StopEvent"
    assert "secret" not in str([span.attributes for span in traces.spans()])


async def test_contents_are_told_where_they_are_wanted(driver: Driver, wordy: Traces) -> None:
    """With the setting for contents, spans have what went in and what came out."""
    handler = await driver.run(Letter(wordy.tracer), text="Ann")
    await driver.open_requests(handler)
    await handler.respond({"approved": True}, by="ann")
    await handler
    wordy.until("Letter completed")
    draft = _attributes(wordy, "draft")
    assert json.loads(draft["input.value"]) == {"text": "Ann"}
    assert json.loads(draft["output.value"]) == {"type": "Drafted", "data": {"text": "Dear Ann"}}
    assert json.loads(_attributes(wordy, "Letter")["input.value"]) == {"text": "Ann"}
    wait = _attributes(wordy, "wait for a person: Approve")
    assert json.loads(wait["input.value"])["text"] == "Dear Ann"
    assert json.loads(wait["output.value"])["approved"] is True


async def test_attempts_are_spans_with_their_errors(driver: Driver, traces: Traces) -> None:
    """Each attempt is a span, out when it ends; those that failed have the exception."""
    assert await (await driver.run(Shaky, text="x")) == "x"
    traces.until("Shaky")
    root = traces.tree()
    assert root.lines() == ["Shaky", "  work !", "  work !", "  work"]
    assert [node.attributes["everstep.attempt"] for node in root.under] == [1, 2, 3]
    errors = [event.attributes or {} for node in root.under for event in node.span.events]
    assert [error["exception.message"] for error in errors] == ["try 0", "try 1"]


async def test_a_failed_run_is_a_failed_root(driver: Driver, traces: Traces) -> None:
    """The run's span says why it failed."""
    seen = await driver.see(Hopeless, text="x")
    assert seen.error is not None
    traces.until("Hopeless")
    root = traces.tree()
    assert not root.ok
    assert "try 2" in (root.span.status.description or "")
    assert root.attributes["everstep.outcome"] == "failed"


async def test_each_pass_of_a_waiting_step_is_a_span(driver: Driver, traces: Traces) -> None:
    """A step that waits shows a span up to its wait and one behind it, and the wait between them."""
    handler = await driver.run(Patient, text="x")
    await driver.open_requests(handler)
    await handler.respond({"approved": True})
    assert await handler is True
    traces.until("Patient completed")
    root = traces.tree()
    passes = [node.attributes["everstep.outcome"] for node in root.under if node.name == "work"]
    assert passes == ["waits", "succeeded"]
    assert _attributes(traces, "wait for a person: Approve")["everstep.request.status"] == "answered"


class _Broken(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("no span for you")


async def test_what_goes_wrong_with_traces_breaks_no_run(driver: Driver, traces: Traces) -> None:
    """A backend that raises costs its spans, nothing else."""
    traces.provider.add_span_processor(_Broken())
    assert await (await driver.run(Shaky, text="x")) == "x"
    assert not traces.spans()


class Above(Workflow):
    """Runs another flow as a child."""

    @step
    async def begin(self, ctx: Context, ev: Ask) -> StopEvent:
        return StopEvent(result=await ctx.run(Patient, text=ev.text))


async def test_a_child_is_in_the_trace_of_its_parent(driver: Driver, traces: Traces) -> None:
    """Its spans hang under the span of the run above, also while it waits for a person."""
    driver.also = [Patient]
    handler = await driver.run(Above, text="x")
    await driver.open_requests(handler)
    traces.until("Above")
    traces.until("Patient")
    assert traces.tree().lines() == ["Above", "  begin", "  Patient", "    work"]
    await handler.respond({"approved": True})
    assert await handler is True
    traces.until("Above completed")
    assert sorted(set(traces.tree().lines())) == [
        "    Patient completed",
        "    wait for a person: Approve",
        "    work",
        "  Above completed",
        "  Patient",
        "  begin",
        "Above",
    ]


class Logging(Workflow):
    @step
    async def say(self, ev: Ask) -> StopEvent:
        logging.getLogger("mine").warning("working")
        return StopEvent(result=None)


async def test_logs_of_steps_tell_run_step_and_trace(
    driver: Driver, traces: Traces, caplog: pytest.LogCaptureFixture
) -> None:
    """A record that a step writes carries the run, the step, and the ids of the step's span."""
    told_more = RunLogFilter()
    caplog.handler.addFilter(told_more)
    handler = await driver.run(Logging, text="x")
    await handler
    caplog.handler.removeFilter(told_more)
    traces.until("Logging")
    (record,) = [record for record in caplog.records if record.name == "mine"]
    told = vars(record)
    assert (told["run_id"], told["flow"], told["step"]) == (handler.run_id, "Logging", "say")
    (span,) = traces.named("say")
    assert told["trace_id"] == trace.format_trace_id(ids(span).trace_id)
    assert told["span_id"] == trace.format_span_id(ids(span).span_id)
