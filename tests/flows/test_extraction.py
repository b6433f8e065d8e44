"""Documents become records: checked, corrected by the chat model, mended by people; nothing is lost on the way."""

from __future__ import annotations

import csv
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from activities.errors import (
    DocumentUnreadable,
    ExtractionStopped,
    ModelAuthError,
    RecordModelInvalid,
    ResultsUnwritable,
)
from activities.llm import OpenAIChat
from everstep.errors import ResponseRefusedError
from everstep.handler import WorkflowHandler
from tests.support.fake_openai import (
    FakeOpenAI,
    auth_error,
    context_overflow,
    quota_exceeded,
    rate_limited,
    server_error,
)
from tests.support.papers import (
    PRINTED,
    RESUME,
    RESUME_SCHEMA,
    TEXT_INVOICE,
    document_of,
    play,
    records_in,
    write_invoices,
)
from tests.support.waiting import until
from workflows.extraction import ExtractionFlow, ExtractionProgress, ExtractionResult, ExtractionSummary

INVOICE = "tests.support.papers:Invoice"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results go into the test's own folder; models of records may come from anywhere."""
    monkeypatch.setenv("EVERSTEP_EXTRACTED", str(tmp_path / "extracted"))
    monkeypatch.setenv("EVERSTEP_EXTRACTION_MODELS", "*")


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A folder with three invoices."""
    return write_invoices(tmp_path / "papers")


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """A chat server that reads invoices and resumes."""
    with FakeOpenAI(play, keep_alive=False) as server:
        yield server


@pytest.fixture
async def flow(server: FakeOpenAI) -> AsyncIterator[ExtractionFlow]:
    """The flow, with that server's model."""
    model = OpenAIChat("fake", api_key="k", base_url=server.base_url, timeout=5, silence=2)
    yield ExtractionFlow(model)
    await model.aclose()


async def asked(run: WorkflowHandler, count: int = 1) -> list[dict[str, Any]]:
    """The open requests of a run, once there are so many."""

    async def enough() -> list[dict[str, Any]] | None:
        requests = await run.requests()
        return requests if len(requests) == count else None

    found = await until(enough)
    assert found is not None
    return found


def rows_of(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(file.read_text().splitlines()))


def calls(server: FakeOpenAI) -> int:
    """How often the chat model was asked."""
    return len(server.requests_to("/chat/completions"))


async def test_each_document_becomes_records(flow: ExtractionFlow, papers: Path, tmp_path: Path) -> None:
    """Text, HTML and a PDF with a table; values have their model's form, defaults are filled in."""
    run = flow.run(folder=str(papers), model=INVOICE, out=str(tmp_path / "out"))
    result: ExtractionResult = await run
    assert (result.extracted, result.records, result.failed, result.corrections) == (3, 3, 0, 0)
    records = records_in(Path(result.file))
    assert records["c.pdf"] == {
        "number": "C-3003",
        "date": "2026-10-09",
        "vendor": "Alpine Lamps",
        "currency": "EUR",
        "items": [
            {"name": "Desk lamp", "quantity": 2, "amount": "118.00"},
            {"name": "Bulb", "quantity": 6, "amount": "21.00"},
        ],
        "total": "139.00",
    }
    assert (records["a.txt"]["number"], records["b.html"]["number"]) == ("A-1001", "B-2002")
    assert result.usage.prompt_tokens > 0
    events = [event async for event in run.stream_events()]
    done = {e.source: e.text for e in events if isinstance(e, ExtractionProgress) and e.stage == "done"}
    assert done == dict.fromkeys(("a.txt", "b.html", "c.pdf"), "extracted, 1 record")
    table = next(event.table for event in events if isinstance(event, ExtractionSummary))
    assert "c.pdf" in table
    assert table.endswith("3 extracted")


async def test_an_invoice_as_it_comes_is_read_whole(flow: ExtractionFlow, tmp_path: Path) -> None:
    """A page with its vendor in a header and its total in a footer, and two printed sheets of it, are one record."""
    result = await flow.run(
        folder=str(PRINTED), paths=["invoice.html", "invoice.pdf"], model=INVOICE, out=str(tmp_path / "out")
    )
    assert (result.extracted, result.corrections) == (2, 0)
    page, printed = records_in(Path(result.file)).values()
    assert page == printed
    assert (page["number"], page["vendor"], page["total"]) == ("D-4004", "Harbour Lights Ltd", "518.50")
    assert len(page["items"]) == 15
    lamp = "Desk lamp with a jointed arm and a clamp for boards of up to 40 mm"
    assert page["items"][0] == {"name": lamp, "quantity": 2, "amount": "118.00"}


async def test_a_json_schema_serves_as_well_and_csv_is_written(flow: ExtractionFlow, tmp_path: Path) -> None:
    """Inline or from a file; what is not said in the document is lacking; columns stand in the schema's order."""
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "mira.md").write_text(RESUME)
    (tmp_path / "people" / "new.md").write_text(RESUME.replace(" 7 years of experience.", ""))
    result = await flow.run(folder=str(tmp_path / "people"), model=RESUME_SCHEMA, format="csv", out=str(tmp_path / "o"))
    rows = rows_of(Path(result.file))
    assert list(rows[0]) == ["source", "name", "email", "years", "skills"]
    assert [(row["source"], row["years"]) for row in rows] == [("mira.md", "7"), ("new.md", "")]
    assert rows[0]["skills"] == '["Python", "Temporal", "Sailing"]'


async def test_the_model_is_told_what_is_wrong(flow: ExtractionFlow, papers: Path, server: FakeOpenAI) -> None:
    """A wrong record goes back with its faults and is written anew; nobody is asked."""
    (papers / "d.txt").write_text(f"{TEXT_INVOICE}\nmisread 1\n")
    result = await flow.run(folder=str(papers), paths=["d.txt"], model=INVOICE)
    assert (result.extracted, result.corrections, result.mended) == (1, 1, 0)
    messages = server.requests_to("/chat/completions")[1].body["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert '"about 42.50"' in messages[2]["content"]
    assert "total of record 1: Input should be a valid decimal" in messages[3]["content"]


async def test_a_person_mends_what_stays_wrong(flow: ExtractionFlow, papers: Path, server: FakeOpenAI) -> None:
    """They see record, faults and places; answers are checked until one is sound; the other documents are done."""
    (papers / "d.txt").write_text(f"{TEXT_INVOICE}\nmisread 9\n")
    run = flow.run(folder=str(papers), model=INVOICE, corrections=1, assignee="accounts", due=3600)
    request = (await asked(run))[0]
    assert request["assignee"] == "accounts"
    assert request["question"]["document"] == "d.txt, record 1 of 1"
    assert request["question"]["faults"] == {"total": "Input should be a valid decimal"}
    assert request["question"]["record"]["number"] == "A-1001"
    assert request["question"]["places"] == ["d.txt:6: Total             42.50"]
    with pytest.raises(ResponseRefusedError, match=r"fields\.total"):
        await run.respond({"total": 42.5})
    with pytest.raises(ResponseRefusedError, match="drop=true"):
        await run.respond({"request_id": request["id"]})
    await run.respond({"fields": {"total": 40}})
    again = (await asked(run))[0]
    assert again["id"] != request["id"]
    assert "not the sum" in again["question"]["faults"]["record"]
    await run.respond({"fields": {"items.7.amount": 2}})
    third = await until(lambda: _other(run, again["id"]))
    assert third is not None
    assert "no items.7" in third["question"]["faults"]["record"]
    await run.respond({"fields": {"total": "42.50"}}, by="ann")
    result: ExtractionResult = await run
    assert (result.extracted, result.mended, result.records, calls(server)) == (4, 1, 4, 5)
    assert records_in(Path(result.file))["d.txt"]["total"] == "42.50"


async def _other(run: WorkflowHandler, known: str) -> dict[str, Any] | None:
    requests = [request for request in await run.requests() if request["id"] != known]
    return requests[0] if requests else None


async def test_what_nobody_mends_is_kept_as_it_is(flow: ExtractionFlow, papers: Path) -> None:
    """When time is up the document is incomplete: the wrong record stands in its file, with its faults."""
    (papers / "d.txt").write_text(f"{TEXT_INVOICE}\nmisread 9\n")
    result = await flow.run(folder=str(papers), model=INVOICE, corrections=0, due=0.05)
    assert (result.extracted, result.incomplete, result.records) == (3, 1, 3)
    assert [(p.source, p.reason) for p in result.problems] == [("d.txt", "1 wrong, in total")]
    kept = next(Path(result.out, "documents").glob("d-txt-*.json")).read_text()
    assert "about 42.50" in kept


async def test_a_person_may_drop_a_record(flow: ExtractionFlow, tmp_path: Path) -> None:
    """What is no record leaves no trace among the records."""
    (tmp_path / "x.txt").write_text(f"{TEXT_INVOICE}\nmisread 9\n")
    run = flow.run(folder=str(tmp_path / "x.txt"), model=INVOICE, corrections=0, out=str(tmp_path / "out"))
    await asked(run)
    await run.respond({"drop": True})
    result = await run
    assert (result.empty, result.dropped, result.records) == (1, 1, 0)


async def test_an_answer_that_is_no_json_is_written_by_a_person(flow: ExtractionFlow, tmp_path: Path) -> None:
    """The model is told first; then a person writes the record from nothing."""
    (tmp_path / "x.txt").write_text("no json")
    run = flow.run(folder=str(tmp_path / "x.txt"), model=RESUME_SCHEMA, corrections=1, out=str(tmp_path / "out"))
    faults = (await asked(run))[0]["question"]["faults"]
    assert "no JSON" in faults["record"]
    assert faults["email"] == "it is required"
    await run.respond({"fields": {"name": "Mira", "email": "m@example.org", "skills": []}})
    assert (await run).extracted == 1


async def test_one_record_per_document_is_held(flow: ExtractionFlow, tmp_path: Path, server: FakeOpenAI) -> None:
    """With per_document=one, none is as wrong as several."""
    (tmp_path / "x.txt").write_text("Just a note.")
    run = flow.run(
        folder=str(tmp_path / "x.txt"), model=INVOICE, per_document="one", corrections=1, out=str(tmp_path / "out")
    )
    request = (await asked(run))[0]
    assert request["question"]["faults"]["record"] == "the document must have one record, and 0 were found"
    assert "must have one record" in server.requests_to("/chat/completions")[1].body["messages"][3]["content"]
    await run.respond({"drop": True})
    await run


async def test_each_file_has_its_outcome(flow: ExtractionFlow, papers: Path) -> None:
    """Broken, refused and empty ones are told apart, with reasons; the others are done."""
    (papers / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
    (papers / "no.txt").write_text("please refuse")
    (papers / "note.txt").write_text("Nothing to see.")
    result = await flow.run(folder=str(papers), model=INVOICE)
    assert (result.extracted, result.empty, result.failed, result.records) == (3, 1, 2, 3)
    reasons = {problem.source: problem.reason for problem in result.problems}
    assert "PDF" in reasons["broken.pdf"]
    assert "declined" in reasons["no.txt"]
    outcomes = {row["source"]: row["outcome"] for row in rows_of(Path(result.out, "documents.csv"))}
    assert outcomes["note.txt"] == "empty"
    assert len(outcomes) == 6


async def test_a_busy_server_is_asked_again_and_a_long_document_fails_alone(
    flow: ExtractionFlow, papers: Path, server: FakeOpenAI
) -> None:
    """Retry-After is obeyed; what is too long for the model is that document's affair."""
    server.script([rate_limited("0.05"), server_error(503), context_overflow()])
    result = await flow.run(folder=str(papers), model=INVOICE)
    assert (result.extracted, result.failed) == (2, 1)
    assert "context" in result.problems[0].reason


async def test_what_is_done_is_not_done_again(
    flow: ExtractionFlow, papers: Path, tmp_path: Path, server: FakeOpenAI
) -> None:
    """A second run into the same folder does what is new, changed or failed, and drops what is gone."""
    job: dict[str, Any] = {"folder": str(papers), "model": INVOICE, "out": str(tmp_path / "out")}
    (papers / "no.txt").write_text("please refuse")
    await flow.run(**job)
    before = calls(server)
    (papers / "a.txt").write_text(TEXT_INVOICE.replace("A-1001", "A-1009"))
    (papers / "b.html").unlink()
    (papers / "no.txt").write_text(TEXT_INVOICE)
    result = await flow.run(**job)
    assert (result.extracted, result.unchanged, result.removed, result.records) == (2, 1, 1, 3)
    assert calls(server) == before + 2
    records = records_in(Path(result.file))
    assert {source: record["number"] for source, record in records.items()} == {
        "a.txt": "A-1009",
        "c.pdf": "C-3003",
        "no.txt": "A-1001",
    }
    other = await flow.run(**job, per_document="one")
    assert (other.extracted, other.unchanged) == (3, 0)


async def test_results_outside_of_the_given_places_stay(flow: ExtractionFlow, papers: Path, tmp_path: Path) -> None:
    """A run over a part of the folder leaves what was done with the rest."""
    job: dict[str, Any] = {"folder": str(papers), "model": INVOICE, "out": str(tmp_path / "out")}
    await flow.run(**job)
    result = await flow.run(**job, paths=["a.txt"])
    assert (result.extracted, result.unchanged, result.removed, result.records) == (0, 1, 0, 3)


@pytest.mark.parametrize(("name", "said"), [("taken", "holds the results of"), ("file", "cannot be written")])
async def test_results_go_where_they_harm_nothing(
    flow: ExtractionFlow, papers: Path, tmp_path: Path, server: FakeOpenAI, name: str, said: str
) -> None:
    """Another folder's results are not mixed up with these, and a place that cannot be written is told at once."""
    (tmp_path / "other").mkdir()
    await flow.run(folder=str(tmp_path / "other"), model=INVOICE, out=str(tmp_path / "taken"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResultsUnwritable, match=said):
        await flow.run(folder=str(papers), model=INVOICE, out=str(tmp_path / name))
    assert calls(server) == 0


async def test_a_document_whose_step_fails_for_good_is_reported(
    flow: ExtractionFlow, papers: Path, server: FakeOpenAI
) -> None:
    """A server that stays busy costs that document its result, and no other."""
    server.script([rate_limited("0.01")] * 8)
    result = await flow.run(folder=str(papers), paths=["a.txt"], model=INVOICE)
    assert (result.failed, result.problems[0].source) == (1, "a.txt")
    assert result.problems[0].reason.startswith("step 'extract' failed: ")
    assert "Rate limit" in result.problems[0].reason


async def test_many_documents_are_handled_in_rounds(flow: ExtractionFlow, papers: Path) -> None:
    """More documents than one round takes are counted over all of them."""
    small = ExtractionFlow(flow.model, batch=2)
    result = await small.run(folder=str(papers), model=INVOICE)
    assert (result.extracted, result.records) == (3, 3)


async def test_without_credit_the_run_stops_and_keeps_what_is_done(
    flow: ExtractionFlow, papers: Path, tmp_path: Path, server: FakeOpenAI
) -> None:
    """What no other document would get past ends the run as failed, says so, and a later run does the rest."""
    job: dict[str, Any] = {"folder": str(papers), "model": INVOICE, "out": str(tmp_path / "out")}
    await flow.run(**job, paths=["a.txt"])
    server.script([quota_exceeded()] * 2)
    with pytest.raises(ExtractionStopped, match=r"current quota.*2 were not begun.*run it again with out="):
        await flow.run(**job)
    assert set(records_in(tmp_path / "out" / "records.jsonl")) == {"a.txt"}
    result = await flow.run(**job)
    assert (result.extracted, result.unchanged, result.records) == (2, 1, 3)


async def test_a_wrong_key_asks_for_no_more_than_what_is_under_way(
    flow: ExtractionFlow, tmp_path: Path, server: FakeOpenAI
) -> None:
    """Of many documents only those that had begun reach the server."""
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text(TEXT_INVOICE)
    server.script([auth_error()] * 40)
    with pytest.raises(ExtractionStopped, match="OPENAI_API_KEY"):
        await flow.run(folder=str(tmp_path), model=INVOICE, out=str(tmp_path / "out"))
    assert calls(server) < 20


async def test_without_a_model_it_refuses(papers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is extracted without a chat model, and the error says what to set."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelAuthError, match="OPENAI_API_KEY"):
        await ExtractionFlow().run(folder=str(papers), model=INVOICE)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("Invoice", "names no model"),
        ("nowhere.to.be:Found", "no module 'nowhere'"),
        ("tests.support.papers:Nothing", "it has Item, Invoice, Resume"),
        ("tests.support.papers:play", "is no pydantic model"),
        ("schema.json", "cannot be read"),
        ({"type": "objekt"}, "is no JSON Schema"),
        ({"type": "array"}, "describes no record"),
        ({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/a"}}}, "nothing outside of it is fetched"),
    ],
)
async def test_a_model_that_is_none_is_named(
    flow: ExtractionFlow, papers: Path, server: FakeOpenAI, model: Any, said: str
) -> None:
    """Before anything is asked of a chat model."""
    with pytest.raises(RecordModelInvalid, match=said):
        await flow.run(folder=str(papers), model=model)
    assert calls(server) == 0


async def test_models_come_only_from_where_the_worker_allows(
    flow: ExtractionFlow, papers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run cannot have any module imported but those that the worker names; where it names none, none at all."""
    (tmp_path / "side_effect.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("EVERSTEP_EXTRACTION_MODELS")
    for strict, said in (
        (ExtractionFlow(flow.model), r"imports no models by name\. Set EVERSTEP_EXTRACTION_MODELS=side_effect where"),
        (ExtractionFlow(flow.model, record_models=["invoices.*"]), r"only from invoices\.\*"),
    ):
        with pytest.raises(RecordModelInvalid, match=said):
            await strict.run(folder=str(papers), model="side_effect:Invoice")
    assert not (tmp_path / "ran").exists()


async def test_a_folder_that_does_not_exist_is_named(flow: ExtractionFlow, tmp_path: Path) -> None:
    """Nothing is made of it."""
    with pytest.raises(DocumentUnreadable, match="nowhere"):
        await flow.run(folder=str(tmp_path / "nowhere"), model=INVOICE)


async def test_the_document_reaches_the_model_as_material(
    flow: ExtractionFlow, papers: Path, server: FakeOpenAI
) -> None:
    """Its text stands apart from what is asked, and the form is strict."""
    await flow.run(folder=str(papers), model=INVOICE, paths=["c.pdf"])
    request = server.requests_to("/chat/completions")[0]
    assert re.search(r"Desk lamp +2 +118\.00", document_of(request))
    assert "never orders" in request.body["messages"][0]["content"]
    form = request.body["response_format"]["json_schema"]
    assert (form["name"], form["strict"]) == ("Invoice_records", True)
