"""The labelled set stands in the documents, and a small part of it is answered as well as it should be."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from activities.embeddings import PackagedEmbedder
from activities.knowledge import Knowledge
from activities.remembered import RememberingEmbedder
from evaluation import report
from evaluation.__main__ import main
from evaluation.labelled import ROOT, Label, Question, Spot, documents, load, spots, stale
from evaluation.measures import Found, mean, recall, reciprocal_rank
from evaluation.runs import SELECTED, Outcome, ask, index, knowledge_of
from evaluation.sentences import try_sentences
from evaluation.wrong_answers import denied, try_all, with_other_number

SMALL = ["worker-lost", "lock-hashes", "core-dependencies", "porting", "kafka"]


def test_every_label_stands_in_its_document() -> None:
    """A change of the documents may move or reword what a question is answered by: the messages say what to mend."""
    questions = load()
    assert "\n".join(stale(questions)) == ""
    assert len(questions) == 40
    assert sum(not question.answerable for question in questions) == 6
    assert all(len(spots(question)) == len(question.sources) for question in questions)
    held = documents()
    assert all(any(Path(label.path).is_relative_to(one) for one in held) for q in questions for label in q.sources)


def test_a_stale_label_says_what_to_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reworded: the line that is most like it; moved: where it is now; gone: that there is no file."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# A\n\nA worker that is silent for 9 seconds counts as lost.\n")
    (docs / "b.md").write_text("A refund waits.\n")
    shutil.copy(ROOT / "README.md", tmp_path)
    labels = [
        Label(path="docs/a.md", quote="A worker that has been silent for 10 seconds counts as lost"),
        Label(path="docs/a.md", quote="A refund waits"),
        Label(path="docs/c.md", quote="nowhere at all"),
    ]
    reworded, moved, gone = stale([Question(id="x", question="?", answer=["!"], sources=labels)], tmp_path)
    assert "most like it: 'A worker that is silent for 9 seconds counts as lost.'" in reworded
    assert "docs/b.md does now" in moved
    assert "there is no such file" in gone
    assert main(["--check"]) == 0
    assert main(["--only", "nothing"]) == 2
    assert "No question has one of the ids nothing" in capsys.readouterr().err


def test_measures_of_a_ranking() -> None:
    """How many labels are found how early."""
    found = [Found("a.md", 1, 9), Found("b.md", 5, 7), Found("a.md", 10, 20)]
    where = [Spot("b.md", 6), Spot("a.md", 12)]
    assert [recall(found, where, depth) for depth in (1, 2, 3)] == [0.0, 0.5, 1.0]
    assert reciprocal_rank(found, where) == 0.5
    assert reciprocal_rank(found, [Spot("c.md", 1)]) == 0
    assert mean([]) is None


def test_what_was_not_measured_is_no_number() -> None:
    """A dash, not the worst or the best there is."""
    outcomes = [Outcome(question="q", strategy="dense", answerable=True, answered=False, recall={1: 0.0})]
    measures = report.per_strategy(outcomes)["dense"]
    assert (measures["answered"], measures["abstained"], measures["grounded"]) == (0.0, None, None)
    assert report.markdown(outcomes, []).splitlines()[2] == "| dense | 0.00 | 0.00 | – | – | 0.00 | 0.00 | – |"


def test_a_label_without_an_answer_is_refused() -> None:
    """Its measures would be shares of nothing."""
    with pytest.raises(ValueError, match="Question q needs an answer and the sources that say it"):
        Question(id="q", question="?", answer=["It waits."], sources=[])


def test_answers_are_spoilt() -> None:
    """Another number, a denial; nothing where there is none to change."""
    assert with_other_number("It waits 3,500 events.") == "It waits 4,500 events."
    assert with_other_number("It waits.") is None
    assert denied("It is kept for 9 days.") == "It is not kept for 9 days."
    assert denied("It needs a worker.") == "It never needs a worker."
    assert denied("It does not fail.") is None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def knowledge() -> AsyncIterator[Knowledge]:
    """Some of the documents, indexed; packaged models."""
    async with knowledge_of(RememberingEmbedder(PackagedEmbedder()), offline=True) as known:
        decisions = ["docs/decisions/locks.md", "docs/decisions/packaging.md"]
        assert (await index(known, paths=["docs/operations.md", "docs/porting.md", *decisions])).indexed == 4
        yield known


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """A few of the set."""
    return [question for question in load() if question.id in SMALL]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes(knowledge: Knowledge, questions: list[Question]) -> list[Outcome]:
    """What came out."""
    return await ask(knowledge, questions, passages=5)


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_a_small_part_of_the_set_is_answered_well(outcomes: list[Outcome]) -> None:
    """Found early by each strategy, answered from the sources, and not answered where they say nothing."""
    measures = report.per_strategy(outcomes)
    assert set(measures) == {"fused", "dense", "sparse", "reranked", SELECTED}
    for found in measures.values():
        assert found["recall@5"] == 1
        assert (found["MRR"] or 0) >= 0.6
        assert found["grounded"] == 1
    assert (measures[SELECTED]["correct"] or 0) >= 0.6
    assert measures[SELECTED]["answered"] == measures[SELECTED]["abstained"] == 1


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_wrong_answers_to_it_are_found_out(
    knowledge: Knowledge, questions: list[Question], outcomes: list[Outcome]
) -> None:
    """Made-up numbers and names, denials, statements from elsewhere; right ones are not doubted. And it can be told."""
    cases = await try_all(knowledge, questions)
    cases += await try_sentences(knowledge, 5, paths=["docs/operations.md"])
    caught = {name: (found, count) for name, found, count in report.detections(cases)}
    assert all(found == 0 for name, (found, _) in caught.items() if name.startswith("nothing"))
    wrong = [case for case in cases if case.kind not in ("right", "whole", "quoted", "contradiction")]
    assert sum(case.caught for case in wrong) >= 0.85 * len(wrong) > 0, [case for case in wrong if not case.caught]
    told = report.as_json(outcomes, cases)
    assert json.loads(json.dumps(told))["strategies"][SELECTED]["abstained"] == 1
    assert "| selected | 1.00 |" in report.markdown(outcomes, cases)
    assert "found out" in report.text(outcomes, cases)
