"""Judging answers without a language model: by evidence in the sources, statement by statement.

Rule: `EvidenceJudge` says what it goes by, and what it cannot see: see `activities.evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from activities.answers import Answer
from activities.completeness import Said, covered_parts, missing_terms, question_parts
from activities.disagreement import disagreements
from activities.embeddings import Embedder
from activities.evaluations import NOTHING_FOUND, Disagreement, Evaluation, QuestionPart, Statement
from activities.evidence import Finding, find_evidence
from activities.excerpts import Excerpt
from activities.statements import Claim, claims
from activities.vectors import Passage
from everstep.observe import EvaluatorCall


class EvidenceJudge:
    """Judges by sentence embeddings and lexical evidence: shared words, numbers, names, denials. No language model.

    It finds statements that the sources do not make, made-up numbers and names, and most plain denials. It does not
    find false conclusions from true words, and does not recognise paraphrases in all other words.

    Args:
        embedder: Measures nearness in meaning.

    Example:
        verdict = await EvidenceJudge(PackagedEmbedder()).evaluate(question, answer, passages)
        print([one.text for one in verdict.statements if not one.supported])
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def describe(self) -> str:
        """One line for people: what judges, and by what means."""
        return (
            f"evidence (sentence embeddings, words, numbers, names, denials; no language model), {self._embedder.name}"
        )

    async def evaluate(
        self, question: str, answer: Answer, passages: Sequence[Passage], *, parts: Sequence[str] = ()
    ) -> Evaluation:
        """See `activities.evaluations.Judge`."""
        if not answer.found:
            return NOTHING_FOUND.model_copy(update={"judge": self.describe()})
        with EvaluatorCall("judge answer", "CODE", answer.text) as call:
            made = claims(answer.text)
            statements = await self.ground(made, passages)
            covered = await self.cover(parts or question_parts(question), made, passages)
            missing = missing_terms(question, said_in(made, passages))
            remarks = f"Says nothing of: {', '.join(missing)}." if missing else ""
            return told_of(call, verdict_of(statements, covered, remarks, self.describe()))

    async def ground(self, made: Sequence[Claim], passages: Sequence[Passage]) -> list[Statement]:
        """Each statement, held against the passages that it cites; against all, where the answer cites none at all."""
        excerpts = [Excerpt.of(passage) for passage in passages]
        sources = [
            [excerpts[number - 1] for number in claim.cited if 1 <= number <= len(excerpts)]
            if claim.cited
            else excerpts
            for claim in made
        ]
        findings = await find_evidence(self._embedder, [claim.text for claim in made], sources)
        return [_statement(claim.text, finding) for claim, finding in zip(made, findings, strict=True)]

    async def cover(
        self, parts: Sequence[str], made: Sequence[Claim], passages: Sequence[Passage]
    ) -> list[QuestionPart]:
        """How far statements cover each part of a question."""
        known = frozenset[str]().union(*(Excerpt.of(passage).stems for passage in passages))
        return await covered_parts(self._embedder, parts, said_in(made, passages), known=known)

    async def compare(self, question: str, answers: Mapping[str, Sequence[str]]) -> list[Disagreement]:
        """See `activities.evaluations.Judge`."""
        with EvaluatorCall("compare answers", "CODE", {name: list(said) for name, said in answers.items()}) as call:
            return differences_told(call, await disagreements(self._embedder, answers))


def verdict_of(statements: Sequence[Statement], parts: Sequence[QuestionPart], remarks: str, judge: str) -> Evaluation:
    """What is found of the parts, as one: the share of statements borne out, and how far the question is covered."""
    return Evaluation(
        grounded=sum(one.supported for one in statements) / len(statements) if statements else 0.0,
        complete=sum(one.score for one in parts) / len(parts) if parts else 0.0,
        remarks=remarks,
        statements=list(statements),
        parts=list(parts),
        judge=judge,
    )


def told_of(call: EvaluatorCall, verdict: Evaluation) -> Evaluation:
    """A verdict, told to the trace too."""
    doubted = [one.model_dump(exclude={"supported"}) for one in verdict.statements if not one.supported]
    lacking = [part.question for part in verdict.parts if not part.covered]
    scores = {"groundedness": verdict.grounded, "completeness": verdict.complete, "score": verdict.score}
    call.scored(scores, {"not borne out": doubted, "not answered": lacking, "remarks": verdict.remarks})
    return verdict


def differences_told(call: EvaluatorCall, found: list[Disagreement]) -> list[Disagreement]:
    """Where answers differ, told to the trace too."""
    kinds = [one.kind for one in found]
    scores = {"contradictions": kinds.count("contradicts"), "alone": kinds.count("alone")}
    call.scored(scores, [one.model_dump(exclude_defaults=True) for one in found])
    return found


def _statement(text: str, finding: Finding) -> Statement:
    unit = finding.unit
    return Statement(
        text=text,
        supported=finding.supported,
        score=finding.score,
        place=unit.excerpt.place(unit.text) if unit else "",
        evidence=unit.text if unit else "",
        why="" if finding.supported else finding.why,
    )


def said_in(made: Sequence[Claim], passages: Sequence[Passage]) -> list[Said]:
    """Statements with the headings of the passages that they cite."""
    return [
        Said(
            claim.text,
            " ".join(
                title
                for number in claim.cited
                if 1 <= number <= len(passages)
                for title in passages[number - 1].heading
            ),
        )
        for claim in made
    ]
