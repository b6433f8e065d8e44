"""What was measured, as tables for people, as Markdown for the documentation, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from evaluation.measures import DEPTHS, mean
from evaluation.runs import Outcome
from evaluation.wrong_answers import KINDS, MISTAKES, Case

Row = dict[str, str]


def per_strategy(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float | None]]:
    """The measures of each strategy: means over the questions that have an answer, and shares.

    `answered` is the share of those; `abstained` the share of the others that were not answered; `grounded` and
    `complete` are means over the answers given, `correct` over all questions that have an answer. None where there
    is nothing to measure: no question of the kind, no answer given.
    """
    return {
        name: _measures([one for one in outcomes if one.strategy == name])
        for name in dict.fromkeys(one.strategy for one in outcomes)
    }


def _measures(outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    known = [one for one in outcomes if one.answerable]
    unknown = [one for one in outcomes if not one.answerable]
    given = [one for one in known if one.answered]
    depths = [depth for depth in DEPTHS if any(depth in (one.recall or {}) for one in known)]
    found = {f"recall@{depth}": mean((one.recall or {}).get(depth, 0.0) for one in known) for depth in depths}
    return {
        **found,
        "MRR": mean(one.reciprocal_rank or 0.0 for one in known),
        "grounded": mean(one.grounded or 0.0 for one in given),
        "complete": mean(one.complete or 0.0 for one in given),
        "correct": mean(one.correct or 0.0 for one in known),
        "answered": mean(float(one.answered) for one in known),
        "abstained": mean(float(not one.answered) for one in unknown),
    }


def detections(cases: Sequence[Case]) -> list[tuple[str, int, int]]:
    """For each kind of wrong answer what it is, how many were found out, and how many there were."""
    return [
        (text, sum(case.caught for case in cases if case.kind == kind), sum(case.kind == kind for case in cases))
        for kind, text in {**KINDS, **MISTAKES}.items()
        if any(case.kind == kind for case in cases)
    ]


def markdown(outcomes: Sequence[Outcome], cases: Sequence[Case]) -> str:
    """Both tables, as they stand in docs/rag.md."""
    return f"{_table(_strategy_rows(outcomes), _as_markdown)}\n\n{_table(_detection_rows(cases), _as_markdown)}"


def text(outcomes: Sequence[Outcome], cases: Sequence[Case]) -> str:
    """Both tables, with columns in line."""
    return f"{_table(_strategy_rows(outcomes), _aligned)}\n\n{_table(_detection_rows(cases), _aligned)}"


def as_json(outcomes: Sequence[Outcome], cases: Sequence[Case]) -> dict[str, Any]:
    """Everything: measures, detections, and each outcome and case behind them."""
    return {
        "strategies": per_strategy(outcomes),
        "detections": {name: {"caught": caught, "of": count} for name, caught, count in detections(cases)},
        "outcomes": [one.model_dump() for one in outcomes],
        "cases": [one._asdict() for one in cases],
    }


def _strategy_rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    found = per_strategy(outcomes)
    names = list(next(iter(found.values()), {}))
    return [["strategy", *names], *([name, *(_number(one[key]) for key in names)] for name, one in found.items())]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _detection_rows(cases: Sequence[Case]) -> list[list[str]]:
    rows = [[name, str(caught), str(count)] for name, caught, count in detections(cases)]
    return [["what is wrong", "found out", "of"], *rows]


def _table(rows: list[list[str]], form: Callable[[list[list[str]]], list[str]]) -> str:
    return "\n".join(form(rows))


def _as_markdown(rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
