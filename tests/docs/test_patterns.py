"""docs/patterns/ is true: the program of each page runs as it stands, and prints what stands behind each `print`."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from temporalio.client import Client

from everstep import Workflow, use_runtime
from everstep.agent.testing import ScriptedModel
from everstep.temporal import TemporalRuntime, serving
from everstep.temporal.devserver import DevServer
from tests.docs.test_guide import PRINTED
from tests.support.pages import Block, Page
from tests.support.shell import Shell, plain_environment

PROGRAMS = [
    Page(f"docs/patterns/{name}.md").take("python")[0]
    for name in ("query-rewriting", "multi-strategy-rag", "extraction-loop", "tools-with-approval", "agents")
]
COMMANDS = Page("docs/patterns/tools-with-approval.md").take("bash")[0]
NAMES = [block.page.rpartition("/")[2] for block in PROGRAMS]
SAID = re.compile(rf"{PRINTED.pattern}|^ +# (.+)$", re.MULTILINE)
"""What a `print` in a loop prints stands in the lines below it."""


@pytest.fixture
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program of a page, as a module."""
    block: Block = request.param
    module = ModuleType("pattern")
    monkeypatch.setitem(sys.modules, "pattern", module)
    exec(compile(block.text, block.place, "exec"), module.__dict__)
    said = [line for found in SAID.finditer(block.text) for line in found.groups() if line]
    assert said
    vars(module)["said"] = sorted(said)
    return module


@pytest.mark.parametrize("program", PROGRAMS, ids=NAMES, indirect=True)
async def test_the_program_prints_what_it_says(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """In process, with a model that is scripted."""
    await program.main()
    assert sorted(capsys.readouterr().out.splitlines()) == program.said


@pytest.mark.parametrize("program", PROGRAMS[1:2], ids=NAMES[1:2], indirect=True)
async def test_a_verdict_off_the_scale_is_asked_for_again(program: ModuleType) -> None:
    """A model that gives a 7 has miswritten; the strategy is judged all the same."""
    names = vars(program)
    play, misread = names["play"], list[Any]()

    def off_the_scale(messages: Sequence[Any]) -> Any:
        said = play(messages)
        if isinstance(said, names["Verdict"]) and len(misread) < 2:
            misread.append(said)
            return '{"grounded": 7, "complete": 1}'
        return said

    names["play"] = off_the_scale
    best = await names["Answer"]().run(question="How long does a refund take?")
    assert len(misread) == 2
    assert best.scores == {"archive": 0.0, "meaning": 0.5, "words": 1.0}


@pytest.mark.parametrize("program", PROGRAMS[2:3], ids=NAMES[2:3], indirect=True)
async def test_a_person_writes_what_never_was_json(program: ModuleType) -> None:
    """Where a model never keeps to JSON, the person begins with nothing, and the run goes on."""
    names = vars(program)
    names["ScriptedModel"] = lambda *_: ScriptedModel(*["It is number 17."] * 3)
    handler = names["Extract"]().run(text="Invoice")
    async for event in handler.stream_events():
        if isinstance(event, names["AskPerson"]):
            assert (event.record, "JSON" in event.faults[0]) == ({}, True)
            await handler.respond({"fields": {"number": "A-0017", "items": [7], "total": 7}}, by="bea")
    assert (await handler).invoice.total == 7


@pytest.mark.parametrize("program", PROGRAMS, ids=NAMES, indirect=True)
async def test_it_prints_the_same_on_temporal(
    program: ModuleType, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a worker, and nothing else changed."""
    flows = [each for each in vars(program).values() if isinstance(each, type) and issubclass(each, Workflow)]
    flows = [flow for flow in flows if flow.__module__ == program.__name__]
    async with serving(client, flows, task_queue="patterns"):
        with use_runtime(TemporalRuntime(client, task_queue="patterns")):
            await program.main()
    assert sorted(capsys.readouterr().out.splitlines()) == program.said


@pytest.mark.slow
def test_tools_are_approved_from_a_shell(dev_server: DevServer, tmp_path: Path) -> None:
    """The commands of the page: one call is rejected, the next is changed, and the model has the last word."""
    (tmp_path / "desk.py").write_text(PROGRAMS[NAMES.index("tools-with-approval.md")].text)
    settings = {"TEMPORAL_ADDRESS": dev_server.address, "TEMPORAL_TASK_QUEUE": "approval-page"}
    with Shell(tmp_path, plain_environment(**settings)) as shell:
        *commands, result = COMMANDS.lines
        for command in commands:
            ran = shell.run(command)
            assert ran.code == 0, f"{command}\n{ran.output}"
        assert shell.json(result)["response"]["content"] == "A-2 is paid back in full, A-1 in part."
