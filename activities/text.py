"""Words and sentences of technical text, for sparse vectors and for the extractive answerer.

Rule: documents and questions go through the same functions, so that a term found here is the same term there.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from functools import lru_cache
from itertools import groupby

_TOKEN = re.compile(r"\w+(?:[.\-/:']\w+)*")
_PARTS = re.compile(r"[._\-/:']+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]])|(?<=[.!?]\*\*))\s+(?=[\"'(\[`*]*[A-Z0-9`])")
_LIST_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")
FENCE = re.compile(r"\s*(```|~~~)")
"""The line that begins or ends a block of code."""

FOOTNOTE = re.compile(r"\[\^[\w-]+\]")
"""A reference to a footnote, which is no part of a sentence."""

STOP_WORDS = frozenset(
    """a about above after again all also am an and any are as at be because been before being below
    between both but by can could did do does doing done down during each few for from further get
    gets got had has have having happen happened happens he her here hers him his how i if in into
    is it its just let make may me might more most much must my no nor not of off on once only or
    other our out over own please same shall she should so some such tell than that the their them
    then there these they this those through to too under until up us very was we were what when
    where which while who whom whose why will with would you your""".split()  # noqa: SIM905 - a list of words reads better
)


def terms(text: str) -> list[str]:
    """The terms of a text in order: lower case, stop words left out, plurals folded, names also in parts.

    Example:
        terms("the retryPolicy of send_event") == ["retrypolicy", "retry", "policy", "send_event", "send",
        "event"]
    """
    return list(_terms(text))


@lru_cache(maxsize=4096)  # several strategies look at the same sentences
def _terms(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        parts = [part for piece in _PARTS.split(token) for part in _CAMEL.split(piece) if part]
        names = [token, *parts] if len(parts) > 1 else [token]
        found += [_folded(name) for name in map(str.lower, names) if name not in STOP_WORDS]
    return tuple(found)


def _folded(word: str) -> str:
    """A plural and its singular as one term; nothing cleverer, so that no two names fall together."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 5 and word.endswith(("sses", "xes", "shes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def term_id(term: str) -> int:
    """The term's place in a sparse vector: 32 bits, the same on every machine and in every run."""
    return zlib.crc32(term.encode())


def document_weights(text: str, *, mean_length: float = 120.0, k1: float = 1.2, b: float = 0.75) -> dict[int, float]:
    """BM25's part that belongs to the document; the engine multiplies by the term's rarity (IDF).

    Args:
        text: The passage to index.
        mean_length: Terms in an average passage. A constant, so that a passage's weights never
            depend on others.
        k1: How soon repetition of a term stops counting.
        b: How much long passages are marked down, 0 to 1.
    """
    found = terms(text)
    damping = k1 * (1 - b + b * len(found) / mean_length)
    weights: dict[int, float] = {}
    for term, count in Counter(found).items():
        place = term_id(term)
        weights[place] = weights.get(place, 0.0) + count * (k1 + 1) / (count + damping)
    return weights


def query_weights(text: str) -> dict[int, float]:
    """Each term of a question once, with weight 1."""
    return dict.fromkeys(map(term_id, terms(text)), 1.0)


def sentences(text: str) -> list[str]:
    """The sentences of a Markdown passage, without markup of headings, lists and quotes.

    A short code block stays with the sentence before it when that ends with a colon; other code is left out,
    as it says little on its own. A table's rows are sentences, its cells set apart by dashes.
    """
    found: list[str] = []
    for block in _blocks(text.splitlines()):
        if FENCE.match(block[0]):
            code = [line.strip() for line in block[1:] if not FENCE.match(line)]
            if found and found[-1].endswith(":") and 0 < len(code) <= 6:
                found[-1] += " `" + "; ".join(code) + "`"
        elif block[0].lstrip().startswith("|"):
            cells = [cell.strip() for cell in block[0].strip().strip("|").split("|")]
            found += [" – ".join(cells)] if any(terms(cell) for cell in cells) else []
        elif not block[0].lstrip().startswith("#") and not _is_indented_code(block):
            joined = " ".join(line.strip().lstrip("> ") for line in block)
            mark = _LIST_ITEM.match(joined)
            joined = joined[mark.end() :] if mark else joined
            found += [part.strip() for part in map(_unstressed, _SENTENCE_END.split(joined)) if part.strip()]
    return found


def _unstressed(text: str) -> str:
    """The text without the stars of bold type, which mean nothing once it is quoted."""
    return text.replace("**", "")


def _blocks(lines: list[str]) -> list[list[str]]:
    """Lines that belong together: a paragraph, a list item and its continuation, a table row, code."""
    blocks: list[list[str]] = []
    fence = ""
    for line in lines:
        mark = FENCE.match(line)
        if fence:
            blocks[-1].append(line)
            fence = "" if mark and mark.group(1) == fence else fence
        elif mark:
            fence = mark.group(1)
            blocks.append([line])
        elif not line.strip():
            blocks.append([])
        elif not blocks or not blocks[-1] or _starts_block(line) or _ends_block(blocks[-1]):
            blocks.append([line])
        else:
            blocks[-1].append(line)
    return [block for filled, group in groupby(blocks, bool) if filled for block in group]


def _is_indented_code(block: list[str]) -> bool:
    return block[0].startswith("    ") and not _LIST_ITEM.match(block[0])


def _starts_block(line: str) -> bool:
    return bool(_LIST_ITEM.match(line)) or line.lstrip().startswith(("#", "|"))


def _ends_block(block: list[str]) -> bool:
    return block[0].lstrip().startswith(("#", "|")) or bool(FENCE.match(block[0]))
