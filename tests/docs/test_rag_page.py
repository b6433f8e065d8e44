"""docs/rag.md is true: its program prints what stands behind each `print`, and its settings are the defaults."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from activities.chunking import Chunking
from everstep.temporal.devserver import DevServer
from tests.docs.test_guide import PRINTED
from tests.support.pages import ROOT, Page
from tests.support.shell import Shell, plain_environment

PAGE = Page("docs/rag.md")
(PROGRAM,) = PAGE.take("python")
(COMMANDS,) = PAGE.take("bash")


def test_the_program_prints_what_it_says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In process, without a key."""
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "EVERSTEP_EMBEDDINGS"):
        monkeypatch.delenv(variable, raising=False)
    program = ModuleType("rag_page")
    monkeypatch.setitem(sys.modules, "rag_page", program)
    exec(compile(PROGRAM.text, PROGRAM.place, "exec"), program.__dict__)
    assert capsys.readouterr().out.splitlines() == PRINTED.findall(PROGRAM.text)


def test_the_settings_are_those() -> None:
    """Names and defaults of the table."""
    table = dict(re.findall(r"^\| `(\w+_tokens)` \|.*\| (\d+) \|$", PAGE.text, re.MULTILINE))
    assert {name: int(value) for name, value in table.items()} == Chunking().model_dump()


@pytest.mark.slow
def test_the_commands_lead_to_an_answer(dev_server: DevServer, tmp_path: Path) -> None:
    """Indexed with these sizes, asked, and answered from the folder that is named, without a key."""
    for name in ("docs/concepts.md", "docs/decisions/traces.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("worker.py", "starter.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    settings = {"TEMPORAL_ADDRESS": dev_server.address, "TEMPORAL_TASK_QUEUE": "rag-page"}
    with Shell(tmp_path, plain_environment(**settings)) as shell:
        shell.run("python worker.py IndexFlow RagFlow &")
        for command in COMMANDS.lines:
            ran = shell.run(command)
            assert ran.code == 0, f"{command}\n{ran.output}"
        waiting = shell.json("python starter.py inbox", until=lambda told: told["requests"])["requests"]
    (asked,) = [
        one["question"] for one in waiting if one["question"].get("question") == "When does the root span go out?"
    ]
    assert asked["sources"]
    assert all(source["place"].startswith("decisions/") for source in asked["sources"])
