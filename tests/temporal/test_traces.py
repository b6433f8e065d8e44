"""Traces of runs that replay, continue as new, lose their worker: still one tree, and no span twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from temporalio.client import Client

from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import Limits, TemporalRuntime, serving
from everstep.temporal.devserver import DevServer
from tests.support import durable_flows
from tests.support.otlp_receiver import OtlpReceiver, Received
from tests.support.traced import Traces, ids, traced
from tests.support.waiting import until
from tests.support.worker_process import WorkerProcess


class Again(Event):
    number: int


class Answer(HumanResponseEvent):
    text: str


class Question(InputRequiredEvent):
    response_event = Answer


class Round(Workflow):
    """Goes round and asks at the end."""

    @step
    async def turn(self, ctx: Context, ev: StartEvent | Again) -> Again | Question:
        number = await ctx.store.get("n", default=0) + 1
        await ctx.store.set("n", number)
        return Question() if number == 10 else Again(number=number)

    @step
    async def finish(self, ev: Answer) -> StopEvent:
        return StopEvent(result=ev.text)


@pytest.fixture
def traces() -> Iterator[Traces]:
    """What the test's runs trace."""
    with traced() as traces:
        yield traces


@pytest.mark.parametrize("limits", [Limits(), Limits(continue_at_events=20)], ids=["replays", "continues as new"])
@pytest.mark.slow
async def test_one_tree_over_replays_and_boundaries(
    client: Client, task_queue: str, traces: Traces, limits: Limits
) -> None:
    """Every workflow task replays the whole run, or the run crosses to new executions: each span comes once."""
    async with serving(client, [Round], task_queue=task_queue, limits=limits, max_cached_workflows=0):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Round")
        await until(handler.requests)
        traces.until("Round")
        waiting = traces.tree().lines()
        await handler.respond({"text": "yes"})
        assert await handler == "yes"
        traces.until("Round completed")
        if limits != Limits():
            first = await handler.workflow.describe()
            assert first.run_id != (await _first_execution(client, handler.run_id))
    assert waiting == ["Round", *["  turn"] * 10]
    assert sorted(traces.tree().lines()[11:]) == ["  Round completed", "  finish", "  wait for a person: Question"]


async def _first_execution(client: Client, run_id: str) -> str:
    async for event in client.get_workflow_handle(run_id).fetch_history_events():
        return event.workflow_execution_started_event_attributes.first_execution_run_id
    raise AssertionError("the run has no history")


async def test_a_run_of_the_same_id_is_another_trace(client: Client, task_queue: str, traces: Traces) -> None:
    """A run id that is used again, after the first run was cancelled, begins a tree of its own."""
    async with serving(client, [Round], task_queue=task_queue):
        runtime = TemporalRuntime(client, task_queue=task_queue)
        for _ in range(2):
            handler = await runtime.start_flow("Round", run_id=f"same-{task_queue}")
            await until(handler.requests)
            await handler.cancel_run()
            with pytest.raises(Exception, match="cancelled"):
                await handler
    roots = traces.named("Round")
    assert len({ids(root).trace_id for root in roots}) == len(roots) == 2
    assert len(traces.named("Round cancelled")) == 2


@pytest.mark.slow
async def test_a_killed_worker_leaves_a_whole_tree(
    client: Client, dev_server: DevServer, task_queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed worker had sent out has its parent: the next attempt tells of the one that was lost."""
    monkeypatch.setenv("DURABLE_FOLDER", str(tmp_path))

    async def hangs() -> bool:
        return durable_flows.marks("hangs") > 0

    with OtlpReceiver() as collector:
        env = {"DURABLE_FOLDER": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with WorkerProcess(dev_server.address, task_queue, "tests.support.traced_flows:FragileFlow", env=env) as worker:
            handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("FragileFlow")
            await until(hangs)
            worker.kill()
            worker.start()
            await until(handler.requests, within=40)
            waiting = await asyncio.to_thread(collector.until, lambda spans: _tree(spans) is not None)
            await handler.respond({"approved": True})
            assert await handler is True
            worker.terminate()
            await worker.ended()
    assert _tree(waiting) == ["FragileFlow", "  look !", "    a query", "  look", "    a query", "  ask"]
    assert _tree(collector.spans) == [
        *["FragileFlow", "  look !", "    a query", "  look", "    a query", "  ask"],
        *["  wait for a person: Approve", "  finish", "  FragileFlow completed"],
    ]
    assert {span.resource["service.name"] for span in collector.spans} == {"everstep"}


def _tree(spans: Sequence[Received]) -> list[str] | None:
    """The spans as one tree, in order of their beginning; None while they are none."""
    roots = [span for span in spans if not span.parent_id]
    known = {span.span_id for span in spans}
    if len(roots) != 1 or len(known) != len(spans) or len({span.trace_id for span in spans}) != 1:
        return None
    if any(span.parent_id not in known for span in spans if span.parent_id):
        return None

    def lines(span: Received, depth: int) -> list[str]:
        under = sorted((one for one in spans if one.parent_id == span.span_id), key=lambda one: one.begun)
        deeper = [line for one in under for line in lines(one, depth + 1)]
        return [f"{'  ' * depth}{span.name}{' !' if span.failed else ''}", *deeper]

    return lines(roots[0], 0)
