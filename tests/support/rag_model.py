"""A model's part in question answering, for the scripted server: it rewrites, answers and judges by simple rules."""

from __future__ import annotations

import re

from tests.support.fake_openai import RecordedRequest, Reply, json_text, text

NO_ANSWER = "The sources do not answer this question."


def kind_of(request: RecordedRequest) -> str:
    """What a chat request asks for: rewrite, rerank, answer, judge or compare."""
    if request.prompt.startswith("Rank passages"):
        return "rerank"
    if "search queries" in request.prompt:
        return "rewrite"
    if request.prompt.startswith("Compare answers"):
        return "compare"
    return "judge" if request.prompt.startswith("Judge") else "answer"


def play(request: RecordedRequest) -> Reply:
    """Answers with the first passage that shares a long word with the question; judges that as good."""
    if kind_of(request) == "rewrite":
        asked = str(request.body["messages"][-1]["content"])
        return json_text({"queries": [" ".join(_long_words(asked)), f"{asked} handbook"]})
    if kind_of(request) == "judge":
        return verdict(request)
    if kind_of(request) == "compare":
        return json_text({"contradictions": []})
    if kind_of(request) == "rerank":
        return json_text({"best": [2, 1]})
    passages, _, question = str(request.body["messages"][-1]["content"]).partition("Question: ")
    for number, passage in re.findall(r"\[(\d+)\] [^\n]*\n(.*?)(?=\n\n\[|\Z)", passages.rstrip(), re.DOTALL):
        if set(_long_words(question)) & set(_long_words(passage)):
            return text(f"{' '.join(passage.split())} [{number}]")
    return text(NO_ANSWER)


def verdict(request: RecordedRequest, *, supported: bool = True, covered: float = 0.9) -> Reply:
    """A judge's word on all statements and parts that it is shown, with the statements themselves as quotes."""
    asked = str(request.body["messages"][-1]["content"])
    parts, _, statements = asked.partition("Parts of the question:\n")[2].partition("\n\nStatements of the answer:\n")
    judged = [
        {
            "number": int(number),
            "supported": supported,
            "passage": 0,
            "quote": text,
            "why": "" if supported else "made up",
        }
        for number, text in re.findall(r"^(\d+)\. (.*)$", statements, re.MULTILINE)
    ]
    covers = [{"number": int(number), "covered": covered} for number in re.findall(r"^(\d+)\. ", parts, re.MULTILINE)]
    return json_text({"statements": judged, "parts": covers, "remarks": "Borne out." if supported else "Made up."})


def _long_words(words: str) -> list[str]:
    return [word for word in re.findall(r"[a-z]+", words.lower()) if len(word) > 5]
