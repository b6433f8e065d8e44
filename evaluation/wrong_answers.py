"""Deliberately wrong answers, and whether the judge finds them out: how much its scores are worth.

Each right answer of the labelled set is spoilt in several ways, and judged by passages that hold the right one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from activities.answers import Answer
from activities.chunking import Chunk, chunk_document
from activities.documents import read_document
from activities.embeddings import Embedder
from activities.evaluations import Judge
from activities.knowledge import Knowledge
from activities.vectors import Passage
from evaluation.labelled import ROOT, Question, Spot, spots
from evaluation.runs import INDEX

MISTAKES = {
    "right": "nothing: a right answer is doubted by mistake",
    "whole": "nothing: a whole answer is found lacking by mistake",
    "quoted": "nothing: a sentence of the documents is doubted by mistake",
}
KINDS = {
    "number": "a number is made up (by hand)",
    "denial": "a statement is denied (by hand)",
    "swap": "two things are swapped, or the opposite is said (by hand)",
    "name": "a name is made up (by hand)",
    "invented": "a reason or a fact is made up (by hand)",
    "other number": "a number is replaced by another one",
    "not": "a “not” is put in",
    "added": "a sentence that is true elsewhere is added",
    "half": "half of the question is answered",
    "quoted number": "a number in a sentence of the documents is replaced",
    "quoted not": "a “not” is put into a sentence of the documents",
    "contradiction": "another strategy says the wrong thing: contradiction between answers",
}
_AUXILIARY = re.compile(r"\b(is|are|was|has|have|had|does|do|may|can|must|would|will)\b(?! not\b)")
_VERB = re.compile(
    r"\b(needs|tries|takes|raises|says|depends|scrapes|makes|goes|installs|waits|continues|holds|counts|use) (?=\w)"
)
_NUMBER = re.compile(r"\d[\d,.]*\d|\d")
_DISTRACTORS = 3


class Case(NamedTuple):
    """One try. `caught` says whether the judge found out what is wrong; of a right answer, whether it doubted it."""

    kind: str
    question: str
    text: str
    caught: bool


async def try_all(knowledge: Knowledge, questions: Sequence[Question], root: Path = ROOT) -> list[Case]:
    """Judge right and wrong answers to the questions that have any.

    Args:
        knowledge: With the documents indexed, and the judge.
        questions: The labelled set.
        root: The project's folder.
    """
    answerable = [one for one in questions if one.answerable]
    found: list[Case] = []
    for at, question in enumerate(answerable):
        passages = await _passages(knowledge, question, root)
        elsewhere = [one for one in answerable[at + 1 :] + answerable[:at] if not _told_by(passages, one, root)]
        found += await _statements(knowledge.judge, question, elsewhere[:1], passages)
        found += await _halves(knowledge.judge, question, passages)
        found += await _contradictions(knowledge.judge, question)
    return found


def with_other_number(text: str) -> str | None:
    """The text with its first number changed; None where it has none."""
    match = _NUMBER.search(text)
    if match is None:
        return None
    digits = match.group()
    changed = str(int(digits[0]) % 9 + 1) + digits[1:]
    return text[: match.start()] + changed + text[match.end() :]


def denied(text: str) -> str | None:
    """The text with a "not" in it; None where it has no verb that this knows how to deny."""
    if " not " in f" {text.lower()} " or text.lower().startswith("no,"):
        return None
    if match := _AUXILIARY.search(text):
        return f"{text[: match.end()]} not{text[match.end() :]}"
    if match := _VERB.search(text):
        return f"{text[: match.start()]}never {text[match.start() :]}"
    return None


async def _passages(knowledge: Knowledge, question: Question, root: Path) -> list[Passage]:
    """The passages in which the labels stand, and some others that a search finds."""
    where = spots(question, root)
    right = [passage for spot in dict.fromkeys(where) for passage in _holding(spot, root, knowledge.embedder)]
    right = list({passage.chunk_id: passage for passage in right}.values())
    vector = (await knowledge.embedder.embed([question.question]))[0]
    others = await knowledge.index(INDEX).search_fused(question.question, vector, limit=10)
    known = {(one.source, one.start_line) for one in right}
    return right + [one for one in others if (one.source, one.start_line) not in known][:_DISTRACTORS]


def _told_by(passages: Sequence[Passage], question: Question, root: Path) -> bool:
    """Whether some passages are from a file that answers a question: what it says may be true of them too."""
    return not {spot.path for spot in spots(question, root)}.isdisjoint(passage.source for passage in passages)


def _holding(spot: Spot, root: Path, embedder: Embedder) -> list[Passage]:
    chunks = chunk_document(read_document(root / spot.path, root), embedder.count_tokens)
    return [passage_of(chunk) for chunk in chunks if chunk.start_line <= spot.line <= chunk.end_line]


def passage_of(chunk: Chunk) -> Passage:
    """A chunk as if it had been found."""
    return Passage(
        chunk_id=f"{chunk.source}#{chunk.position}",
        source=chunk.source,
        text=chunk.text,
        heading=chunk.heading,
        start_line=chunk.start_line,
        end_line=chunk.end_line,
        score=1.0,
    )


async def _statements(
    judge: Judge, question: Question, elsewhere: Sequence[Question], passages: Sequence[Passage]
) -> list[Case]:
    """Statements, right and wrong, each as from all the passages; `elsewhere` lends one that is true elsewhere."""
    tried: list[tuple[str, str]] = [("right", text) for text in question.answer]
    if question.wrong:
        tried.append((question.wrong.kind, question.wrong.text))
    for text in question.answer:
        spoilt = (("other number", with_other_number(text)), ("not", denied(text)))
        tried += [(kind, changed) for kind, changed in spoilt if changed]
    cases: list[Case] = []
    for kind, text in tried:
        doubted = await _doubted(judge, question, [text], passages)
        cases.append(Case(kind, question.id, text, bool(doubted)))
    for other in elsewhere:
        added = other.answer[0]
        doubted = await _doubted(judge, question, [*question.answer, added], passages)
        cases.append(Case("added", question.id, added, any(one in added for one in doubted)))
    return cases


async def _doubted(judge: Judge, question: Question, texts: Sequence[str], passages: Sequence[Passage]) -> list[str]:
    """The statements that the judge does not take for borne out."""
    cited = "".join(f"[{number}]" for number in range(1, len(passages) + 1))
    answer = Answer(text="\n".join(f"{text} {cited}" for text in texts), citations=list(range(1, len(passages) + 1)))
    verdict = await judge.evaluate(question.question, answer, passages)
    return [one.text for one in verdict.statements if not one.supported]


async def _halves(judge: Judge, question: Question, passages: Sequence[Passage]) -> list[Case]:
    """Each half of an answer to two questions at once: the other one must be found lacking."""
    if len(question.answer) < 2:
        return []
    cases: list[Case] = []
    for at, text in enumerate(question.answer):
        verdict = await judge.evaluate(question.question, Answer(text=f"{text} [1]", citations=[1]), passages)
        lacking = [part.covered for part in verdict.parts]
        cases.append(Case("half", question.id, text, len(lacking) > 1 and lacking[at] and not all(lacking)))
    whole = "\n".join(f"{text} [1]" for text in question.answer)
    verdict = await judge.evaluate(question.question, Answer(text=whole, citations=[1]), passages)
    return [*cases, Case("whole", question.id, whole, not all(p.covered for p in verdict.parts))]


async def _contradictions(judge: Judge, question: Question) -> list[Case]:
    """The right answer beside a wrong one, as of two strategies."""
    if question.wrong is None or question.wrong.kind == "invented":
        return []
    answers = {"one": question.answer, "other": [question.wrong.text]}
    found = await judge.compare(question.question, answers)
    return [Case("contradiction", question.id, question.wrong.text, any(one.kind == "contradicts" for one in found))]
