"""docs/agents.md is true: its pieces run in their order as one program, and print what stands behind each `print`."""

from __future__ import annotations

import ast
import sys
from types import ModuleType

import pytest

from tests.docs.test_guide import PRINTED, execute
from tests.support.pages import Page

PIECES = [block.text for block in Page("docs/agents.md").take("python")]


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
