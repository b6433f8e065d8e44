"""docs/agents.md is true: its pieces run in their order as one program, and print what stands behind each `print`."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import ModuleType

import pytest

from everstep.temporal.devserver import DevServer
from tests.docs.test_guide import PRINTED, execute
from tests.support.desk_model import play
from tests.support.fake_openai import FakeOpenAI
from tests.support.pages import ROOT, Page
from tests.support.shell import Shell, plain_environment

PAGE = Page("docs/agents.md")
PIECES = [block.text for block in PAGE.take("python")]
(COMMANDS,) = PAGE.take("bash")


async def test_the_pieces_print_what_they_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In process, with models that are scripted."""
    program = ModuleType("agents_page")
    monkeypatch.setitem(sys.modules, "agents_page", program)
    monkeypatch.setenv("OPENAI_API_KEY", "for a model that is not asked")
    for piece in PIECES:
        await execute(ast.parse(piece).body, program)
        assert capsys.readouterr().out.splitlines() == PRINTED.findall(piece)


@pytest.mark.slow
def test_the_desk_answers_in_a_shell(dev_server: DevServer, tmp_path: Path) -> None:
    """Triage hands over to billing, which looks the order up; the second command shows it until the end."""
    for name in ("worker.py", "starter.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    settings = {"TEMPORAL_ADDRESS": dev_server.address, "TEMPORAL_TASK_QUEUE": "agents-page"}
    with (
        FakeOpenAI(play, keep_alive=False) as model,
        Shell(tmp_path, plain_environment(**settings, **model.env)) as shell,
    ):
        work, run = COMMANDS.lines
        shell.run(work)
        ran = shell.run(run)
    assert ran.code == 0, ran.output
    assert "Here is what came of it: " in ran.output
