"""What the answer of one strategy is worth, among those of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from activities.evaluations import Disagreement, Evaluation, Statement

CONTRADICTED = 0.5
"""How much of its score an answer loses if another contradicts all of its statements with as good a ground."""


class Score(BaseModel):
    """What the answer of one strategy is worth, each from 0 to 1, and why.

    `found` says whether it answers any part of the question at all. `grounded` is the share of its statements that its
    sources bear out (`supported` of `statements`), `complete` how far it covers the question, `agreed` the share of its
    statements that no other answer contradicts with as good a ground.
    """

    strategy: str
    score: float = 0.0
    grounded: float = 0.0
    complete: float = 0.0
    agreed: float = 1.0
    found: bool = True
    supported: int = 0
    statements: int = 0
    remarks: str = ""

    def __str__(self) -> str:
        """The numbers, for people."""
        said = f"{self.score:.2f}: {self.supported} of {self.statements} statements borne out, "
        return f"{said}complete {self.complete:.2f}. {self.remarks}".strip()


def score_of(strategy: str, verdict: Evaluation, *, found: bool) -> Score:
    """A verdict in numbers, before answers are compared. `found` says whether there is an answer."""
    return Score(
        strategy=strategy,
        score=round(verdict.score, 3),
        grounded=round(verdict.grounded, 3),
        complete=round(verdict.complete, 3),
        found=found and any(part.covered for part in verdict.parts),
        supported=sum(one.supported for one in verdict.statements),
        statements=len(verdict.statements),
        remarks=verdict.remarks,
    )


def scores_among(
    scores: Sequence[Score], statements: Mapping[str, Sequence[Statement]], disagreements: Sequence[Disagreement]
) -> list[Score]:
    """The scores with what the answers say of each other in them, in the same order.

    Args:
        scores: One for each strategy.
        statements: What each strategy's answer says.
        disagreements: Where the answers differ.
    """
    support = {one.text: one.score if one.supported else 0.0 for each in statements.values() for one in each}
    found: list[Score] = []
    for score in scores:
        mine = [one.text for one in statements[score.strategy]]
        against = _contradicted(score.strategy, disagreements, support)
        agreed = 1 - sum(text in against for text in mine) / len(mine) if mine else 1.0
        worth = score.score * (1 - CONTRADICTED * (1 - agreed))
        found.append(score.model_copy(update={"agreed": round(agreed, 3), "score": round(worth, 3)}))
    return found


def differences(found: Sequence[Disagreement]) -> str:
    """Where answers differ, in a line for people."""
    against = [one for one in found if one.kind == "contradicts"]
    told = [f"{one.by} and {one.other} contradict each other: {one.why}" for one in against]
    single = len(found) - len(against)
    told += [f"{single} statements that only one strategy makes"] if single else []
    return "; ".join(told) or "the answers agree"


def _contradicted(name: str, disagreements: Sequence[Disagreement], support: Mapping[str, float]) -> set[str]:
    """The statements of an answer that another one contradicts with as good a ground."""
    found: set[str] = set()
    for one in disagreements:
        if one.kind == "contradicts":
            sides = ((one.by, one.statement, one.other_statement), (one.other, one.other_statement, one.statement))
            found |= {
                statement
                for who, statement, other in sides
                if who == name and support.get(statement, 0.0) <= support.get(other, 0.0)
            }
    return found
