"""What can be checked of a sentence without understanding it: its numbers, its names, and what it denies.

Rule: words and patterns only. A difference that is found here is one; that none is found proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from functools import lru_cache
from typing import NamedTuple

from activities.text import terms

_NUMERAL = re.compile(r"(?<![\w.\-/])\d+(?:,\d{3})*(?:\.\d+)?")
_WORDS = re.compile(r"[\w'’-]+|[.,;:!?–—()]")
_QUOTED = re.compile(r"`([^`]+)`")
_NAME_IN_CODE = re.compile(r"[A-Za-z_][\w.\-/:]*\w")
_NAME = re.compile(
    r"\b(?:\w+_\w+|[A-Za-z]+\.[a-z_]+(?:\.\w+)*|[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*|[A-Z]{2,}\w*|[A-Za-z]+-\d+)\b"
)
_PROPER = re.compile(r"(?<=[a-z,;:)] )[A-Z][a-z]{2,}\b")
_ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen""".split()  # noqa: SIM905 - a list of words reads better
_WORD_NUMBERS = {word: str(number) for number, word in enumerate(_ONES) if word != "one"}  # "one" is rarely a number
_WORD_NUMBERS |= {"twenty": "20", "thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000"}
_WORD_NUMBERS |= {"dozen": "12", "twice": "2", "half": "0.5"}

_VERB = 3
_DENIALS = {
    "not": _VERB,
    "never": _VERB,
    "cannot": _VERB,
    "neither": 2,
    "nor": 2,
    "hardly": 2,
    "without": 1,
    "unless": 1,
}
"""Words that deny, and how many words of content behind them they cover."""
_NONE = {"no": 2, "none": 2, "nobody": 2, "nothing": 2, "nowhere": 2}
"""They deny the word before them too: "it asks nobody" denies the asking."""
_STOPS = frozenset([*".,;:!?–—()", "but", "while", "because", "whereas"])

_OPPOSITES = [
    tuple(re.compile(rf"\b(?:{side})\b", re.IGNORECASE) for side in pair)
    for pair in (
        ("before", "after"),
        ("always", "never"),
        ("at most|up to|no more than", "at least|no less than"),
        ("more|longer|larger|higher|newer|faster", "less|fewer|shorter|smaller|lower|older|slower"),
        ("first|earliest|oldest", "last|latest|newest"),
        ("with", "without"),
        ("minimum", "maximum"),
        ("above", "below"),
        ("all|every|each", "none|no"),
        ("inside|within", "outside"),
        ("enabled?|on by default", "disabled?|off by default"),
        ("accept(?:s|ed)?|allow(?:s|ed)?", "refuse[sd]?|reject(?:s|ed)?|forbid(?:s|den)?"),
        ("keep|keeps|kept", "los(?:t|es?)|drop(?:s|ped)?|discard(?:s|ed)?"),
        ("succeeds?|succeeded", "fail(?:s|ed)?"),
        ("same", "different|another"),
        ("required|needed|must", "optional"),
        ("local(?:ly)?", "remote(?:ly)?"),
    )
]
_ENDINGS = ("ation", "ings", "ing", "ied", "ies", "ion", "ed", "es", "ly", "al", "er", "s", "e")


def numbers(text: str) -> set[str]:
    """The numbers of a text in one form, whether in digits or words; `1,900` is `1900`, `50.00` is `50`.

    Example:
        numbers("three of 1,900 steps") == {"3", "1900"}
    """
    found = {_plain(match) for match in _NUMERAL.findall(text)}
    return found | {_WORD_NUMBERS[word] for word in re.findall(r"[a-z]+", text.lower()) if word in _WORD_NUMBERS}


def names(text: str) -> set[str]:
    """The names of a text in lower case: what is in backticks, identifiers, and capitalised words within a sentence.

    Example:
        names("Temporal keeps `EVERSTEP_VECTORS` for Phoenix") == {"everstep_vectors", "phoenix"}
    """
    in_code = [name for code in _QUOTED.findall(text) for name in _NAME_IN_CODE.findall(code)]
    return {name.lower() for name in (*in_code, *_NAME.findall(text), *_PROPER.findall(text))}


def stem(term: str) -> str:
    """A term without its ending, so that "waits", "waited" and "waiting" are one; for comparing, never for indexes."""
    for ending in _ENDINGS:
        if len(term) - len(ending) >= 3 and term.endswith(ending):
            return term[: -len(ending)]
    return term


@lru_cache(maxsize=4096)
def stems(text: str) -> frozenset[str]:
    """The stems of a text's terms."""
    return frozenset(stem(term) for term in terms(text))


class Denial(NamedTuple):
    """A word that denies: the stems that it covers, and whether it denies a verb ("does not") or a thing ("no")."""

    covers: set[str]
    of_a_verb: bool


class Denials(NamedTuple):
    """What a text says and denies: for each stem whether it stands denied, not, or both; and each word that denies."""

    said: dict[str, set[bool]]
    each: list[Denial]


def denials(text: str) -> Denials:
    """What a text denies.

    Example:
        denials("nobody approves refunds, they wait").each == [Denial({"approv", "refund"}, of_a_verb=False)]
    """
    found = Denials({}, [])
    words = [word.lower().replace("’", "'") for word in _WORDS.findall(text)]
    before: list[str] = []
    reach = 0
    for at, word in enumerate(words):
        if word in _STOPS:
            before, reach = [], 0
        elif _reach(word) and not _is_a_bound(words[at + 1 : at + 3]):
            reach = _reach(word)
            found.each.append(Denial(set(before) if word in _NONE else set(), of_a_verb=reach == _VERB))
        elif stemmed := [stem(term) for term in terms(word)]:
            for one in stemmed:
                found.said.setdefault(one, set()).add(reach > 0)
            if reach:
                found.each[-1].covers.update(stemmed)
            before, reach = stemmed, max(reach - 1, 0)
    for one in found.each:
        for word in one.covers:
            found.said.setdefault(word, set()).add(True)
    return found


def denied_otherwise(claim: str, source: str) -> bool:
    """Whether a claim denies what a source on the same matter says, or says what that denies.

    A source denies many things beside the matter ("runs without an id …"), so that only its verbs are looked at.
    """
    ours, theirs = denials(claim), denials(source)
    if any(2 * len(_affirmed(theirs, one)) >= len(one.covers) > 0 for one in ours.each if _affirmed(theirs, one)):
        return True
    return any(2 * len(_affirmed(ours, one)) > len(one.covers) for one in theirs.each if one.of_a_verb)


def _affirmed(found: Denials, denial: Denial) -> set[str]:
    """What a text says of that which another one denies; nothing if it denies as much of it."""
    said = {word for word in denial.covers if word in found.said}
    affirmed = {word for word in said if True not in found.said[word]}
    return affirmed if 2 * len(affirmed) > len(said) else set()


def opposite_words(claim: str, source: str) -> tuple[str, str] | None:
    """A word of the claim whose opposite stands in the source in its place, and that opposite."""
    for one, other in _OPPOSITES:
        for ours, theirs in ((one, other), (other, one)):
            said, found = ours.search(claim), theirs.search(source)
            if said and found and not theirs.search(claim) and not ours.search(source):
                return said.group().lower(), found.group().lower()
    return None


def shared_words(text: str, held: Set[str]) -> float:
    """The share of a text's words that are held, 0 to 1; a name of several parts is one word.

    Args:
        text: Whose words count.
        held: Stems, as `stems` gives them.
    """
    words = [found for word in text.split() if (found := stems(word))]
    return sum(not found.isdisjoint(held) for found in words) / len(words) if words else 0.0


def listed(found: Iterable[str]) -> str:
    """Names or numbers for people, in a fixed order."""
    return ", ".join(sorted(found))


def _plain(number: str) -> str:
    number = number.replace(",", "")
    return number.rstrip("0").rstrip(".") if "." in number else number


def _reach(word: str) -> int:
    """How many words of content a word denies; 0 for one that denies nothing."""
    return _DENIALS.get(word) or _NONE.get(word) or (_VERB if word.endswith("n't") else 0)


def _is_a_bound(following: list[str]) -> bool:
    """ "no more than", "not only": they deny nothing."""
    return following[:1] == ["only"] or following[1:2] == ["than"]
