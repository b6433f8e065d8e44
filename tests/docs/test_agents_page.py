"""docs/agents.md is true: its pieces run in their order as one program, and print what stands behind each `print`."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.test_guide import PRINTED, execute

PAGE = Path(__file__).parents[2] / "docs" / "agents.md"
PIECES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


async def test_the_pieces_print_what_they_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In process, with models that are scripted."""
    program = ModuleType("agents_page")
    monkeypatch.setitem(sys.modules, "agents_page", program)
    for piece in PIECES:
        await execute(ast.parse(piece).body, program)
        assert capsys.readouterr().out.splitlines() == PRINTED.findall(piece)
