"""Questions are answered from documents in three ways, approved by a person, and published once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from activities.answering import ExtractiveAnswerer
from activities.embeddings import PackagedEmbedder
from activities.errors import ModelAuthError, ModelContextOverflow
from activities.judging import EvidenceJudge
from activities.knowledge import Knowledge
from activities.llm import OpenAIChat
from activities.outbox import Outbox
from activities.reranking import ChatReranker
from activities.vectors import VectorStore
from activities.vectors_edge import EdgeEngine
from everstep.errors import ResponseRefusedError, WorkflowRuntimeError
from everstep.events import Event
from everstep.handler import WorkflowHandler
from tests.support.fake_openai import (
    FakeOpenAI,
    RecordedRequest,
    Reply,
    auth_error,
    context_overflow,
    cut_stream,
    json_text,
    rate_limited,
    refusal,
    text,
)
from tests.support.openai_wire import prompt_tokens
from tests.support.rag_model import kind_of, play, verdict
from tests.support.traced import traced
from workflows.indexing import IndexFlow
from workflows.rag import ApprovalRequested, Evaluated, RagFlow, RagProgress, RagResult

ROOT = Path(__file__).parents[2]
QUESTION = "How long may a refund wait for approval by a person?"


@pytest.fixture
async def indexed(knowledge: Knowledge, handbook: Path) -> Knowledge:
    """Knowledge of the handbook."""
    await IndexFlow(knowledge).run(folder=str(handbook))
    return knowledge


async def followed(handler: WorkflowHandler) -> AsyncIterator[Event]:
    """What a run shows up to its request for approval."""
    async for event in handler.stream_events():
        yield event
        if isinstance(event, ApprovalRequested):
            return
    raise AssertionError(f"the run asked nobody; it ended as {await handler!r}")


async def asked(handler: WorkflowHandler) -> ApprovalRequested:
    """The request for approval that a run makes."""
    request = [event async for event in followed(handler)][-1]
    assert isinstance(request, ApprovalRequested)
    return request


async def answered(flow: RagFlow, question: str, **answer: Any) -> RagResult:
    """Ask, answer the request for approval, and give the result."""
    handler = flow.run(question=question)
    await asked(handler)
    await handler.respond(answer)
    return await handler


async def test_the_best_answer_is_published_after_approval(indexed: Knowledge, outbox: Outbox) -> None:
    """A person sees answer, sources and scores first; then the answer and its sources are in the outbox."""
    handler = RagFlow(indexed, outbox).run(question=QUESTION)
    request = await asked(handler)
    assert "three days" in request.answer
    assert request.sources[0].place == "refunds.md:7"
    assert {score.strategy for score in request.scores} == {"dense", "sparse", "fused"}
    assert request.model.startswith("chat model fake-chat")
    assert not outbox.folder.exists()
    await handler.respond({"approved": True})
    result: RagResult = await handler
    assert (result.status, result.answer) == ("published", request.answer)
    published = Path(result.published_to).read_text()
    assert QUESTION in published
    assert "three days" in published
    assert "refunds.md:7" in published
    assert len(list(outbox.folder.iterdir())) == 1


async def test_the_person_may_edit_the_answer(indexed: Knowledge, outbox: Outbox) -> None:
    """Edited text is what is published."""
    result = await answered(
        RagFlow(indexed, outbox), QUESTION, approved=True, answer="Three days [1].", comment="short"
    )
    assert (result.status, result.answer, result.reason) == ("published", "Three days [1].", "short")
    assert "Three days [1]." in Path(result.published_to).read_text()


async def test_a_rejected_answer_is_not_published(indexed: Knowledge, outbox: Outbox) -> None:
    """A person's no ends the run with the reason."""
    result = await answered(RagFlow(indexed, outbox), QUESTION, approved=False, comment="too vague")
    assert (result.status, result.reason, result.published_to) == ("rejected", "too vague", "")
    assert not outbox.folder.exists()


async def test_an_answer_that_nobody_approves_expires(indexed: Knowledge, outbox: Outbox) -> None:
    """With `due`, the run does not wait for ever."""
    result: RagResult = await RagFlow(indexed, outbox).run(question=QUESTION, due=0.05)
    assert result.status == "expired"
    assert "Nobody approved" in result.reason
    assert result.answer
    assert not outbox.folder.exists()


async def test_an_answer_without_a_decision_is_refused(indexed: Knowledge, outbox: Outbox) -> None:
    """What does not say whether it approves leaves the request open."""
    handler = RagFlow(indexed, outbox).run(question=QUESTION)
    await asked(handler)
    with pytest.raises(ResponseRefusedError, match="approved"):
        await handler.respond({"comment": "hm"})
    await handler.respond({"approved": False})
    assert (await handler).status == "rejected"


async def test_the_tokens_of_all_calls_are_counted(indexed: Knowledge, outbox: Outbox, model: FakeOpenAI) -> None:
    """Of steps side by side too, and of an answer of the wrong form that was asked for again."""
    wrong = [text("Well, it depends.")]

    def responder(request: RecordedRequest) -> Reply:
        return wrong.pop() if wrong and kind_of(request) == "judge" else play(request)

    model.responder = responder
    result = await answered(RagFlow(indexed, outbox), QUESTION, approved=True)
    sent = model.requests_to("/chat/completions")
    assert [kind_of(each) for each in sent].count("judge") == 4
    assert result.usage.prompt_tokens == sum(prompt_tokens(each.body) for each in sent)
    assert result.usage.completion_tokens > 0


async def test_each_strategy_is_searched_answered_and_judged(
    indexed: Knowledge, outbox: Outbox, model: FakeOpenAI
) -> None:
    """One rewriting, one embedding of the queries, three answers, three judgements."""
    before = len(model.requests_to("/embeddings"))
    await answered(RagFlow(indexed, outbox), QUESTION, approved=True)
    kinds = [kind_of(request) for request in model.requests_to("/chat/completions")]
    assert kinds[0] == "rewrite"
    assert (kinds.count("answer"), kinds.count("judge")) == (3, 3)
    assert len(model.requests_to("/embeddings")) == before + 1


async def test_a_reranked_strategy_is_added_where_it_is_wanted(
    indexed: Knowledge, outbox: Outbox, model: FakeOpenAI
) -> None:
    """A step of its own puts what fused search found into another order; the other strategies stay as they are."""
    chat = OpenAIChat("fake-chat", api_key="k", base_url=model.base_url)
    knowing = Knowledge(
        embedder=indexed.embedder,
        answerer=indexed.answerer,
        judge=indexed.judge,
        stores=lambda space: indexed.index("default"),
        rerankers=lambda kind: ChatReranker(chat),
    )
    with traced(payloads=True) as traces:
        handler = RagFlow(knowing, outbox, rerank="chat").run(question=QUESTION)
        events = [event async for event in followed(handler)]
        await handler.respond({"approved": True})
        result: RagResult = await handler
    await chat.aclose()
    assert {score.strategy for score in result.scores} == {"reranked", "fused", "dense", "sparse"}
    told = {(event.stage, event.strategy): event.text for event in events if isinstance(event, RagProgress)}
    before, after = (told[stage, "reranked"].split(", ") for stage in ("search", "rerank"))
    assert after == [before[1], before[0], *before[2:]]
    root = traces.tree()
    (step,) = (node for node in root.under if node.name == "rerank")
    (call,) = (node for node in step.under if node.attributes["openinference.span.kind"] == "RERANKER")
    assert call.attributes["reranker.query"] == QUESTION
    assert call.attributes["reranker.top_k"] == 5
    metadata = json.loads(str(call.attributes["reranker.output_documents.0.document.metadata"]))
    assert metadata["place"] == after[0]
    assert {"source", "start_line", "end_line"} <= metadata.keys()


async def test_a_reranker_that_cannot_be_had_ends_the_run_at_once(
    indexed: Knowledge, outbox: Outbox, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is searched or answered, with what to set."""
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ModelAuthError, match="OPENAI_API_KEY"):
        await RagFlow(indexed, outbox).run(question=QUESTION, rerank="chat")
    assert {kind_of(request) for request in model.requests_to("/chat/completions")} == {"rewrite"}


async def test_a_run_may_do_without_the_flow_s_reranker(indexed: Knowledge, outbox: Outbox) -> None:
    """`off` is what a flow without a reranker does."""
    handler = RagFlow(indexed, outbox, rerank="late").run(question=QUESTION, rerank="off")
    assert {score.strategy for score in (await asked(handler)).scores} == {"fused", "dense", "sparse"}
    await handler.cancel_run()


async def test_a_question_may_be_about_some_folders_and_types(indexed: Knowledge, outbox: Outbox) -> None:
    """Only passages from there are found, cited and published."""
    handler = RagFlow(indexed, outbox).run(
        question="Which documents speak of refunds, parcels, machines and warehouses?",
        folders=["deliveries", "refunds.md"],
        types=["text"],
    )
    request = await asked(handler)
    assert [source.path for source in request.sources] == ["deliveries/parcels.txt"]
    assert request.sources[0].place == "deliveries/parcels.txt:1"
    assert "Parcels leave the warehouse" in request.sources[0].text
    await handler.cancel_run()


async def test_a_folder_that_holds_nothing_answers_nothing(indexed: Knowledge, outbox: Outbox) -> None:
    """No person is asked."""
    result: RagResult = await RagFlow(indexed, outbox).run(question=QUESTION, folders=["nowhere"])
    assert result.status == "unanswered"
    assert result.reason == "The index 'default' has nothing in folder nowhere: look wider."


async def test_an_unknown_type_is_refused_at_the_door(indexed: Knowledge, outbox: Outbox) -> None:
    """The message lists those there are."""
    with pytest.raises(WorkflowRuntimeError, match=r"types\.0: .*'markdown', 'text', 'html' or 'pdf'"):
        await RagFlow(indexed, outbox).run(question=QUESTION, types=["word"])


async def test_the_best_judged_answer_wins(indexed: Knowledge, outbox: Outbox, model: FakeOpenAI) -> None:
    """The scores decide, whatever the strategy."""
    covers = iter([0.6, 0.9, 0.7])

    def responder(request: RecordedRequest) -> Reply:
        return verdict(request, covered=next(covers)) if kind_of(request) == "judge" else play(request)

    model.responder = responder
    result = await answered(RagFlow(indexed, outbox), QUESTION, approved=True)
    assert [score.complete for score in result.scores] == [0.9, 0.7, 0.6]
    assert result.strategy == result.scores[0].strategy


async def test_a_person_sees_what_bears_each_statement_out(indexed: Knowledge, outbox: Outbox) -> None:
    """Each statement of the draft has its source's line; the result keeps that, and says what judged."""
    handler = RagFlow(indexed, outbox).run(question=QUESTION)
    request = await asked(handler)
    assert [(one.supported, one.place) for one in request.statements] == [
        (True, "refunds.md:7"),
        (True, "refunds.md:7"),
    ]
    assert request.judge.startswith("chat model fake-chat")
    await handler.respond({"approved": True})
    result: RagResult = await handler
    assert (result.statements, result.judge) == (request.statements, request.judge)
    assert [part.covered for part in result.parts] == [True]
    judged = [event async for event in handler.stream_events() if isinstance(event, Evaluated)]
    assert {one.strategy: one.score.statements for one in judged} == dict.fromkeys(("dense", "sparse", "fused"), 2)


async def test_answers_that_contradict_each_other_are_told(
    indexed: Knowledge, outbox: Outbox, model: FakeOpenAI
) -> None:
    """Two strategies say different numbers: the person sees both, and the one that the source bears out is taken."""
    wrong = ["A refund over 100 euros waits up to nine days for a person [1]."]
    model.responder = lambda request: text(wrong.pop()) if kind_of(request) == "answer" and wrong else play(request)
    judge = EvidenceJudge(PackagedEmbedder())
    known = Knowledge(
        embedder=indexed.embedder,
        answerer=indexed.answerer,
        judge=judge,
        stores=lambda space: indexed.index("default"),
    )
    handler = RagFlow(known, outbox).run(question=QUESTION)
    request = await asked(handler)
    assert "three days" in request.answer
    assert {one.kind for one in request.disagreements} >= {"contradicts"}
    worst = request.scores[-1]
    assert (worst.supported, worst.found) == (0, True)
    assert worst.agreed == 0
    await handler.cancel_run()


async def test_limits_and_cut_streams_are_waited_out(indexed: Knowledge, outbox: Outbox, model: FakeOpenAI) -> None:
    """429 with Retry-After and a stream that breaks off delay the answer, and change nothing about it."""
    model.script([rate_limited("0.05"), json_text({"queries": ["refund approval"]})])
    model.script([cut_stream("A refund waits for", after=2), cut_stream("A refund waits for", after=2, cut="reset")])
    result = await answered(RagFlow(indexed, outbox), QUESTION, approved=True)
    assert result.status == "published"
    assert "three days" in result.answer
    kinds = [kind_of(request) for request in model.requests_to("/chat/completions")]
    assert (kinds.count("rewrite"), kinds.count("answer"), kinds.count("judge")) == (2, 5, 3)


async def test_a_wrong_key_ends_the_run_at_once(indexed: Knowledge, outbox: Outbox, model: FakeOpenAI) -> None:
    """What waiting cannot cure is not tried again, and keeps its name."""
    model.script([auth_error()])
    with pytest.raises(ModelAuthError, match="API key"):
        await RagFlow(indexed, outbox).run(question=QUESTION)
    assert len(model.requests_to("/chat/completions")) == 1


async def test_too_long_a_prompt_is_tried_with_fewer_passages(
    indexed: Knowledge, outbox: Outbox, model: FakeOpenAI
) -> None:
    """A model with a small context gets the best passages only."""

    def responder(request: RecordedRequest) -> Reply:
        if kind_of(request) == "answer" and "[3] " in request.prompt:
            return context_overflow()
        return play(request)

    model.responder = responder
    result = await answered(RagFlow(indexed, outbox), QUESTION, approved=True)
    assert result.status == "published"


async def test_a_prompt_that_never_fits_ends_the_run(indexed: Knowledge, outbox: Outbox, model: FakeOpenAI) -> None:
    """One passage that is too long is an error under its own name."""
    model.responder = lambda request: context_overflow() if kind_of(request) == "answer" else play(request)
    with pytest.raises(ModelContextOverflow):
        await RagFlow(indexed, outbox).run(question=QUESTION)


async def test_a_model_that_declines_once_does_not_end_the_run(
    indexed: Knowledge, outbox: Outbox, model: FakeOpenAI
) -> None:
    """The strategy it declined for is out; another answer is taken."""
    model.script([json_text({"queries": []}), refusal()])
    result = await answered(RagFlow(indexed, outbox), QUESTION, approved=True)
    assert result.status == "published"
    assert [score.found for score in result.scores] == [True, True, False]


async def test_what_the_documents_do_not_hold_is_not_made_up(
    indexed: Knowledge, outbox: Outbox, model: FakeOpenAI
) -> None:
    """No person is asked to approve an answer that is none."""
    model.responder = lambda request: (
        text("The sources do not answer this question.") if kind_of(request) == "answer" else play(request)
    )
    result: RagResult = await RagFlow(indexed, outbox).run(question="Who won the cup in 1954?")
    assert (result.status, result.answer, result.published_to) == ("unanswered", "", "")
    assert [score.found for score in result.scores] == [False, False, False]


@pytest.mark.parametrize(("question", "said"), [("  ", "question is empty"), ("Any?", "index 'default' is empty")])
async def test_what_cannot_be_answered_says_what_to_do(
    knowledge: Knowledge, outbox: Outbox, question: str, said: str
) -> None:
    """An empty question and an empty index end the run with the remedy."""
    result: RagResult = await RagFlow(knowledge, outbox).run(question=question)
    assert result.status == "unanswered"
    assert said in result.reason


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Knowledge]:
    """Knowledge without a key: packaged embeddings, quoted answers."""
    embedder = PackagedEmbedder()
    folder = tmp_path_factory.mktemp("vectors")
    known = Knowledge(
        embedder=embedder,
        answerer=ExtractiveAnswerer(embedder),
        stores=lambda space: VectorStore(EdgeEngine(folder / space.replace(" ", "-"))),
    )
    yield known
    asyncio.run(known.close())


@pytest.mark.parametrize(
    ("question", "place", "said"),
    [
        (
            "Why is no index built over the vectors?",
            "docs/decisions/vector-store.md",
            "holds Python's global lock for 17 s",
        ),
        ("Why do the lock files hold no hashes?", "docs/decisions/locks.md", "tie the lock to one index"),
    ],
)
async def test_the_project_s_own_decisions_are_found_offline(
    offline: Knowledge, outbox: Outbox, question: str, place: str, said: str
) -> None:
    """Without a key, real questions about real documents get the sentences that answer them."""
    await IndexFlow(offline).run(folder=str(ROOT), paths=["docs/decisions"])
    result = await answered(RagFlow(offline, outbox), question, approved=True)
    assert result.model.startswith("extractive answerer")
    assert said in result.answer
    assert place in [source.place.partition(":")[0] for source in result.sources]
    assert result.scores[0].score > 0.6


async def test_offline_a_question_off_the_matter_is_not_answered(offline: Knowledge, outbox: Outbox) -> None:
    """Quoted answers are held to the same rule: none is better than a wrong one."""
    await IndexFlow(offline).run(folder=str(ROOT), paths=["docs/decisions"])
    result: RagResult = await RagFlow(offline, outbox).run(question="Who painted the ceiling of the Sistine Chapel?")
    assert result.status == "unanswered"
