"""docs/patterns/ is true: the program of each page runs as it stands, and prints what stands behind each `print`."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest

from tests.docs.test_guide import PRINTED
from tests.support.pages import Block, Page

PROGRAMS = [
    Page(f"docs/patterns/{name}.md").take("python")[0]
    for name in ("query-rewriting", "multi-strategy-rag", "extraction-loop", "tools-with-approval", "agents")
]
_ALONE = re.compile(r"^ +# (.+)$", re.MULTILINE)
"""What a `print` in a loop prints stands in the lines below it."""


@pytest.mark.parametrize("block", PROGRAMS, ids=[block.page.rpartition("/")[2] for block in PROGRAMS])
async def test_the_program_prints_what_it_says(
    block: Block, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In process, with a model that is scripted."""
    program = ModuleType("pattern")
    monkeypatch.setitem(sys.modules, "pattern", program)
    exec(compile(block.text, block.place, "exec"), program.__dict__)
    await program.main()
    said = [
        line
        for found in re.finditer(rf"{PRINTED.pattern}|{_ALONE.pattern}", block.text, re.M)
        for line in found.groups()
        if line
    ]
    assert said
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(said)
