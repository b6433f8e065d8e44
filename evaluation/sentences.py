"""Sentences of the documents themselves, spoilt: a larger sample than the labelled set, on which nothing was tuned."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from activities.answers import Answer
from activities.chunking import Chunk, chunk_document
from activities.documents import find_documents, read_document
from activities.embeddings import Embedder
from activities.knowledge import Knowledge
from activities.text import sentences
from activities.vectors import Passage
from evaluation.labelled import ROOT, documents
from evaluation.wrong_answers import Case, denied, passage_of, with_other_number

_WORDS = range(6, 41)
"""How long a sentence is that says one thing, in words."""
_NO_PROSE = ("|", "[^", "–")


async def try_sentences(
    knowledge: Knowledge, count: int, *, seed: int = 7, root: Path = ROOT, paths: Sequence[str] | None = None
) -> list[Case]:
    """Judge sentences of the documents by the passages that they are from: as they are, with another number, denied.

    Args:
        knowledge: With the judge.
        count: How many sentences, one from a passage at most.
        seed: Chooses them.
        root: The folder of the documents.
        paths: Files and folders below it; by default those of the labelled set.
    """
    dice = random.Random(seed)
    chunks = list(_chunks(root, documents() if paths is None else paths, knowledge.embedder))
    dice.shuffle(chunks)
    found: list[Case] = []
    for chunk in chunks:
        texts = [text for text in sentences(chunk.text) if _is_prose(text)]
        if not texts or count <= 0:
            continue
        count -= 1
        text = dice.choice(texts)
        tried = (("quoted", text), ("quoted number", with_other_number(text)), ("quoted not", denied(text)))
        found += [await _judged(knowledge, passage_of(chunk), kind, changed) for kind, changed in tried if changed]
    return found


def _chunks(root: Path, paths: Sequence[str], embedder: Embedder) -> Iterator[Chunk]:
    for place in (root / path for path in paths):
        for file in find_documents(place) if place.is_dir() else [place]:
            yield from chunk_document(read_document(file, root), embedder.count_tokens)


def _is_prose(text: str) -> bool:
    return len(text.split()) in _WORDS and not any(mark in text for mark in _NO_PROSE)


async def _judged(knowledge: Knowledge, passage: Passage, kind: str, text: str) -> Case:
    verdict = await knowledge.judge.evaluate(text, Answer(text=f"{text} [1]", citations=[1]), [passage])
    return Case(kind, passage.place, text, not all(one.supported for one in verdict.statements))
