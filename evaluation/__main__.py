"""`python -m evaluation`: how good retrieval and answers are over the project's documents; what the judge finds out."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence

from activities.embeddings import PackagedEmbedder, embedder_from_env
from activities.errors import OutsideError
from activities.remembered import RememberingEmbedder
from evaluation import report
from evaluation.labelled import Question, load, stale
from evaluation.measures import DEPTHS
from evaluation.runs import ask, index, knowledge_of
from evaluation.sentences import try_sentences
from evaluation.wrong_answers import try_all


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where labels are stale or a model fails, 2 where no question is meant, 130 when stopped."""
    options = _parser().parse_args(arguments)
    questions = [one for one in load() if not options.only or one.id in options.only]
    if not questions:
        print(
            f"No question has one of the ids {', '.join(options.only)}; see evaluation/questions.jsonl.",
            file=sys.stderr,
        )
        return 2
    faults = stale(questions)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        print("Put the words that now stand there into evaluation/questions.jsonl.", file=sys.stderr)
    if options.check or faults:
        return 1 if faults else 0
    try:
        asyncio.run(_measure(questions, options))
    except* OutsideError as failed:
        errors = leaves(failed)
        print(f"{type(errors[0]).__name__}: {errors[0]}", file=sys.stderr)
        return_code = 1
    except* KeyboardInterrupt:
        return_code = 130
    else:
        return_code = 0
    return return_code


def leaves(group: BaseExceptionGroup[OutsideError]) -> list[OutsideError]:
    """The errors themselves, of a group of groups."""
    return [
        leaf for one in group.exceptions for leaf in (leaves(one) if isinstance(one, BaseExceptionGroup) else [one])
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m evaluation", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only see whether all labels still stand in the documents")
    parser.add_argument("--only", nargs="+", metavar="ID", help="these questions, by their ids")
    parser.add_argument("--passages", type=_some, default=max(DEPTHS), metavar="N", help="passages of an answer: 10")
    parser.add_argument("--sentences", type=int, default=150, metavar="N", help="sentences to spoil: 150")
    parser.add_argument("--offline", action="store_true", help="packaged models, also where OPENAI_* is set")
    parser.add_argument("-o", "--output", choices=("text", "markdown", "json"), default="text")
    return parser


def _some(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 20:
        raise argparse.ArgumentTypeError("from 1 to 20 passages")
    return number


async def _measure(questions: Sequence[Question], options: argparse.Namespace) -> None:
    began = time.monotonic()
    embedder = RememberingEmbedder(PackagedEmbedder() if options.offline else embedder_from_env(), texts=20_000)
    async with knowledge_of(embedder, offline=options.offline) as knowledge:
        _tell(f"answers:    {knowledge.answerer.describe()}")
        _tell(f"judge:      {knowledge.judge.describe()}")
        _tell(f"embeddings: {knowledge.embedder.describe()}")
        indexed = await index(knowledge)
        _tell(f"indexed:    {indexed.indexed} documents, {indexed.passages} passages, {time.monotonic() - began:.0f} s")
        outcomes = await ask(knowledge, questions, passages=options.passages, told=_progress)
        _tell(f"judging wrong answers, {time.monotonic() - began:.0f} s")
        cases = await try_all(knowledge, questions)
        cases += await try_sentences(knowledge, options.sentences)
    if options.output == "json":
        print(json.dumps(report.as_json(outcomes, cases), ensure_ascii=False, indent=2))
    else:
        print((report.markdown if options.output == "markdown" else report.text)(outcomes, cases))
    _tell(f"took {time.monotonic() - began:.0f} s")


def _progress(done: int, count: int, text: str) -> None:
    end = "\r" if sys.stderr.isatty() and done < count else "\n"
    print(
        f"\x1b[K{done}/{count} {text}" if end == "\r" else f"{done}/{count} {text}",
        end=end,
        file=sys.stderr,
        flush=True,
    )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
