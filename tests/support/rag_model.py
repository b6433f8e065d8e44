"""A model's part in question answering, for the scripted server: it rewrites, answers and judges by simple rules."""

from __future__ import annotations

import re

from tests.support.fake_openai import RecordedRequest, Reply, json_text, text

NO_ANSWER = "The sources do not answer this question."


def kind_of(request: RecordedRequest) -> str:
    """What a chat request asks for: rewrite, rerank, answer or judge."""
    if request.prompt.startswith("Rank passages"):
        return "rerank"
    if "search queries" in request.prompt:
        return "rewrite"
    return "judge" if request.prompt.startswith("Judge") else "answer"


def play(request: RecordedRequest) -> Reply:
    """Answers with the first passage that shares a long word with the question; judges that as good."""
    if kind_of(request) == "rewrite":
        asked = str(request.body["messages"][-1]["content"])
        return json_text({"queries": [" ".join(_long_words(asked)), f"{asked} handbook"]})
    if kind_of(request) == "judge":
        return json_text({"remarks": "Borne out.", "grounded": 1.0, "complete": 0.9})
    if kind_of(request) == "rerank":
        return json_text({"best": [2, 1]})
    passages, _, question = str(request.body["messages"][-1]["content"]).partition("Question: ")
    for number, passage in re.findall(r"\[(\d+)\] [^\n]*\n(.*?)(?=\n\n\[|\Z)", passages.rstrip(), re.DOTALL):
        if set(_long_words(question)) & set(_long_words(passage)):
            return text(f"{' '.join(passage.split())} [{number}]")
    return text(NO_ANSWER)


def _long_words(words: str) -> list[str]:
    return [word for word in re.findall(r"[a-z]+", words.lower()) if len(word) > 5]
