"""Questions are rewritten and answered, with a chat model or with none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from activities.answering import (
    NO_ANSWER,
    Answer,
    ChatAnswerer,
    ExtractiveAnswerer,
    answerer_from_env,
)
from activities.embeddings import PackagedEmbedder
from activities.errors import ModelOutputInvalid, ModelRateLimited
from activities.llm import OpenAIChat
from activities.vectors import Passage
from tests.support.fake_openai import FakeOpenAI, json_text, rate_limited, text

QUESTION = "How long may a refund wait for approval?"


def passage(number: int, heading: str, content: str) -> Passage:
    """A passage that was found."""
    return Passage(
        chunk_id=f"c{number}",
        source=f"doc{number}.md",
        text=content,
        heading=["Handbook", heading],
        start_line=number,
        end_line=number,
        score=1.0,
    )


PASSAGES = [
    passage(1, "Deliveries", "Parcels leave at noon. Our drivers wear blue jackets and know every street."),
    passage(
        2,
        "Refunds",
        "Small refunds are paid at once. A refund over 100 euros waits up to three days for a person's approval. "
        "After that it expires. The desk is open from nine to five.",
    ),
    passage(3, "Kitchen", "The coffee machine is cleaned on Fridays.\n\n| day | cook |\n| Monday | Ada |"),
]


@pytest.fixture
def extractive() -> ExtractiveAnswerer:
    """The offline answerer."""
    return ExtractiveAnswerer(PackagedEmbedder())


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """A scripted server."""
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
async def chat(server: FakeOpenAI) -> AsyncIterator[ChatAnswerer]:
    """An answerer by a model at that server."""
    model = OpenAIChat("fake", api_key="k", base_url=server.base_url)
    yield ChatAnswerer(model)
    await model.aclose()


async def test_the_best_sentences_answer(extractive: ExtractiveAnswerer) -> None:
    """The answer is made of the passages' own sentences, the right one among them, with its number."""
    seen: list[str] = []
    answer = await extractive.answer(QUESTION, PASSAGES, on_token=seen.append)
    assert "A refund over 100 euros waits up to three days for a person's approval. [2]" in answer.text
    assert answer.citations == [2]
    assert "coffee" not in answer.text
    assert "".join(seen) == answer.text


async def test_no_answer_where_there_is_none(extractive: ExtractiveAnswerer) -> None:
    """A question on another matter, or no passages, is answered by saying so."""
    for question, passages in (("What is the best recipe for tomato soup?", PASSAGES[:2]), (QUESTION, [])):
        answer = await extractive.answer(question, passages)
        assert (answer.found, answer.text, answer.citations) == (False, NO_ANSWER, [])


async def test_a_command_comes_with_its_announcement(extractive: ExtractiveAnswerer) -> None:
    """Technical documents answer by commands: the code block stays with the sentence before it."""
    found = passage(1, "Start", "The demo needs no key. Start the demo with:\n\n```bash\nmake demo YES=1\n```\n")
    answer = await extractive.answer("How do I start the demo?", [found])
    assert "`make demo YES=1`" in answer.text


@pytest.mark.parametrize(
    ("question", "queries"),
    [
        (QUESTION, [QUESTION, "long refund wait approval"]),
        (
            "How is an answer checked, and what happens to late answers?",
            [
                "How is an answer checked, and what happens to late answers?",
                "How is an answer checked",
                "what happens to late answers",
            ],
        ),
        ("idempotency", ["idempotency"]),
    ],
)
async def test_questions_are_rewritten_by_simple_means(
    extractive: ExtractiveAnswerer, question: str, queries: list[str]
) -> None:
    """The question first, then its parts or its keywords; nothing twice."""
    found = await extractive.rewrite(question, limit=3)
    assert found == queries


async def test_a_model_answers_from_numbered_passages(server: FakeOpenAI, chat: ChatAnswerer) -> None:
    """The model gets the passages with numbers and places; the citations it writes are read back."""
    server.script([text("Up to three days [2].")])
    seen: list[str] = []
    answer = await chat.answer(QUESTION, PASSAGES, on_token=seen.append)
    assert answer == Answer(text="Up to three days [2].", citations=[2])
    assert "".join(seen) == answer.text
    assert "[2] doc2.md:2 Handbook > Refunds\nSmall refunds" in server.requests[0].prompt
    assert QUESTION in server.requests[0].prompt


async def test_a_model_that_finds_nothing(server: FakeOpenAI, chat: ChatAnswerer) -> None:
    """Its refusal to answer is seen as such; without passages it is not even asked."""
    server.script([text(NO_ANSWER)])
    assert not (await chat.answer(QUESTION, PASSAGES)).found
    assert not (await chat.answer(QUESTION, [])).found
    assert len(server.requests) == 1


async def test_a_model_rewrites(server: FakeOpenAI, chat: ChatAnswerer) -> None:
    """The question stays first; duplicates and surplus go."""
    server.script([json_text({"queries": ["refund approval time", QUESTION, " ", "a", "b"]})])
    assert await chat.rewrite(QUESTION, limit=3) == [QUESTION, "refund approval time", "a"]


async def test_a_models_failures_come_through(server: FakeOpenAI, chat: ChatAnswerer) -> None:
    """The step that asked sees the model's own error, to retry by."""
    server.script([rate_limited("3"), text("no json")])
    with pytest.raises(ModelRateLimited) as caught:
        await chat.answer(QUESTION, PASSAGES)
    assert caught.value.retry_after == 3.0
    with pytest.raises(ModelOutputInvalid):
        await chat.rewrite(QUESTION)


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key or an address chooses the chat model, none the extractive answerer; each says what it is."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert "no language model" in answerer_from_env().describe()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert answerer_from_env().describe().startswith("chat model ")
