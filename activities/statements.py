"""An answer's text taken apart: its statements, one sentence each, with the passages that each of them cites."""

from __future__ import annotations

import re
from typing import NamedTuple

from activities.answers import cited_in, uncited
from activities.text import FOOTNOTE, sentences, terms

_BEHIND_THE_STOP = re.compile(r"([.!?:])((?:\s*\[\d+(?:\s*,\s*\d+)*\])+)")
_SAYS_NOTHING = frozenset({"yes", "sure", "ok", "okay", "indeed", "correct"})


class Claim(NamedTuple):
    """A statement without its citations, and the numbers that it cites, as they were written."""

    text: str
    cited: tuple[int, ...]


def claims(answer: str) -> list[Claim]:
    """The statements of an answer, in order.

    A sentence that cites nothing cites what the next one of its paragraph does, as writers put one citation behind
    several sentences; behind the last one, what the answer cites anywhere.

    Example:
        claims("It waits. Then it expires [2].\\nNobody is told [1].") gives citations (2,), (2,) and (1,)
    """
    found: list[Claim] = []
    for line in answer.splitlines():
        found += _of_paragraph(_BEHIND_THE_STOP.sub(r"\2\1", FOOTNOTE.sub("", line)))
    everything = tuple(dict.fromkeys(number for claim in found for number in claim.cited))
    return [claim if claim.cited else claim._replace(cited=everything) for claim in found]


def _of_paragraph(line: str) -> list[Claim]:
    found: list[Claim] = []
    cited: tuple[int, ...] = ()
    for sentence in reversed(sentences(line)):
        cited = tuple(cited_in(sentence)) or cited
        text = uncited(sentence).strip()
        if text and set(terms(text)) - _SAYS_NOTHING:
            found.append(Claim(text, cited))
    return found[::-1]
