"""Embeddings over HTTP and from the packaged model."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Iterator

import pytest

from activities.embeddings import Embedder, OpenAIEmbedder, PackagedEmbedder, embedder_from_env
from activities.errors import ModelRateLimited, ModelTimeout, ModelUnavailable
from activities.remembered import RememberingEmbedder
from tests.support.fake_openai import FakeOpenAI, Reply, embeddings, rate_limited


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """A scripted server."""
    with FakeOpenAI(dimension=8) as fake:
        yield fake


def embedder_at(server: FakeOpenAI, **options: float) -> OpenAIEmbedder:
    """An embedder of that server."""
    return OpenAIEmbedder("fake", dimension=8, api_key="k", base_url=server.base_url, **options)


def cosine(a: list[float], b: list[float]) -> float:
    """How near two vectors of length 1 are."""
    return sum(x * y for x, y in zip(a, b, strict=True))


async def test_many_texts_go_in_batches(server: FakeOpenAI) -> None:
    """300 texts are three requests, and come back in order."""
    embedder = embedder_at(server)
    texts = [f"word{n}" for n in range(300)]
    vectors = await embedder.embed(texts)
    assert [len(r.body["input"]) for r in server.requests] == [128, 128, 44]
    assert vectors[299] == (await embedder.embed(["word299"]))[0]
    await embedder.aclose()


async def test_vectors_have_the_length_that_is_promised(server: FakeOpenAI) -> None:
    """Not every server's have; sums of products would be no cosines then."""
    server.script([embeddings([[3.0, 4.0, *[0.0] * 6], [0.0] * 8])], path="/embeddings")
    embedder = embedder_at(server)
    assert await embedder.embed(["a", "b"]) == [[0.6, 0.8, *[0.0] * 6], [0.0] * 8]
    await embedder.aclose()


async def test_no_texts_need_no_request(server: FakeOpenAI) -> None:
    """Nothing in, nothing out."""
    assert await embedder_at(server).embed([]) == []
    assert server.requests == []


async def test_failures_have_names(server: FakeOpenAI) -> None:
    """A 429 keeps its Retry-After; a slow server and wrong sizes are told apart."""
    embedder = embedder_at(server, timeout=0.3)
    slow, short = Reply(data={}, wait=2.0), embeddings([[1.0, 2.0]])
    server.script([rate_limited("7"), slow, short], path="/embeddings")
    with pytest.raises(ModelRateLimited) as limited:
        await embedder.embed(["a"])
    assert limited.value.retry_after == 7.0
    with pytest.raises(ModelTimeout):
        await embedder.embed(["a"])
    with pytest.raises(ModelUnavailable, match="EVERSTEP_EMBEDDING_DIMENSION"):
        await embedder.embed(["a"])
    await embedder.aclose()


def test_an_unknown_model_needs_its_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the vectors is known before anything is stored."""
    monkeypatch.delenv("EVERSTEP_EMBEDDING_DIMENSION", raising=False)
    with pytest.raises(ValueError, match="EVERSTEP_EMBEDDING_DIMENSION"):
        OpenAIEmbedder("my-model")


def test_one_embedder_serves_several_loops(server: FakeOpenAI) -> None:
    """Loops in threads of their own share an embedder."""
    embedder = embedder_at(server)
    found: list[int] = []

    async def embed() -> None:
        for _ in range(3):
            found.append(len(await embedder.embed(["a", "b"])))
        await embedder.aclose()

    threads = [threading.Thread(target=lambda: asyncio.run(embed())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2] * 12


async def test_the_packaged_model_knows_meaning() -> None:
    """Sentences on one matter are nearer than others, without a shared word; vectors have length 1."""
    embedder = PackagedEmbedder()
    car, automobile, soup = await embedder.embed(
        ["The car is fast.", "An automobile of great speed", "She cooks tomato soup"]
    )
    assert len(car) == embedder.dimension == 384
    assert math.isclose(cosine(car, car), 1.0, abs_tol=1e-5)
    assert cosine(car, automobile) > 0.5 > 0.3 > cosine(car, soup)


async def test_the_packaged_model_takes_any_text() -> None:
    """Empty and very long texts have vectors too."""
    vectors = await PackagedEmbedder().embed(["", "word " * 5000])
    assert [len(vector) for vector in vectors] == [384, 384]


async def test_the_packaged_model_does_not_block_the_loop() -> None:
    """While 60 texts are embedded, the loop goes on."""
    await PackagedEmbedder().embed(["load"])
    work = asyncio.create_task(PackagedEmbedder().embed(["some words to embed " * 20] * 60))
    longest, before = 0.0, time.perf_counter()
    while not work.done():
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    assert len(await work) == 60
    assert longest < 0.5


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({}, "all-MiniLM-L6-v2-int8"),
        ({"OPENAI_API_KEY": "k"}, "text-embedding-3-small"),
        ({"OPENAI_API_KEY": "k", "EVERSTEP_EMBEDDINGS": "packaged"}, "all-MiniLM-L6-v2-int8"),
        ({"OPENAI_API_KEY": "k", "EVERSTEP_EMBEDDING_MODEL": "text-embedding-3-large"}, "text-embedding-3-large"),
    ],
)
def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], name: str) -> None:
    """A key chooses the server, none the packaged model, and a setting overrules."""
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "EVERSTEP_EMBEDDINGS", "EVERSTEP_EMBEDDING_MODEL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("EVERSTEP_EMBEDDING_DIMENSION", raising=False)
    for variable, value in env.items():
        monkeypatch.setenv(variable, value)
    embedder: Embedder = embedder_from_env()
    assert embedder.name == name
    assert name in embedder.describe()


def test_a_wrong_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped setting is named."""
    monkeypatch.setenv("EVERSTEP_EMBEDDINGS", "local")
    with pytest.raises(ValueError, match="EVERSTEP_EMBEDDINGS is 'local'"):
        embedder_from_env()


async def test_what_was_embedded_lately_is_not_asked_for_again(server: FakeOpenAI) -> None:
    """Texts keep their order and their vectors; the ones longest unused are forgotten first."""
    plain = embedder_at(server)
    embedder = RememberingEmbedder(plain, texts=2)
    first = await embedder.embed(["a", "b", "a"])
    assert first == [pytest.approx(vector, abs=1e-6) for vector in await plain.embed(["a", "b", "a"])]
    asked = len(server.requests)
    assert await embedder.embed(["b", "a"]) == [first[1], first[0]]
    assert len(server.requests) == asked
    await embedder.embed(["a", "c"])
    await embedder.embed(["a", "b"])
    assert [request.body["input"] for request in server.requests[asked:]] == [["c"], ["b"]]
    assert (embedder.name, embedder.dimension, embedder.max_tokens) == (plain.name, plain.dimension, plain.max_tokens)
    await plain.aclose()
