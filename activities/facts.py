"""What can be checked of a sentence without understanding it: its numbers, its names, and what it denies.

Rule: words and patterns only. A difference that is found here is one; that none is found proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

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

_DENIALS = frozenset({"not", "never", "cannot", "neither", "nor", "without", "hardly"})
_NONE = frozenset({"no", "none", "nobody", "nothing", "nowhere"})
"""They deny the word before them too: "it asks nobody" denies the asking."""
_REACH = 3
"""How many words of content a denial covers."""
_STOPS = frozenset(".,;:!?–—()")

_OPPOSITES = [
    tuple(re.compile(rf"\b(?:{side})\b", re.IGNORECASE) for side in pair)
    for pair in (
        ("before", "after"),
        ("always", "never"),
        ("at most", "at least"),
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


def stems(text: str) -> set[str]:
    """The stems of a text's terms."""
    return {stem(term) for term in terms(text)}


def denials(text: str) -> dict[str, set[bool]]:
    """For each stem of a text whether it is denied, where it stands: `{False}`, `{True}`, or both.

    Example:
        denials("nobody approves refunds")["approv"] == {True}
    """
    said: dict[str, set[bool]] = {}
    words = [word.lower().replace("’", "'") for word in _WORDS.findall(text)]
    before: list[str] = []
    reach = 0
    for at, word in enumerate(words):
        if word in _STOPS:
            before, reach = [], 0
        elif _denies(word) and not _is_a_bound(words[at + 1 : at + 3]):
            reach = _REACH
            if word in _NONE:
                for one in before:
                    said[one].discard(False)
                    said[one].add(True)
        else:
            found = [stem(term) for term in terms(word)]
            for one in found:
                said.setdefault(one, set()).add(reach > 0)
            if found:
                before, reach = found, reach - 1
    return said


def denied_otherwise(claim: str, source: str) -> bool:
    """Whether one of two texts on the same matter denies what the other says."""
    ours, theirs = denials(claim), denials(source)
    shared = ours.keys() & theirs.keys()
    apart = [one for one in shared if not ours[one] & theirs[one]]
    alike = [one for one in shared if True in ours[one] & theirs[one]]
    return len(apart) > len(alike)


def opposite_words(claim: str, source: str) -> tuple[str, str] | None:
    """A word of the claim whose opposite stands in the source in its place, and that opposite."""
    for one, other in _OPPOSITES:
        for ours, theirs in ((one, other), (other, one)):
            said, found = ours.search(claim), theirs.search(source)
            if said and found and not theirs.search(claim) and not ours.search(source):
                return said.group().lower(), found.group().lower()
    return None


def listed(found: Iterable[str]) -> str:
    """Names or numbers for people, in a fixed order."""
    return ", ".join(sorted(found))


def _plain(number: str) -> str:
    number = number.replace(",", "")
    return number.rstrip("0").rstrip(".") if "." in number else number


def _denies(word: str) -> bool:
    return word in _DENIALS or word in _NONE or word.endswith("n't")


def _is_a_bound(following: list[str]) -> bool:
    """ "no more than", "not only": they deny nothing."""
    return following[:1] == ["only"] or following[1:2] == ["than"]
