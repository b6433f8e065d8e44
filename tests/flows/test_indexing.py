"""A folder becomes searchable, file by file, and only what changed costs anything."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from activities.chunking import Chunking
from activities.embeddings import PackagedEmbedder
from activities.errors import DocumentUnreadable, ModelAuthError
from activities.knowledge import Knowledge
from activities.vectors import VectorStore
from activities.vectors_edge import EdgeEngine
from everstep.errors import StepFailedError
from tests.support.fake_openai import FakeOpenAI, auth_error, rate_limited, server_error
from workflows.indexing import FileError, IndexFlow, IndexProgress, IndexResult


async def index(knowledge: Knowledge, folder: Path, **options: Any) -> IndexResult:
    """Index a folder in process."""
    return await IndexFlow(knowledge, **options).run(folder=str(folder), index="handbook")


def embedded(model: FakeOpenAI) -> int:
    """How many times the server was asked for embeddings."""
    return len(model.requests_to("/embeddings"))


async def test_every_document_is_indexed(knowledge: Knowledge, handbook: Path) -> None:
    """Markdown, text and HTML are read, cut and stored; the result counts them."""
    result = await index(knowledge, handbook)
    assert (result.indexed, result.unchanged, result.removed, result.failed) == (3, 0, 0, 0)
    assert result.passages == 4
    found = await knowledge.index("handbook").search_sparse("coffee machine")
    assert (found[0].source, found[0].heading) == ("kitchen.html", ["Kitchen"])


async def test_indexing_again_changes_nothing(knowledge: Knowledge, handbook: Path, model: FakeOpenAI) -> None:
    """The second time, nothing is embedded and nothing is written."""
    await index(knowledge, handbook)
    calls = embedded(model)
    result = await index(knowledge, handbook)
    assert (result.indexed, result.unchanged, result.passages) == (0, 3, 4)
    assert embedded(model) == calls


async def test_only_what_changed_is_indexed_again(knowledge: Knowledge, handbook: Path, model: FakeOpenAI) -> None:
    """A changed file is replaced, a removed one is taken out, a new one is added, the rest stays."""
    await index(knowledge, handbook)
    calls = embedded(model)
    (handbook / "refunds.md").write_text("# Refunds\n\nAll refunds are paid by bicycle courier.\n")
    (handbook / "kitchen.html").unlink()
    (handbook / "new.md").write_text("# Parking\n\nPark in the yard.\n")
    result = await index(knowledge, handbook)
    assert (result.indexed, result.unchanged, result.removed, result.passages) == (2, 1, 1, 3)
    assert embedded(model) == calls + 2
    store = knowledge.index("handbook")
    assert [p.source for p in await store.search_sparse("approval three days")] == []
    assert (await store.search_sparse("bicycle courier"))[0].source == "refunds.md"
    assert await store.search_sparse("coffee") == []


async def test_other_sizes_index_anew(knowledge: Knowledge, handbook: Path, model: FakeOpenAI) -> None:
    """Passages are cut as a run or the flow says; sizes that differ from last time make every document changed."""
    (handbook / "refunds.md").write_text("# Refunds\n\n" + "All refunds are paid by bicycle courier. " * 40)
    whole = await index(knowledge, handbook)
    small = Chunking(max_tokens=64, min_tokens=0, overlap_tokens=16)
    cut = await index(knowledge, handbook, chunking=small)
    assert (cut.indexed, cut.unchanged) == (3, 0)
    assert cut.passages > 2 * whole.passages
    found = await knowledge.index("handbook").search_sparse("bicycle", limit=20)
    assert max(knowledge.embedder.count_tokens(one.indexed_text) for one in found) <= 64
    calls = embedded(model)
    again: IndexResult = await IndexFlow(knowledge).run(
        folder=str(handbook), index="handbook", chunking={"max_tokens": 64, "min_tokens": 0, "overlap_tokens": 16}
    )
    assert (again.indexed, again.unchanged, again.passages) == (0, 3, cut.passages)
    assert embedded(model) == calls


async def test_a_broken_file_is_reported_and_the_rest_is_indexed(knowledge: Knowledge, handbook: Path) -> None:
    """Each file that cannot be read is in the result with the reason; the others go on."""
    (handbook / "scan.pdf").write_bytes(b"%PDF-1.4 broken")
    (handbook / "notes.txt").write_bytes(b"caf\xe9 \xff\xfe\x00")
    result = await index(knowledge, handbook)
    assert (result.indexed, result.failed, result.passages) == (3, 2, 4)
    assert [error.source for error in result.errors] == ["notes.txt", "scan.pdf"]
    assert "not UTF-8 text" in result.errors[0].reason
    assert "PDF" in result.errors[1].reason


async def test_a_file_that_became_unreadable_is_no_longer_cited(knowledge: Knowledge, handbook: Path) -> None:
    """What was indexed of a file that broke is taken out, and comes back when it is mended."""
    await index(knowledge, handbook)
    whole = (handbook / "refunds.md").read_bytes()
    (handbook / "refunds.md").write_bytes(b"\xff\xff\xff\x00")
    broken = await index(knowledge, handbook)
    assert (broken.failed, broken.unchanged, broken.passages) == (1, 2, 2)
    (handbook / "refunds.md").write_bytes(whole)
    mended = await index(knowledge, handbook)
    assert (mended.indexed, mended.failed, mended.passages) == (1, 0, 4)


async def test_many_files_are_handled_in_rounds(knowledge: Knowledge, tmp_path: Path) -> None:
    """More files than one round takes are indexed in several, and counted over all of them."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(7):
        (folder / f"{number}.txt").write_text(f"Text number {number} stands here.\n")
    (folder / "3.txt").write_bytes(b"\xff\x00")
    handler = IndexFlow(knowledge, batch=2).run(folder=str(folder), index="handbook")
    events = [event async for event in handler.stream_events()]
    result: IndexResult = await handler
    assert (result.indexed, result.failed, result.passages) == (6, 1, 6)
    assert [error.source for error in result.errors] == ["3.txt"]
    assert len([e for e in events if isinstance(e, IndexProgress) and e.stage == "scan"]) >= 4


async def test_an_empty_folder_empties_the_index(knowledge: Knowledge, handbook: Path, tmp_path: Path) -> None:
    """An index mirrors its folder, also an empty one."""
    await index(knowledge, handbook)
    (tmp_path / "empty").mkdir()
    result = await index(knowledge, tmp_path / "empty")
    assert (result.removed, result.passages) == (3, 0)


async def test_only_the_given_places_are_indexed(knowledge: Knowledge, handbook: Path) -> None:
    """`paths` names files and folders below the folder; sources keep their names."""
    result = await IndexFlow(knowledge).run(folder=str(handbook), paths=["deliveries", "kitchen.html"])
    assert result.indexed == 2
    assert set(await knowledge.index("default").source_hashes()) == {"deliveries/parcels.txt", "kitchen.html"}


@pytest.mark.parametrize(("paths", "said"), [(["../"], "not below"), (["/etc"], "not below")])
async def test_a_path_out_of_the_folder_is_refused(
    knowledge: Knowledge, handbook: Path, paths: list[str], said: str
) -> None:
    """Nothing outside of the folder is read."""
    with pytest.raises(DocumentUnreadable, match=said):
        await IndexFlow(knowledge).run(folder=str(handbook), paths=paths)


async def test_a_folder_that_does_not_exist_fails_the_run(knowledge: Knowledge, tmp_path: Path) -> None:
    """The run says which folder it means, and tries only once."""
    with pytest.raises(DocumentUnreadable, match="nowhere"):
        await index(knowledge, tmp_path / "nowhere")


async def test_a_busy_embedding_server_is_asked_again_when_it_says(
    knowledge: Knowledge, handbook: Path, model: FakeOpenAI
) -> None:
    """429 with Retry-After and a server error delay a file; they fail nothing."""
    model.script([rate_limited("0.05"), server_error(503)], path="/embeddings")
    result = await index(knowledge, handbook)
    assert (result.indexed, result.failed, result.passages) == (3, 0, 4)
    assert embedded(model) == 5


async def test_a_wrong_key_fails_the_run_at_once(knowledge: Knowledge, handbook: Path, model: FakeOpenAI) -> None:
    """What waiting cannot cure is not tried again, and is named; it is nothing that is wrong with a file."""
    model.script([auth_error()] * 3, path="/embeddings")
    with pytest.raises((ModelAuthError, StepFailedError), match="API key"):
        await index(knowledge, handbook)
    assert embedded(model) <= 3


def test_errors_of_files_are_plain_data() -> None:
    """What is reported of a file reads back from JSON."""
    error = FileError(source="a.pdf", reason="broken")
    assert FileError.model_validate_json(error.model_dump_json()) == error


async def test_an_index_is_opened_beside_the_loop(tmp_path: Path) -> None:
    """Its client takes seconds to import, in which no other step of the worker would go on."""
    threads: list[threading.Thread] = []

    def opened(space: str) -> VectorStore:
        threads.append(threading.current_thread())
        return VectorStore(EdgeEngine(tmp_path / "vectors"))

    knowledge = Knowledge(embedder=PackagedEmbedder(), stores=opened)
    (tmp_path / "docs").mkdir()
    await IndexFlow(knowledge).run(folder=str(tmp_path / "docs"))
    await knowledge.close()
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()
    assert threads[0].name.startswith("asyncio_")
