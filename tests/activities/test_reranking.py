"""What a search found is put into a better order, by the packaged model or by a chat model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from activities.errors import ModelAuthError, ModelContextOverflow
from activities.llm import OpenAIChat
from activities.reranking import ChatReranker, LateReranker, reranker_from_env
from activities.vectors import Passage
from tests.support.fake_openai import FakeOpenAI, context_overflow, json_text, refusal

QUESTION = "How long is a finished run kept?"


def found(*texts: str) -> list[Passage]:
    """Passages that a search found, in this order."""
    return [
        Passage(chunk_id=str(n), source="a.md", text=text, heading=["Guide"], start_line=n, end_line=n, score=1 / n)
        for n, text in enumerate(texts, 1)
    ]


def ids(passages: Sequence[Passage]) -> list[str]:
    """Which passages these are."""
    return [one.chunk_id for one in passages]


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """A scripted chat server."""
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
async def reranker(server: FakeOpenAI) -> AsyncIterator[ChatReranker]:
    """A reranker that asks it."""
    chat = OpenAIChat("fake", api_key="k", base_url=server.base_url)
    yield ChatReranker(chat)
    await chat.aclose()


async def test_late_interaction_prefers_what_says_it() -> None:
    """A passage that answers beats those that are about the same things, without a key; scores are from 0 to 1."""
    passages = found(
        "Runs have steps. A run is one execution of a flow, and a step is one of its methods.",
        "How long a step takes is up to its timeout; a finished step is not run again.",
        "Retention says for how many days a run that has finished is kept on the server.",
        "The lake is frozen in winter.",
    )
    best = await LateReranker().rerank(QUESTION, passages, 3)
    assert best[0].chunk_id == "3"
    assert len(best) == 3
    assert "4" not in ids(best)
    assert 1 >= best[0].score > best[1].score > 0


async def test_late_interaction_takes_any_text() -> None:
    """A question without words and a passage without text are no errors."""
    assert ids(await LateReranker().rerank("? the …", found("one", "two"), 5)) == ["1", "2"]
    assert ids(await LateReranker().rerank("runs", found("", "runs"), 5)) == ["2", "1"]


async def test_a_chat_model_orders_and_the_rest_follows(server: FakeOpenAI, reranker: ChatReranker) -> None:
    """Numbers that it names come first; made-up and repeated ones do no harm."""
    server.script([json_text({"best": [3, 9, 3, 1, 0]})])
    best = await reranker.rerank(QUESTION, found("one", "two", "three", "four"), 3)
    assert ids(best) == ["3", "1", "2"]
    assert [one.score for one in best] == sorted((one.score for one in best), reverse=True)
    prompt = server.requests[0].prompt
    assert "up to 3 passages" in prompt
    assert "[4] Guide" in str(server.requests[0].body)


async def test_a_chat_model_that_cannot_take_all_gets_the_first_half(
    server: FakeOpenAI, reranker: ChatReranker
) -> None:
    """Passages that it did not see keep their places behind the others; one that is too long alone is an error."""
    server.script([context_overflow(), json_text({"best": [2]})])
    assert ids(await reranker.rerank(QUESTION, found("one", "two", "three", "four"), 4)) == ["2", "1", "3", "4"]
    server.script([context_overflow()] * 3)
    with pytest.raises(ModelContextOverflow):
        await reranker.rerank(QUESTION, found("one", "two", "three", "four"), 4)


async def test_a_chat_model_that_declines_leaves_the_order(server: FakeOpenAI, reranker: ChatReranker) -> None:
    """What was found is used as it was found."""
    server.script([refusal()])
    assert ids(await reranker.rerank(QUESTION, found("one", "two", "three"), 2)) == ["1", "2"]


def test_a_chat_model_must_be_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, the message says what to set."""
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ModelAuthError, match="OPENAI_API_KEY"):
        reranker_from_env("chat")
    assert reranker_from_env("late").describe().startswith("late interaction")
