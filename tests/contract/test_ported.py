"""Programs that were written for LlamaIndex Workflows run here with nothing changed but the paths of their imports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier

import pytest

from everstep import use_runtime
from tests.ported import extraction, jokes, research
from tests.support.drivers import Driver
from tests.support.fake_openai import (
    FakeOpenAI,
    RecordedRequest,
    Reply,
    json_text,
    rate_limited,
    server_error,
    text,
)

PORTED = Path(__file__).parents[1] / "ported"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOpenAI]:
    """A model server that the programs find by the usual environment variables."""
    with FakeOpenAI(keep_alive=False) as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.parametrize("name", ["jokes", "research", "extraction"])
def test_only_imports_were_changed(name: str) -> None:
    """The original with `workflows` replaced by `everstep` in its imports is the program that runs here."""
    original = (PORTED / "originals" / f"{name}.py.txt").read_text()
    assert (
        re.sub(r"^from workflows\b", "from everstep", original, flags=re.MULTILINE)
        == (PORTED / f"{name}.py").read_text()
    )


async def test_a_joke_is_improved_until_the_critic_is_content(driver: Driver, model: FakeOpenAI) -> None:
    """A loop with state, progress on the stream, typed start and stop, and retries of a busy model."""
    model.script(
        [
            rate_limited(),
            text("Why did the tide go out?"),
            json_text({"score": 4, "critique": "no point"}),
            text("Because it had been seen."),
            server_error(),
            json_text({"score": 9, "critique": ""}),
        ]
    )
    with use_runtime(await driver.runtime(jokes.JokeFlow)):
        result, progress = await jokes.main("tides")
    assert result == jokes.JokeResult(joke="Because it had been seen.", score=9, rounds=2)
    assert progress == ["round 1: 4", "round 2: 9"]
    prompts = [request.prompt for request in model.requests]
    assert prompts[0] == prompts[1] == "Write a joke about tides."
    assert prompts[3] == "Improve this joke: Why did the tide go out?\nThe critic says: no point"
    assert len(prompts) == 6


async def test_the_best_joke_is_given_when_the_rounds_are_up(driver: Driver, model: FakeOpenAI) -> None:
    """The loop ends by a count that is kept in the state."""
    model.script([text("One."), json_text({"score": 6, "critique": "so"}), text("Two."), json_text({"score": 3})])
    with use_runtime(await driver.runtime(jokes.JokeFlow)):
        result, _ = await jokes.main("tides", max_rounds=2)
    assert result == jokes.JokeResult(joke="One.", score=6, rounds=2)


class ResearchModel:
    """Plans two questions, three if costs are to be minded; answers only when all three are asked side by side."""

    def __init__(self) -> None:
        self.together = Barrier(3)
        self.busy = {"Answer shortly: When?"}

    def __call__(self, request: RecordedRequest) -> Reply:
        prompt = request.prompt
        if prompt.startswith("Plan"):
            return json_text(["Why?", "When?", "How much?"] if "Mind this: the costs" in prompt else ["Why?", "When?"])
        if prompt.startswith("Answer"):
            if prompt in self.busy:
                self.busy.remove(prompt)
                return rate_limited()
            self.together.wait(10)
            return text(f"{prompt.removeprefix('Answer shortly: ')} Now.")
        return text(prompt.partition("\n")[2])


async def test_research_goes_side_by_side_once_a_person_agrees(driver: Driver, model: FakeOpenAI) -> None:
    """A person sends the plan back, then agrees; answers are collected; the report is streamed word by word."""
    driver.at_real_pace()
    model.responder = ResearchModel()
    plans: list[list[str]] = []

    def person(questions: list[str]) -> str:
        plans.append(questions)
        return "yes" if "How much?" in questions else "the costs"

    with use_runtime(await driver.runtime(research.ResearchFlow)):
        result, shown = await research.main("tides", person)
    report = "- Why? Now.\n- When? Now.\n- How much? Now."
    assert result == {"report": report, "answers": 3}
    assert shown == report
    assert plans == [["Why?", "When?"], ["Why?", "When?", "How much?"]]


class ExtractionModel:
    """Reads "key: value" lines; a page without a colon makes it talk instead; knows one correction."""

    def __call__(self, request: RecordedRequest) -> Reply:
        wanted, _, content = request.prompt.partition(": ")
        if wanted.startswith("Correct"):
            return json_text({"total": "120", "customer": "Ann"})
        if ":" not in content:
            return text("This page is hard to read.")
        return json_text(dict(line.split(": ") for line in content.splitlines()))


async def test_a_document_is_corrected_until_a_person_is_content(driver: Driver, model: FakeOpenAI) -> None:
    """A list of pages and its join, a page that fails for good, a step that waits for a person again and again."""
    driver.at_real_pace()
    model.responder = ExtractionModel()
    seen: list[dict[str, str]] = []

    def person(fields: dict[str, str]) -> str | None:
        seen.append(fields)
        return None if fields["total"] == "120" else "the total is after tax"

    pages = ["customer: Ann", "~~~", "total: 100"]
    with use_runtime(await driver.runtime(extraction.ExtractionFlow)):
        result = await extraction.main(pages, person)
    assert result == extraction.ExtractedEvent(
        fields={"total": "120", "customer": "Ann"},
        versions=2,
        corrections=["the total is after tax"],
        unreadable=[2],
    )
    assert seen == [{"customer": "Ann", "total": "100"}, {"total": "120", "customer": "Ann"}]
    asked = [request.prompt for request in model.requests]
    assert sum("~~~" in prompt and prompt.startswith("Give") for prompt in asked) == 2, "it was tried twice"
    assert any(prompt.startswith('Correct {"customer": "Ann", "total": "100"}: the total') for prompt in asked)
