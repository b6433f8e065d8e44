"""docs/rag.md is true: its program prints what stands behind each `print`, and its settings are the defaults."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest

from activities.chunking import Chunking
from tests.docs.test_guide import PRINTED
from tests.support.pages import Page

PAGE = Page("docs/rag.md")
(PROGRAM,) = PAGE.take("python")


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
