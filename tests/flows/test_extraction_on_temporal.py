"""Extraction on Temporal: started and answered with plain JSON, waiting by durable timers, killed and gone on with."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from activities.llm import OpenAIChat
from everstep.temporal import TemporalRuntime, serving
from everstep.temporal.devserver import DevServer
from tests.support.fake_openai import FakeOpenAI, RecordedRequest, Reply
from tests.support.papers import TEXT_INVOICE, document_of, play, read_invoice, records_in, write_invoices
from tests.support.waiting import until
from tests.support.worker_process import WorkerProcess
from workflows.extraction import ExtractionFlow

INVOICE = "tests.support.papers:Invoice"
STUBBORN = f"{TEXT_INVOICE}\nmisread 9\n"


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers may import the tests' models."""
    monkeypatch.setenv("EVERSTEP_EXTRACTION_MODELS", "tests.support.papers,gone_soon")


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """A chat server that reads invoices."""
    with FakeOpenAI(play, keep_alive=False) as server:
        yield server


def flow_with(server: FakeOpenAI) -> ExtractionFlow:
    """The flow, with that server's model."""
    return ExtractionFlow(OpenAIChat("fake", api_key="k", base_url=server.base_url, timeout=5, silence=2))


async def test_a_folder_is_extracted_and_a_record_mended_by_signal(
    client: Client, server: FakeOpenAI, tmp_path: Path
) -> None:
    """Each model call is an activity; the answer comes as plain JSON; no payload holds a document."""
    papers = write_invoices(tmp_path / "papers")
    (papers / "d.txt").write_text(STUBBORN)
    (papers / "long.txt").write_text(TEXT_INVOICE + "so it goes on\n" * 2_000)
    (papers / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
    queue = f"extract-{time.time_ns()}"
    async with serving(client, [flow_with(server)], task_queue=queue):
        runtime = TemporalRuntime(client, task_queue=queue)
        start = {"folder": str(papers), "model": INVOICE, "corrections": 1, "out": str(tmp_path / "out")}
        run = await runtime.start_flow("ExtractionFlow", start)
        request = (await until(run.requests))[0]
        await run.workflow.signal("respond", {"answer": {"fields": {"total": 42.5}}, "by": "ann"})
        result = await run
    assert request["question"]["places"] == ["d.txt:6: Total             42.50"]
    assert (result["extracted"], result["failed"], result["mended"], result["records"]) == (5, 1, 1, 5)
    assert set(records_in(Path(result["file"]))) == {"a.txt", "b.html", "c.pdf", "d.txt", "long.txt"}
    history = await client.get_workflow_handle(run.run_id).fetch_history()
    scheduled = [e.activity_task_scheduled_event_attributes for e in history.events]
    counts = Counter(each.activity_type.name for each in scheduled)
    assert counts["ExtractionFlow.extract"] == 7
    sizes = [len(payload.data) for each in scheduled for payload in each.input.payloads]
    results = [e.activity_task_completed_event_attributes for e in history.events]
    sizes += [len(payload.data) for each in results for payload in each.result.payloads]
    assert max(sizes) < 10_000


async def test_a_person_has_a_day(skipping_client: Client, server: FakeOpenAI, tmp_path: Path) -> None:
    """Nobody mends the record: after a day, kept by the server, the document is incomplete and the run ends."""
    (tmp_path / "d.txt").write_text(STUBBORN)
    queue = f"extract-{time.time_ns()}"
    async with serving(skipping_client, [flow_with(server)], task_queue=queue):
        runtime = TemporalRuntime(skipping_client, task_queue=queue)
        start = {"folder": str(tmp_path), "model": INVOICE, "corrections": 0, "due": 86_400, "out": f"{tmp_path}/out"}
        result = await (await runtime.start_flow("ExtractionFlow", start))
    assert (result["incomplete"], result["records"]) == (1, 0)
    assert result["problems"] == [{"source": "d.txt", "outcome": "incomplete", "reason": "1 wrong, in total"}]


async def test_a_model_that_is_gone_when_the_answer_comes_loses_no_record(
    skipping_client: Client, server: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker looks for it a few times; then the record is left as it is, with its faults, and the run ends."""
    (tmp_path / "gone_soon.py").write_text("from tests.support.papers import Invoice")
    (tmp_path / "d.txt").write_text(STUBBORN)
    monkeypatch.syspath_prepend(tmp_path)
    queue = f"extract-{time.time_ns()}"
    async with serving(skipping_client, [flow_with(server)], task_queue=queue):
        runtime = TemporalRuntime(skipping_client, task_queue=queue)
        start = {"folder": f"{tmp_path}/d.txt", "model": "gone_soon:Invoice", "corrections": 0, "out": f"{tmp_path}/o"}
        run = await runtime.start_flow("ExtractionFlow", start)
        await until(run.requests)
        (tmp_path / "gone_soon.py").unlink()
        monkeypatch.delitem(sys.modules, "gone_soon")
        await run.workflow.signal("respond", {"fields": {"total": "42.50"}})
        result = await run
    assert result["incomplete"] == 1
    kept = next((tmp_path / "o" / "documents").glob("*.json")).read_text()
    assert "it could not be mended" in kept
    assert "finds no module 'gone_soon'" in kept
    assert "about 42.50" in kept


@pytest.mark.slow
async def test_a_killed_worker_goes_on_where_it_was(client: Client, dev_server: DevServer, tmp_path: Path) -> None:
    """Documents that were done are not asked about again, those under way are, and an open request stays open."""
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "00.txt").write_text(STUBBORN.replace("A-1001", "A-0000"))
    for number in range(1, 13):
        (papers / f"{number:02}.txt").write_text(TEXT_INVOICE.replace("A-1001", f"A-{number:04}"))
    asked: Counter[str] = Counter()

    def slow_from_six(request: RecordedRequest) -> Reply:
        number = str(read_invoice(document_of(request))["number"])
        asked[number] += 1
        reply = play(request)
        hangs = number >= "A-0006" and asked[number] == 1
        return Reply(reply.content, wait=120) if hangs else reply

    queue = f"extract-{time.time_ns()}"
    with FakeOpenAI(slow_from_six, keep_alive=False) as server:
        flow = "workflows.extraction:ExtractionFlow"
        with WorkerProcess(dev_server.address, queue, flow, env=server.env) as worker:
            runtime = TemporalRuntime(client, task_queue=queue)
            start = {"folder": str(papers), "model": INVOICE, "corrections": 1, "out": str(tmp_path / "out")}
            run = await runtime.start_flow("ExtractionFlow", start)

            async def amid() -> bool:
                done = list((tmp_path / "out" / "documents").glob("*.json"))
                return len(done) == 5 and len(asked) == 13 and bool(await run.requests())

            await until(amid, within=40)
            worker.kill()
            worker.start()
            await until(run.requests, within=40)
            await run.respond({"fields": {"total": "42.50"}})
            result = await run
    assert (result["extracted"], result["mended"], result["records"]) == (13, 1, 13)
    assert [asked[f"A-{number:04}"] for number in range(13)] == [2, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]
