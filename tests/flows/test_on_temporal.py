"""The flows that ship, on a real Temporal server: started and answered with plain JSON, by name."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from activities.knowledge import Knowledge
from activities.ledger import Ledger
from activities.outbox import Outbox
from everstep.errors import ResponseRefusedError, RunAlreadyStartedError, StepFailedError
from everstep.handler import WorkflowHandler
from everstep.temporal import TemporalRuntime, serving
from tests.support.fake_openai import FakeOpenAI, auth_error, cut_stream, json_text, rate_limited
from tests.support.rag_model import kind_of
from tests.support.waiting import until
from workflows.approval import RefundFlow, RefundResult
from workflows.indexing import IndexFlow
from workflows.rag import Evaluated, RagFlow, RagProgress

QUESTION = "How long may a refund wait for approval by a person?"
LARGE: dict[str, Any] = {"order_id": "A-1001", "amount_cents": 42_000, "reason": "arrived broken", "customer": "Ann"}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger of the test's own."""
    return Ledger(tmp_path / "ledger.db")


@pytest.fixture
async def runtime(
    client: Client, knowledge: Knowledge, outbox: Outbox, ledger: Ledger
) -> AsyncIterator[TemporalRuntime]:
    """A server with a worker that serves all flows."""
    queue = f"flows-{time.time_ns()}"
    flows = [IndexFlow(knowledge), RagFlow(knowledge, outbox), RefundFlow(ledger=ledger)]
    worker: AbstractAsyncContextManager[Any] = serving(client, flows, task_queue=queue)
    async with worker:
        yield TemporalRuntime(client, task_queue=queue)


async def opened(run: WorkflowHandler) -> dict[str, Any]:
    """The request that a run makes, once it does."""
    return (await until(run.requests))[0]


async def index(runtime: TemporalRuntime, folder: Path) -> dict[str, Any]:
    """Index a folder by name, and give the result as it stands on the server."""
    run = await runtime.start_flow("IndexFlow", {"folder": str(folder)})
    return await run


async def test_documents_are_indexed_and_a_question_is_answered(
    runtime: TemporalRuntime, handbook: Path, outbox: Outbox, model: FakeOpenAI
) -> None:
    """From files to a published answer, through a rate limit and a cut stream, approved with plain JSON."""
    (handbook / "scan.pdf").write_bytes(b"%PDF-1.4 broken")
    first = await index(runtime, handbook)
    again = await index(runtime, handbook)
    assert (first["indexed"], first["failed"], first["passages"]) == (3, 1, 4)
    assert (again["indexed"], again["unchanged"], again["failed"]) == (0, 3, 1)
    model.script([rate_limited("1"), json_text({"queries": ["refund approval"]}), cut_stream("A refund", after=1)])
    run = await runtime.start_flow("RagFlow", {"question": QUESTION, "due": 600})
    request = await opened(run)
    assert "three days" in request["question"]["answer"]
    assert request["due_at"] is not None
    with pytest.raises(ResponseRefusedError, match="approved"):
        await run.respond({"comment": "hm"})
    await run.workflow.signal("respond", {"approved": True, "by": "ann"})
    result = await run
    assert result["status"] == "published"
    assert [path.name for path in outbox.folder.iterdir()] == [Path(result["published_to"]).name]
    kinds = [kind_of(request) for request in model.requests_to("/chat/completions")]
    assert (kinds.count("rewrite"), kinds.count("answer"), kinds.count("judge")) == (2, 4, 3)


async def test_every_call_is_seen_in_the_history_and_small(
    runtime: TemporalRuntime, client: Client, handbook: Path
) -> None:
    """Each call of a model and each search is an activity of its own; no payload holds a document or bare vectors."""
    await index(runtime, handbook)
    run = await runtime.start_flow("RagFlow", {"question": QUESTION, "rerank": "late"})
    await opened(run)
    await run.respond({"approved": False})
    await run
    history = await client.get_workflow_handle(run.run_id).fetch_history()
    scheduled = [e.activity_task_scheduled_event_attributes for e in history.events]
    names = [each.activity_type.name for each in scheduled if each.activity_type.name.startswith("RagFlow.")]
    assert {name: names.count(name) for name in names} == {
        "RagFlow.rewrite": 1,
        "RagFlow.embed": 1,
        "RagFlow.search": 4,
        "RagFlow.rerank": 1,
        "RagFlow.answer": 4,
        "RagFlow.evaluate": 4,
        "RagFlow.compare": 1,
        "RagFlow.select": 1,
        "RagFlow.publish": 1,
    }
    assert max(len(payload.data) for each in scheduled for payload in each.input.payloads) < 10_000


async def test_progress_is_read_with_its_types(
    runtime: TemporalRuntime, handbook: Path, knowledge: Knowledge, outbox: Outbox
) -> None:
    """Whoever has the flow's module reads progress as what it is, also after the end."""
    await index(runtime, handbook)
    run = RagFlow(knowledge, outbox, runtime=runtime).run(question=QUESTION, due=0.2)
    assert (await run)["status"] == "expired"
    events = [event async for event in run.stream_events()]
    stages = [event.stage for event in events if isinstance(event, RagProgress)]
    counts = {"rewrite": 2, "search": 3, "answer": 3, "evaluate": 3, "compare": 1}
    assert {stage: stages.count(stage) for stage in stages} == counts
    assert sum(isinstance(event, Evaluated) for event in events) == 3


async def test_a_wrong_key_fails_the_run_under_its_name(runtime: TemporalRuntime, model: FakeOpenAI) -> None:
    """The failure names step and cause, after one attempt."""
    model.script([auth_error()])
    run = await runtime.start_flow("RagFlow", {"question": QUESTION})
    with pytest.raises(StepFailedError) as failed:
        await run
    assert (failed.value.step, failed.value.attempts) == ("rewrite", 1)
    assert failed.value.exception_type == "activities.errors.ModelAuthError"


async def test_a_large_refund_waits_and_is_paid_once(runtime: TemporalRuntime, ledger: Ledger) -> None:
    """Approved twice, by signals: paid once."""
    run = await runtime.start_flow("RefundFlow", LARGE, run_id=f"refund-{time.time_ns()}")
    request = await opened(run)
    assert (request["assignee"], request["question"]["amount"]) == ("support-lead", "420.00")
    for _ in range(2):
        await run.workflow.signal("respond", {"approved": True})
    result = await run
    assert (result["status"], [p.idempotency_key for p in ledger.payments()]) == ("paid", [result["payment"]])


async def test_a_refund_expires_by_a_durable_timer(runtime: TemporalRuntime, ledger: Ledger) -> None:
    """Nobody decides: nothing is paid."""
    run = await runtime.start_flow("RefundFlow", {**LARGE, "due": 0.3})
    assert (await run)["status"] == "expired"
    assert ledger.payments() == []


async def test_a_denied_refund_ends_with_the_reason(runtime: TemporalRuntime, ledger: Ledger) -> None:
    """The typed result is the flow's own class for who has it."""
    run = RefundFlow(ledger=ledger, runtime=runtime).run(**LARGE)
    await opened(run)
    await run.respond({"approved": False, "comment": "worn for a year"})
    result = await run
    assert isinstance(result, RefundResult)
    assert (result.status, result.reason) == ("denied", "worn for a year")


async def test_one_order_is_refunded_by_one_run(runtime: TemporalRuntime, ledger: Ledger) -> None:
    """A run id made of the order refuses a second run for it, also when the first has ended."""
    run_id = f"refund-{time.time_ns()}"
    small = {**LARGE, "amount_cents": 1_000}
    run = await runtime.start_flow("RefundFlow", small, run_id=run_id)
    assert (await run)["status"] == "paid"
    with pytest.raises(RunAlreadyStartedError, match=run_id):
        await runtime.start_flow("RefundFlow", small, run_id=run_id)
    assert len(ledger.payments()) == 1


async def test_the_result_reads_well_on_the_server(runtime: TemporalRuntime, client: Client) -> None:
    """What Temporal's UI shows as the result is plain JSON with the flow's own fields."""
    run = await runtime.start_flow("RefundFlow", {**LARGE, "amount_cents": -1})
    await run
    events = (await client.get_workflow_handle(run.run_id).fetch_history()).events
    payload = events[-1].workflow_execution_completed_event_attributes.result.payloads[0]
    shown = json.loads(payload.data)
    assert (shown["status"], shown["order_id"]) == ("refused", "A-1001")
    assert "more than 0" in shown["reason"]
