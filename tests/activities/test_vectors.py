"""The vector store: one behaviour on the embedded engine and through the server's client."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from activities.chunking import Chunk
from activities.errors import (
    ModelUnavailable,
    VectorStoreError,
    VectorStoreLocked,
    VectorStoreMismatch,
    VectorStoreOutdated,
    VectorStoreUnavailable,
)
from activities.vectors import VectorEngine, VectorStore, chunk_id
from activities.vectors_edge import EdgeEngine
from activities.vectors_layout import INDEXED_FIELDS, LAYOUT, Point, Where
from activities.vectors_server import ServerEngine
from activities.vectors_writing import BatchWriter
from tests.support.fake_qdrant import FakeQdrant

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeQdrant]:
    """A Qdrant server; what it says is said by Qdrant's client in its local mode, over HTTP."""
    with FakeQdrant() as fake:
        yield fake


@pytest.fixture(params=["embedded", "server"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, server: FakeQdrant) -> AsyncIterator[VectorStore]:
    """An empty store, in a folder or on a server."""
    engine = EdgeEngine(tmp_path / "vectors") if request.param == "embedded" else on(server)
    made = VectorStore(engine)
    yield made
    await made.close()


def on(server: FakeQdrant) -> ServerEngine:
    """An engine with a collection of its own."""
    return ServerEngine(f"tests-{uuid.uuid4()}", url=server.url)


def chunks_of(source: str, *texts: str, content_hash: str = "h1", **more: Any) -> list[Chunk]:
    """A source's chunks, one line each."""
    return [
        Chunk(
            source=source,
            content_hash=content_hash,
            position=n,
            text=text,
            heading=["Guide"],
            start_line=n + 1,
            end_line=n + 1,
            **more,
        )
        for n, text in enumerate(texts)
    ]


def axis(*strengths: float) -> list[float]:
    """A vector of four numbers."""
    return [*strengths, *[0.0] * (4 - len(strengths))]


async def filled(store: VectorStore) -> VectorStore:
    """Three sources: by meaning `a` is nearest to axis 1, by words each has its own."""
    await store.ensure(4)
    await store.replace_source(chunks_of("a.md", "retry delays double"), [axis(1, 0.1)])
    await store.replace_source(
        chunks_of("b.md", "signals reach a run", "the server stores history"), [axis(0.7, 0.7), axis(0, 1)]
    )
    await store.replace_source(chunks_of("c.md", "a run is one execution"), [axis(0, 0, 1)])
    return store


async def test_search_by_meaning(store: VectorStore) -> None:
    """The nearest vectors come first, with cosines as scores and all that cites them."""
    found = await (await filled(store)).search_dense(axis(1), limit=2)
    assert [p.source for p in found] == ["a.md", "b.md"]
    assert found[0].score == pytest.approx(0.995, abs=0.001)
    assert found[0].model_dump(exclude={"score"}) == {
        "chunk_id": chunk_id("a.md", 0),
        "source": "a.md",
        "text": "retry delays double",
        "heading": ["Guide"],
        "start_line": 1,
        "end_line": 1,
        "page": None,
    }
    assert found[0].place == "a.md:1"


async def test_search_by_words(store: VectorStore) -> None:
    """Only passages that share a word are found; a rare word counts for more than a common one."""
    found = await (await filled(store)).search_sparse("Do signals stop the run?", limit=5)
    assert [p.text for p in found] == ["signals reach a run", "a run is one execution"]
    assert found[0].score > 2 * found[1].score > 0
    assert await store.search_sparse("the of and", limit=5) == []
    assert await store.search_sparse("elephants", limit=5) == []


async def test_search_by_both(store: VectorStore) -> None:
    """What is good in both rankings beats what is best in one."""
    found = await (await filled(store)).search_fused("retry delays double history", axis(0, 1), limit=3)
    assert found[0].text == "the server stores history"
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    assert (await store.search_fused("the", axis(1), limit=1))[0].source == "a.md"


async def test_searches_can_be_narrowed(store: VectorStore) -> None:
    """By folders or files, and by types of document: no kind of search finds anything else."""
    await store.ensure(4)
    for source, kind in (("docs/a.md", "markdown"), ("docs/deep/b.html", "html"), ("c.md", "markdown")):
        await store.replace_source(chunks_of(source, "retry delays", type=kind), [axis(1)])
    for where, found in (
        (Where(under=("docs",)), ["docs/a.md", "docs/deep/b.html"]),
        (Where(under=("docs/deep/", "./c.md")), ["c.md", "docs/deep/b.html"]),
        (Where(types=("html", "pdf")), ["docs/deep/b.html"]),
        (Where(under=("docs",), types=("markdown",)), ["docs/a.md"]),
        (Where(under=("doc",)), []),
        (Where(under=(".", "docs")), ["c.md", "docs/a.md", "docs/deep/b.html"]),
    ):
        for passages in (
            await store.search_dense(axis(1), where=where),
            await store.search_sparse("retry", where=where),
            await store.search_fused("retry", axis(1), where=where),
        ):
            assert sorted(one.source for one in passages) == found


def engine_of(store: VectorStore) -> VectorEngine:
    """The engine under a store."""
    return store._engine


async def older(store: VectorStore) -> VectorStore:
    """An index as the first layout had it, with a source of two passages."""
    await store.ensure(4)
    old = [
        Point(
            chunk_id("a.md", n),
            axis(1),
            {1: 1.0},
            {
                "source": "a.md",
                "content_hash": "h1",
                "position": n,
                "text": "old",
                "heading": [],
                "start_line": 1,
                "end_line": 2,
            },
        )
        for n in range(2)
    ]
    await engine_of(store).upsert(old)
    return store


async def test_an_index_of_an_older_layout_goes_on(store: VectorStore) -> None:
    """It is searched as it is, its sources count as changed, and indexing them makes it new."""
    await older(store)
    assert (await store.search_dense(axis(1)))[0].place == "a.md:1-2"
    assert await store.source_hashes() == {"a.md": "h1"}
    assert await store.source_hashes("1:192/16/0") == {"a.md": ""}
    with pytest.raises(VectorStoreOutdated, match=r"2 of its passages .* Run IndexFlow"):
        await store.search_dense(axis(1), where=Where(under=("docs",)))
    await store.replace_source(chunks_of("a.md", "new", recipe="1:192/16/0"), [axis(1)])
    assert await store.source_hashes("1:192/16/0") == {"a.md": "h1"}
    assert await store.source_hashes("1:256/16/0") == {"a.md": ""}
    assert [one.text for one in await store.search_dense(axis(1), where=Where(under=("a.md",)))] == ["new"]


async def test_an_index_of_a_newer_version_is_not_touched(store: VectorStore) -> None:
    """What this version does not know it does not replace."""
    await store.ensure(4)
    payload = {"source": "a.md", "content_hash": "h", "position": 0, "layout": LAYOUT + 1}
    await engine_of(store).upsert([Point(chunk_id("a.md", 0), axis(1), {1: 1.0}, payload)])
    with pytest.raises(VectorStoreMismatch, match=r"newer version of everstep .*Upgrade"):
        await store.source_hashes("any")


async def test_a_folder_of_an_older_layout_is_opened(tmp_path: Path) -> None:
    """The embedded store gets the indexes that filters need; one of a newer version is refused by name."""
    layout = tmp_path / "v" / "layout.json"
    store = VectorStore(EdgeEngine(tmp_path / "v"))
    await older(store)
    await store.close()
    layout.write_text(json.dumps({"layout": 1, "dimension": 4}))
    assert await store.count() == 2
    await store.close()
    assert json.loads(layout.read_text()) == {"layout": LAYOUT, "dimension": 4}
    layout.write_text(json.dumps({"layout": LAYOUT + 1, "dimension": 4}))
    with pytest.raises(VectorStoreMismatch, match="newer version"):
        await store.count()


async def test_a_server_has_indexes_for_what_filters_use(server: FakeQdrant) -> None:
    """They are made with the collection, and added to one that lacks some."""
    engine = on(server)
    await engine.ensure(4)
    assert server.indexes[engine.collection] == INDEXED_FIELDS
    del server.indexes[engine.collection]["under"]
    asked = server.requests["PUT index"]
    await engine.ensure(4)
    assert server.indexes[engine.collection] == INDEXED_FIELDS
    assert server.requests["PUT index"] == asked + 1
    await engine.close()


async def test_a_busy_server_is_not_overrun(server: FakeQdrant) -> None:
    """Batches of many sources share a bound; those that are refused come again; nothing is lost."""
    store = VectorStore(on(server), in_flight=2)
    await store.ensure(4)
    server.writes.clear()
    server.most_at_once, server.busy, server.slow = 0, 3, 0.01
    try:
        many = [chunks_of(f"s{n}.md", *["x"] * 100) for n in range(4)]
        await asyncio.gather(*(store.replace_source(chunks, [axis(1)] * 100) for chunks in many))
    finally:
        server.slow = 0.0
    assert await store.count() == 400
    assert sorted(server.writes) == sorted([64, 35, 1, 1] * 4)
    assert server.most_at_once == 2
    await store.close()


async def test_a_server_that_stays_busy_is_told_of(server: FakeQdrant) -> None:
    """After some tries, or where it wants to be left alone for long, the step's own retries are asked."""
    store = VectorStore(on(server))
    await store.ensure(4)
    server.busy, server.retry_after = 1, "60"
    with pytest.raises(VectorStoreUnavailable, match="too many requests") as caught:
        await store.replace_source(chunks_of("a.md", "one", "two"), [axis(1)] * 2)
    assert caught.value.retry_after == 60.0
    assert await store.source_hashes() == {}
    server.busy, server.retry_after = 5, "Fri, 31 Dec 2027 23:59:59 GMT"
    with pytest.raises(VectorStoreUnavailable, match="too many requests"):
        await engine_of(store).upsert([Point(chunk_id("a.md", 0), axis(1), {1: 1.0}, {})])
    server.busy, server.retry_after = 0, "0"
    await store.close()


@pytest.mark.slow
async def test_a_write_that_is_not_answered_is_tried_again(server: FakeQdrant) -> None:
    """A server that stalls costs its timeout, and no passage."""
    store = VectorStore(ServerEngine(f"tests-{uuid.uuid4()}", url=server.url, timeout=1))
    await store.ensure(4)
    server.slow = 1.5
    writing = asyncio.create_task(store.replace_source(chunks_of("a.md", "one"), [axis(1)]))
    await asyncio.sleep(1.2)
    server.slow = 0.0
    await writing
    assert await store.source_hashes() == {"a.md": "h1"}
    await store.close()


async def test_embedding_waits_for_writing(server: FakeQdrant) -> None:
    """Of a long document, no more is embedded than there is room to write; the old passages go only then."""
    store = VectorStore(on(server), in_flight=1)
    await store.ensure(4)
    await store.replace_source(chunks_of("a.md", "old"), [axis(1)])
    server.writes.clear()
    written: list[int] = []
    hashes: list[dict[str, str]] = []

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        written.append(sum(server.writes))
        hashes.append(await store.source_hashes())
        return [axis(1)] * len(texts)

    await store.index_source(chunks_of("a.md", *["x"] * 500, content_hash="h2"), embed)
    assert written[0] == 0
    assert [128 * n - 192 <= count for n, count in enumerate(written)] == [True] * 4
    assert hashes[0] == {"a.md": "h1"}
    assert await store.count() == 500
    assert await store.source_hashes() == {"a.md": "h2"}
    await store.close()


async def test_writing_again_changes_nothing(store: VectorStore) -> None:
    """A chunk written twice is one point."""
    await filled(store)
    await filled(store)
    assert await store.count() == 4


async def test_replacing_a_source_leaves_nothing_of_it(store: VectorStore) -> None:
    """A source that got shorter has no passages left from before, and its new hash."""
    await filled(store)
    await store.replace_source(chunks_of("b.md", "shorter now", content_hash="h2"), [axis(0, 1)])
    assert await store.count() == 3
    assert await store.source_hashes() == {"a.md": "h1", "b.md": "h2", "c.md": "h1"}
    assert await store.search_sparse("signals history") == []


async def test_a_source_can_be_deleted(store: VectorStore) -> None:
    """Only that source goes; deleting it again is fine."""
    await filled(store)
    for _ in range(2):
        await store.delete_source("b.md")
    assert set(await store.source_hashes()) == {"a.md", "c.md"}
    assert await store.count() == 2


async def test_an_interrupted_source_does_not_count_as_indexed(store: VectorStore) -> None:
    """Without its first chunk, which is written last, a source has no hash and will be done again."""
    await store.ensure(4)
    chunks = chunks_of("a.md", "one", "two", "three")
    await store.upsert(chunks[1:], [axis(1), axis(1)])
    assert await store.count() == 2
    assert await store.source_hashes() == {}


async def test_a_source_is_known_from_its_first_batch_on(store: VectorStore) -> None:
    """What an interrupted run wrote of a file can be taken out when the file is gone."""
    await store.ensure(4)
    parts: list[int] = []

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        parts.append(len(texts))
        if len(parts) == 2:
            raise ModelUnavailable("The model is away.")
        return [axis(1)] * len(texts)

    with pytest.raises(ModelUnavailable):
        await store.index_source(chunks_of("a.md", *["x"] * 200), embed)
    assert await store.count() > 0
    assert await store.source_hashes() == {"a.md": ""}
    await store.delete_source("a.md")
    assert (await store.count(), await store.source_hashes()) == (0, {})


async def test_a_write_that_never_began_gives_its_place_back() -> None:
    """Else the store would be full after some failures, and wait for ever."""

    class Nowhere:
        async def upsert(self, points: Sequence[Point]) -> None:
            """Takes anything."""

    room = asyncio.Semaphore(1)

    async def interrupted() -> None:
        async with BatchWriter(Nowhere(), room) as writer:
            await writer.put([Point("1", axis(1), {}, {})])
            raise ModelUnavailable("The model is away.")

    with pytest.raises(ModelUnavailable):
        await interrupted()
    async with asyncio.timeout(5):
        await room.acquire()


async def test_many_sources_are_listed(store: VectorStore) -> None:
    """The list of sources is complete beyond one page of the engine."""
    await store.ensure(4)
    many = [chunk for n in range(1100) for chunk in chunks_of(f"s{n}.md", "x")]
    await store.upsert(many, [axis(1)] * len(many))
    assert len(await store.source_hashes()) == 1100


async def test_an_empty_store_finds_nothing(store: VectorStore) -> None:
    """Before anything is indexed, reads have empty answers."""
    assert await store.count() == 0
    assert await store.search_dense(axis(1)) == []
    assert await store.search_fused("run", axis(1)) == []
    assert await store.source_hashes() == {}


async def test_vectors_of_another_size_are_refused(store: VectorStore) -> None:
    """A collection made for one embedder is not filled by another."""
    await store.ensure(4)
    await store.ensure(4)
    with pytest.raises(VectorStoreMismatch, match="holds vectors of 4 numbers, the embedder makes 8"):
        await store.ensure(8)


async def test_wrong_chunks_are_refused(store: VectorStore) -> None:
    """replace_source wants all of one source, in order."""
    a, b = chunks_of("a.md", "one", "two"), chunks_of("b.md", "one", "two")
    with pytest.raises(ValueError, match="from position 0"):
        await store.replace_source([], [])
    with pytest.raises(ValueError, match="from position 0"):
        await store.replace_source(a[1:], [axis(1)])
    with pytest.raises(ValueError, match="other sources"):
        await store.replace_source([a[0], b[1]], [axis(1)] * 2)


def test_many_loops_and_threads_lose_nothing(tmp_path: Path) -> None:
    """Six event loops, each with a store of its own on one folder, write and search at once: all is there."""
    failures: list[BaseException] = []

    async def work(worker: int) -> None:
        store = VectorStore(EdgeEngine(tmp_path / "vectors"))
        await store.ensure(4)

        async def index(n: int) -> None:
            texts = [f"word{worker}x{n}x{k} common" for k in range(5)]
            vectors = [[random.random() for _ in range(4)] for _ in texts]
            await store.replace_source(chunks_of(f"w{worker}-{n}.md", *texts), vectors)
            assert await store.search_dense(vectors[0], limit=3)
            found = await store.search_sparse(f"word{worker}x{n}x4", limit=1)
            assert [p.source for p in found] == [f"w{worker}-{n}.md"]

        await asyncio.gather(*(index(n) for n in range(20)))
        await store.close()

    def thread(worker: int) -> None:
        try:
            asyncio.run(work(worker))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=thread, args=(n,)) for n in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failures == []

    async def check() -> tuple[int, int]:
        store = VectorStore(EdgeEngine(tmp_path / "vectors"))
        counts = await store.count(), len(await store.source_hashes())
        await store.close()
        return counts

    assert asyncio.run(check()) == (600, 120)


INDEXER = """
import asyncio, sys
from activities.chunking import Chunk
from activities.vectors import VectorStore
from activities.vectors_edge import EdgeEngine

async def main():
    store = VectorStore(EdgeEngine(sys.argv[1]))
    await store.ensure(4)
    n = 0
    while True:
        chunks = [Chunk(source=f"s{n}", content_hash="h", position=k, text=f"text {k}", start_line=1, end_line=1)
                  for k in range(10)]
        await store.replace_source(chunks, [[1.0, 0.0, 0.0, 0.0]] * 10)
        print(n, flush=True)
        n += 1

asyncio.run(main())
"""


def start_indexer(folder: Path) -> subprocess.Popen[str]:
    """Another process that indexes for ever, and tells each source that is done."""
    return subprocess.Popen([sys.executable, "-c", INDEXER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def done(indexer: subprocess.Popen[str], count: int) -> int:
    """Waits until it has done so many sources; the last one's number."""
    assert indexer.stdout is not None
    return [int(indexer.stdout.readline()) for _ in range(count)][-1]


@pytest.mark.slow
async def test_kill_9_in_the_middle_of_indexing(tmp_path: Path) -> None:
    """The store opens again, at once; every source that was done is whole, and work goes on."""
    folder = tmp_path / "vectors"
    for _ in range(3):
        with start_indexer(folder) as indexer:
            last = done(indexer, 25)
            os.kill(indexer.pid, signal.SIGKILL)
        store = VectorStore(EdgeEngine(folder))
        await store.ensure(4)
        hashes = await store.source_hashes()
        assert {f"s{n}" for n in range(last + 1)} <= set(hashes)
        found = await store.search_dense(axis(1), limit=10_000)
        for source, content_hash in hashes.items():
            if content_hash and source != "after.md":
                assert sum(p.source == source for p in found) == 10
        await store.replace_source(chunks_of("after.md", "still works"), [axis(0, 1)])
        assert (await store.search_sparse("works", limit=1))[0].source == "after.md"
        await store.close()


async def test_a_creation_that_was_killed_is_made_again(tmp_path: Path) -> None:
    """A folder left half made, without its layout file, is no obstacle."""
    (tmp_path / "v" / "shard" / "segments").mkdir(parents=True)
    (tmp_path / "v" / "shard" / "edge_config.json").write_text("{")
    store = await filled(VectorStore(EdgeEngine(tmp_path / "v")))
    assert await store.count() == 4
    await store.close()


async def test_two_processes_on_one_folder(tmp_path: Path) -> None:
    """The second is told who has the folder and what to do; when the first ends, it may go on."""
    folder = tmp_path / "vectors"
    store = VectorStore(EdgeEngine(folder))
    with start_indexer(folder) as indexer:
        done(indexer, 1)
        with pytest.raises(VectorStoreLocked) as caught:
            await store.count()
        indexer.kill()
    for words in (str(folder), f"pid {indexer.pid}", "QDRANT_URL", "EVERSTEP_VECTORS"):
        assert words in str(caught.value)
    assert caught.value.retryable
    assert await store.count() >= 10
    await store.close()


async def test_writing_before_ensure_is_refused(tmp_path: Path) -> None:
    """A forgotten ensure() is named."""
    store = VectorStore(EdgeEngine(tmp_path / "v"))
    with pytest.raises(VectorStoreError, match="call ensure"):
        await store.upsert(chunks_of("a.md", "x"), [axis(1)])


async def test_the_data_outlives_the_store(tmp_path: Path) -> None:
    """Closed and opened again, the same is found; closing one of two users leaves the other working."""
    first, second = (VectorStore(EdgeEngine(tmp_path / "v")) for _ in range(2))
    await filled(first)
    assert await second.count() == 4
    await first.close()
    await first.close()
    assert await second.count() == 4
    await second.close()
    third = VectorStore(EdgeEngine(tmp_path / "v"))
    assert (await third.search_dense(axis(1), limit=1))[0].source == "a.md"
    await third.close()
