"""Answers are judged statement by statement; deliberately wrong ones are found out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from activities.answers import Answer
from activities.chat_judge import ChatJudge, judge_from_env
from activities.completeness import question_parts
from activities.embeddings import PackagedEmbedder
from activities.errors import ModelRateLimited
from activities.evaluations import Evaluation
from activities.excerpts import Excerpt
from activities.facts import denied_otherwise, names, numbers, opposite_words
from activities.judging import EvidenceJudge
from activities.llm import OpenAIChat
from activities.remembered import RememberingEmbedder
from activities.scores import Score, scores_among
from activities.statements import Claim, claims
from activities.vectors import Passage
from everstep import Workflow, step
from everstep.events import StartEvent, StopEvent
from tests.support.fake_openai import FakeOpenAI, json_text, rate_limited, refusal, text
from tests.support.traced import traced

QUESTION = "How long may a refund wait for approval, and what is sent to the customer then?"


def passage(source: str, line: int, heading: str, content: str) -> Passage:
    """A passage that was found."""
    lines = len(content.splitlines())
    return Passage(
        chunk_id=source,
        source=source,
        text=content,
        heading=["Handbook", heading],
        start_line=line,
        end_line=line + lines - 1,
        score=1.0,
    )


PASSAGES = [
    passage("parcels.md", 3, "Deliveries", "Parcels leave at noon.\nOur drivers wear blue jackets."),
    passage(
        "refunds.md",
        7,
        "Refunds",
        "Small refunds are paid at once.\n\nA refund over 100 euros waits up to three days for a person's approval.\n"
        "After that it expires, and `RefundExpired` is sent to the customer.\nThe desk is never closed on Mondays.",
    ),
]
RIGHT = "A refund may wait three days for the approval of a person [2]. The customer is sent `RefundExpired` then [2]."


@pytest.fixture(scope="module")
def judge() -> EvidenceJudge:
    """The judge without a language model."""
    return EvidenceJudge(RememberingEmbedder(PackagedEmbedder()))


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """A scripted server."""
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
async def chat(server: FakeOpenAI, judge: EvidenceJudge) -> AsyncIterator[ChatJudge]:
    """A judge by a model at that server."""
    model = OpenAIChat("fake", api_key="k", base_url=server.base_url)
    yield ChatJudge(model, judge)
    await model.aclose()


def answer(said: str) -> Answer:
    """An answer that was found."""
    return Answer(text=said)


async def test_each_statement_of_a_right_answer_has_its_source(judge: EvidenceJudge) -> None:
    """Supported, with the sentence and the line of the file that says it; every part of the question is covered."""
    verdict = await judge.evaluate(QUESTION, answer(RIGHT), PASSAGES)
    assert [one.text for one in verdict.statements] == [
        "A refund may wait three days for the approval of a person.",
        "The customer is sent `RefundExpired` then.",
    ]
    assert [(one.supported, one.place) for one in verdict.statements] == [
        (True, "refunds.md:9"),
        (True, "refunds.md:10"),
    ]
    assert verdict.statements[0].evidence.startswith("A refund over 100 euros waits")
    assert (verdict.grounded, [part.covered for part in verdict.parts]) == (1.0, [True, True])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("A refund over 100 euros waits up to nine days for a person's approval [2].", "does not say 9"),
        ("A refund over 100 euros waits up to 45 days for a person's approval [2].", "does not say 45"),
        ("A refund over 100 euros never waits for a person's approval [2].", "says the opposite"),
        ("After three days it does not expire [2].", "says the opposite"),
        ("The desk is closed on Mondays [2].", "says the opposite"),
        ("A refund over 100 euros waits at least three days for a person [2].", "not 'at least'"),
        ("Refunds are paid in gold [2].", "does not say this"),
        ("After that it expires, and `RefundCancelled` is sent to the customer [2].", "does not name refundcancelled"),
        ("Whoever complains gets a voucher for the shop in Lisbon [2].", ""),
        ("Our drivers wear blue jackets [2].", ""),
        ("A refund over 100 euros waits up to three days for a person's approval [9].", "cites no source"),
    ],
)
async def test_a_wrong_statement_is_found_out(judge: EvidenceJudge, said: str, why: str) -> None:
    """Made-up numbers, names and facts, denials, what another source says, and citations that lead nowhere."""
    verdict = await judge.evaluate(QUESTION, answer(f"{RIGHT}\n{said}"), PASSAGES)
    assert [one.supported for one in verdict.statements] == [True, True, False]
    assert why in verdict.statements[2].why
    assert verdict.grounded == pytest.approx(2 / 3)


def test_places_are_lines_of_the_file_or_pages() -> None:
    """Also in a piece of a table, which begins with the header that stands further above."""
    rows = "| day | cook |\n|---|---|\n| Monday | Ada |\n| Tuesday | Ben |"
    assert Excerpt(rows, source="a.md", start_line=40, lines=2).place("Tuesday – Ben") == "a.md:41"
    assert Excerpt("One.\n\nTwo words.", source="a.md", start_line=3).place("Two words.") == "a.md:5"
    assert Excerpt("One.", source="a.pdf", page=3).place("One.") == "a.pdf#page=3"
    assert Excerpt("One.").place("One.") == ""


async def test_half_an_answer_is_found_lacking(judge: EvidenceJudge) -> None:
    """The part that nothing is said of is named, and the answer is worth less than a whole one."""
    half = await judge.evaluate(QUESTION, answer("A refund may wait three days for approval [2]."), PASSAGES)
    whole = await judge.evaluate(QUESTION, answer(RIGHT), PASSAGES)
    assert half.score < whole.score
    beside = await judge.evaluate(
        "How many refunds wait for approval?", answer("Refunds wait for approval [2]."), PASSAGES
    )
    assert [part.covered for part in beside.parts] == [False]


async def test_an_answer_on_another_matter_covers_nothing(judge: EvidenceJudge) -> None:
    """It may be true, and is no answer."""
    verdict = await judge.evaluate(QUESTION, answer("Our drivers wear blue jackets [1]."), PASSAGES)
    assert verdict.grounded == 1.0
    assert not any(part.covered for part in verdict.parts)
    assert "approval" in verdict.remarks


async def test_answers_that_differ(judge: EvidenceJudge) -> None:
    """Other numbers and denials contradict; what only one says stands alone; other words for the same do neither."""
    answers = {
        "fused": ["A refund waits up to three days for approval.", "Small refunds are paid at once."],
        "dense": ["A refund waits up to nine days for approval.", "Small refunds are not paid at once."],
        "sparse": ["A refund waits for approval, up to three days."],
    }
    found = await judge.compare(QUESTION, answers)
    against = {(one.by, one.other, one.why) for one in found if one.kind == "contradicts"}
    assert against == {
        ("fused", "dense", "one says 3, the other 9"),
        ("fused", "dense", "the other says the opposite"),
        ("dense", "sparse", "one says 9, the other 3"),
    }
    same = await judge.compare(QUESTION, {"fused": answers["fused"], "dense": answers["fused"]})
    assert same == []
    assert await judge.compare(QUESTION, {"fused": answers["fused"]}) == []
    other = await judge.compare(QUESTION, {"one": ["Parcels leave at noon."], "two": ["Refunds are paid in euros."]})
    assert [(one.kind, one.by) for one in other] == [("alone", "one"), ("alone", "two")]


async def test_the_better_ground_wins_a_contradiction(judge: EvidenceJudge) -> None:
    """Who contradicts without a ground loses; the one whose sources say it loses nothing."""
    right = await judge.evaluate(QUESTION, answer("A refund over 100 euros waits up to three days [2]."), PASSAGES)
    wrong = await judge.evaluate(QUESTION, answer("A refund over 100 euros waits up to nine days [2]."), PASSAGES)
    statements = {"fused": right.statements, "dense": wrong.statements}
    found = await judge.compare(QUESTION, {name: [one.text for one in said] for name, said in statements.items()})
    scores = [Score(strategy="fused", score=0.8), Score(strategy="dense", score=0.8)]
    assert [(one.agreed, one.score) for one in scores_among(scores, statements, found)] == [(1.0, 0.8), (0.0, 0.4)]


def test_ground_comes_first() -> None:
    """A complete answer without ground is worth nothing."""
    assert Evaluation(grounded=0, complete=1).score == 0
    assert Evaluation(grounded=1, complete=1).score == 1
    assert Evaluation(grounded=1, complete=0.2).score > Evaluation(grounded=0.3, complete=1).score


def test_statements_take_the_citations_that_are_meant() -> None:
    """Behind the stop or before it; one behind several sentences is for all of them."""
    assert claims("It waits. Then it expires [2].\nNobody is told. [1]\n- Yes.\n- So it ends.") == [
        Claim("It waits.", (2,)),
        Claim("Then it expires.", (2,)),
        Claim("Nobody is told.", (1,)),
        Claim("So it ends.", (2, 1)),
    ]


def test_an_index_in_code_is_no_citation() -> None:
    """It stays in the statement."""
    assert claims("Take `steps[0]` first [2, 3].") == [Claim("Take `steps[0]` first.", (2, 3))]


def test_a_question_is_taken_apart() -> None:
    """What is asked, part by part."""
    assert question_parts("How long is it kept, and who may see it?") == ["How long is it kept", "who may see it"]
    assert question_parts("Who approves refunds and credits?") == ["Who approves refunds and credits?"]


def test_facts_of_sentences() -> None:
    """Numbers in digits and words, names, denials and opposites."""
    assert numbers("three of 1,900 steps, 50.00 euros") == {"3", "1900", "50"}
    assert names("Set `EVERSTEP_VECTORS` for Temporal, or ctx.store") == {"everstep_vectors", "temporal", "ctx.store"}
    assert denied_otherwise("Nobody is asked.", "A person is asked.")
    assert denied_otherwise("The run fails.", "The run does not fail.")
    assert not denied_otherwise("It needs no key.", "It does not need a key.")
    assert not denied_otherwise("A run waits.", "A run waits no longer than three days.")
    assert opposite_words("at most 3", "at least 3") == ("at most", "at least")
    assert opposite_words("before noon", "in the morning") is None


def judged(*statements: tuple[bool, int, str], covered: tuple[float, ...] = (1.0, 1.0)) -> dict[str, object]:
    """A model's verdict."""
    return {
        "statements": [
            {"number": number, "supported": supported, "passage": place, "quote": quote, "why": ""}
            for number, (supported, place, quote) in enumerate(statements, 1)
        ],
        "parts": [{"number": number, "covered": share} for number, share in enumerate(covered, 1)],
        "remarks": "fine",
    }


async def test_a_models_verdict_counts_where_its_quotes_are_true(server: FakeOpenAI, chat: ChatJudge) -> None:
    """A quote that is in a passage proves a statement; without one the evidence decides, as for what it left out."""
    said = "It may stay open for 72 hours [2]. Refunds are paid in gold [2]. After that it expires [2]. "
    said += "Parcels leave at noon [1]."
    quote = "A refund over 100 euros waits up to three days"
    server.script([json_text(judged((True, 2, quote), (True, 2, "Refunds are paid in gold."), (False, 0, "")))])
    verdict = await chat.evaluate(QUESTION, answer(said), PASSAGES)
    assert [one.supported for one in verdict.statements] == [True, False, False, True]
    assert (verdict.statements[0].place, verdict.statements[0].evidence) == ("refunds.md:9", quote)
    assert (verdict.complete, verdict.remarks) == (1.0, "fine")
    assert "2. Refunds are paid in gold." in server.requests[0].prompt


async def test_a_verdict_out_of_range_is_brought_back_into_it(server: FakeOpenAI, chat: ChatJudge) -> None:
    """Numbers of statements that are not there are left out too; parts without a word are judged by evidence."""
    server.script([json_text(judged(*[(True, 1, "Parcels leave at noon")] * 9, covered=(1.5, -3.0)))])
    verdict = await chat.evaluate(QUESTION, answer("Parcels leave at noon [1]."), PASSAGES)
    assert [part.score for part in verdict.parts] == [1.0, 0.0]
    assert len(verdict.statements) == 1
    server.script([json_text(judged((True, 1, "Parcels leave at noon"), covered=(1.0,)))])
    verdict = await chat.evaluate(QUESTION, answer("Parcels leave at noon [1]."), PASSAGES)
    assert not any(part.covered for part in verdict.parts)


async def test_a_scrap_is_no_quote(server: FakeOpenAI, chat: ChatJudge) -> None:
    """Two words stand in many a passage; the evidence decides."""
    server.script([json_text(judged((True, 2, "The desk"), covered=(1.0, 1.0)))])
    verdict = await chat.evaluate(QUESTION, answer("The desk pays refunds in gold [2]."), PASSAGES)
    assert not verdict.statements[0].supported


NOT_A_NUMBER = '{"statements": [], "parts": [{"number": 1, "covered": NaN}], "remarks": ""}'


@pytest.mark.parametrize(
    ("replies", "excuse"),
    [
        ([text(NOT_A_NUMBER)] * 2, "no valid verdict"),
        ([refusal()], "declined to judge"),
        ([text("Looks good!"), text('{"statements": 1}')], "no valid verdict"),
    ],
)
async def test_where_the_model_gives_no_verdict_the_evidence_decides(
    server: FakeOpenAI, chat: ChatJudge, replies: list[object], excuse: str
) -> None:
    """And the evaluation says so."""
    server.script(replies)  # type: ignore[arg-type]
    verdict = await chat.evaluate(QUESTION, answer("A refund over 100 euros waits up to nine days [2]."), PASSAGES)
    assert verdict.grounded == 0
    assert excuse in verdict.judge
    assert len(server.requests) == len(replies)


async def test_a_busy_model_is_the_steps_affair(server: FakeOpenAI, chat: ChatJudge) -> None:
    """What passes by itself is raised, to be tried again by the step's policy."""
    server.script([rate_limited("3")])
    with pytest.raises(ModelRateLimited):
        await chat.evaluate(QUESTION, answer(RIGHT), PASSAGES)


async def test_a_model_compares(server: FakeOpenAI, chat: ChatJudge) -> None:
    """Contradictions are the model's, for each pair of answers that hold them; numbers of nothing are left out."""
    found = {"contradictions": [{"first": 1, "second": 2, "why": "noon or not"}, {"first": 1, "second": 7, "why": "?"}]}
    server.script([json_text(found)])
    answers = {"fused": ["Parcels leave at noon."], "dense": ["Parcels leave at noon."], "sparse": ["They leave late."]}
    against = [one for one in await chat.compare(QUESTION, answers) if one.kind == "contradicts"]
    assert [(one.by, one.other, one.why) for one in against] == [
        ("fused", "sparse", "noon or not"),
        ("dense", "sparse", "noon or not"),
    ]
    await chat.compare(QUESTION, {"fused": ["Same."], "dense": ["Same."]})
    assert len(server.requests) == 1


class Judging(Workflow):
    """Judges an answer in a step."""

    def __init__(self, judge: EvidenceJudge) -> None:
        super().__init__()
        self.judge = judge

    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        wrong = "A refund over 100 euros waits up to nine days [2]."
        verdict = await self.judge.evaluate(QUESTION, answer(f"{RIGHT} {wrong}"), PASSAGES)
        return StopEvent(result=verdict.grounded)


@pytest.mark.parametrize("payloads", [False, True])
async def test_judgements_are_in_traces(judge: EvidenceJudge, payloads: bool) -> None:
    """A span of kind EVALUATOR with the scores; what is wrong, where contents are told."""
    with traced(payloads=payloads) as traces:
        await Judging(judge).run()
    span = next(
        node for node in traces.tree().under[0].under if node.attributes["openinference.span.kind"] == "EVALUATOR"
    )
    told = span.attributes
    assert told["evaluations.0.evaluation.name"] == "groundedness"
    assert told["evaluations.0.evaluation.score"] == pytest.approx(2 / 3)
    assert told["evaluations.0.evaluation.annotator_kind"] == "CODE"
    assert ("does not say 9" in str(told)) is payloads


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key or an address chooses the chat model, none the evidence; each says what it goes by."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert "no language model" in judge_from_env(PackagedEmbedder()).describe()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert judge_from_env(PackagedEmbedder()).describe().startswith("chat model ")
