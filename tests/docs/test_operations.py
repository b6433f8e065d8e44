"""docs/operations.md is true: its commands work in a folder that has nothing but the reader's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from everstep.temporal.devserver import stop_dev_server
from tests.support.pages import Page
from tests.support.shell import Shell, plain_environment

PAGE = Page("docs/operations.md")
SECTION = "Outside the checkout"
(SOURCE,), (TYPED,) = PAGE.take("python", SECTION), PAGE.take("bash", SECTION)


@pytest.mark.slow
def test_a_folder_of_one_s_own_is_enough(tmp_path: Path) -> None:
    """A file with a flow, a server, a worker, a run: all by the `everstep` command."""
    (tmp_path / "mine.py").write_text(SOURCE.text)
    serve, work, start, result = TYPED.lines
    try:
        with Shell(tmp_path, plain_environment()) as shell:
            assert shell.run(serve).code == 0
            shell.run(work)
            assert shell.run(start).code == 0
            assert shell.json(result) == result.partition("# ")[2]
    finally:
        stop_dev_server(tmp_path / ".everstep")
