"""The questions, asked: documents indexed by `IndexFlow`, each question answered by `RagFlow`, all of it in process."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from activities.answering import ExtractiveAnswerer
from activities.answers import Source
from activities.embeddings import Embedder
from activities.evidence import find_evidence
from activities.excerpts import Excerpt
from activities.judging import EvidenceJudge
from activities.knowledge import Knowledge
from activities.statements import claims
from activities.vectors import VectorStore
from activities.vectors_edge import EdgeEngine
from evaluation.labelled import ROOT, Question, documents, spots
from evaluation.measures import DEPTHS, Found, recall, reciprocal_rank
from workflows.indexing import IndexFlow, IndexResult
from workflows.rag import STRATEGIES, ApprovalRequested, Evaluated, RagFlow, RagResult

INDEX = "evaluation"
SELECTED = "selected"
"""The row of what the flow would show a person: the best of the strategies' answers, or none."""
AT_A_TIME = 2

Told = Callable[[int, int, str], None]


class Outcome(BaseModel):
    """What one strategy made of one question. Ranks are None for a question that the documents do not answer.

    `correct` is how far the answer says what the expected one says, 0 to 1; None where there is none to compare.
    """

    model_config = ConfigDict(frozen=True)

    question: str
    strategy: str
    answerable: bool
    answered: bool
    recall: dict[int, float] | None = None
    reciprocal_rank: float | None = None
    grounded: float | None = None
    complete: float | None = None
    correct: float | None = None
    answer: str = ""


@asynccontextmanager
async def knowledge_of(embedder: Embedder, *, offline: bool = False) -> AsyncIterator[Knowledge]:
    """Knowledge with an embedded index of its own, which is gone afterwards.

    Args:
        embedder: For passages, and for evidence.
        offline: No chat model answers or judges, also where one is configured.
    """
    with tempfile.TemporaryDirectory(prefix="everstep-evaluation-") as folder:
        known = Knowledge(
            embedder=embedder,
            answerer=ExtractiveAnswerer(embedder) if offline else None,
            judge=EvidenceJudge(embedder) if offline else None,
            stores=lambda space: VectorStore(EdgeEngine(Path(folder) / re.sub(r"\W+", "-", space))),
        )
        try:
            yield known
        finally:
            await known.close()


async def index(knowledge: Knowledge, root: Path = ROOT, paths: Sequence[str] | None = None) -> IndexResult:
    """Index the documents that the questions are about."""
    chosen = list(paths) if paths is not None else documents()
    return await IndexFlow(knowledge).run(folder=str(root), paths=chosen, index=INDEX)


async def ask(
    knowledge: Knowledge, questions: Sequence[Question], *, passages: int = max(DEPTHS), told: Told | None = None
) -> list[Outcome]:
    """Ask all the questions.

    Args:
        knowledge: With the documents indexed.
        questions: What to ask.
        passages: How many passages a strategy finds, and answers from.
        told: Is called after each question, with how many are done, how many there are, and what came out.

    Returns:
        For each question an outcome of each strategy, and one of what was selected.
    """
    turns = asyncio.Semaphore(AT_A_TIME)
    outcomes: dict[str, list[Outcome]] = {}

    async def one(question: Question) -> None:
        async with turns:
            outcomes[question.id] = await _asked(knowledge, question, passages)
        if told:
            last = outcomes[question.id][-1]
            told(len(outcomes), len(questions), f"{question.id}: {'answered' if last.answered else 'not answered'}")

    async with asyncio.TaskGroup() as group:
        for question in questions:
            group.create_task(one(question))
    return [outcome for question in questions for outcome in outcomes[question.id]]


async def _asked(knowledge: Knowledge, question: Question, passages: int) -> list[Outcome]:
    handler = RagFlow(knowledge, rerank="late").run(question=question.question, index=INDEX, passages=passages)
    evaluated: list[Evaluated] = []
    async for event in handler.stream_events():
        if isinstance(event, Evaluated):
            evaluated.append(event)
        elif isinstance(event, ApprovalRequested):
            await handler.respond({"approved": False, "comment": "nothing is published here"})
    result: RagResult = await handler
    evaluated.sort(key=lambda one: STRATEGIES.index(one.strategy))
    outcomes = [await _outcome(knowledge.embedder, question, one, passages) for one in evaluated]
    chosen = next((one for one in outcomes if one.strategy == result.strategy), None)
    if chosen is None:
        selected = Outcome(question=question.id, strategy=SELECTED, answerable=question.answerable, answered=False)
    else:
        selected = chosen.model_copy(update={"strategy": SELECTED})
    return [*outcomes, selected]


async def _outcome(embedder: Embedder, question: Question, one: Evaluated, passages: int) -> Outcome:
    found = [_found(source) for source in one.passages]
    where = spots(question)
    answered = one.score.found
    outcome = Outcome(
        question=question.id,
        strategy=one.strategy,
        answerable=question.answerable,
        answered=answered,
        grounded=one.score.grounded if answered else None,
        complete=one.score.complete if answered else None,
        answer=one.answer if answered else "",
    )
    if not question.answerable:
        return outcome
    return outcome.model_copy(
        update={
            "recall": {depth: recall(found, where, depth) for depth in DEPTHS if depth <= passages},
            "reciprocal_rank": reciprocal_rank(found, where),
            "correct": await correctness(embedder, question.answer, one.answer) if answered else 0.0,
        }
    )


async def correctness(embedder: Embedder, expected: Sequence[str], answer: str) -> float:
    """How much of the expected answer an answer says, 0 to 1: the evidence for it, looked for in the answer."""
    said = [Excerpt("\n\n".join(claim.text for claim in claims(answer)))]
    findings = await find_evidence(embedder, expected, [said] * len(expected), whole=False)
    return sum(one.score if one.supported else 0.0 for one in findings) / len(findings)


def _found(source: Source) -> Found:
    return Found(source.path, source.start_line, source.end_line)
