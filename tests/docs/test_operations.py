"""docs/operations.md is true: its commands work in a folder that has nothing but the reader's file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from everstep.temporal.devserver import stop_dev_server
from tests.support.shell import Shell, plain_environment

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


@pytest.mark.slow
def test_a_folder_of_one_s_own_is_enough(tmp_path: Path) -> None:
    """A file with a flow, a server, a worker, a run: all by the `everstep` command."""
    section = PAGE.split("\n## Outside the checkout\n", 1)[1].split("\n## ", 1)[0]
    source, typed = (
        re.findall(rf"^```{kind}\n(.*?)^```", section, re.MULTILINE | re.DOTALL) for kind in ("python", "bash")
    )
    (tmp_path / "mine.py").write_text(source[0])
    serve, work, start, result = typed[0].splitlines()
    try:
        with Shell(tmp_path, plain_environment()) as shell:
            assert shell.run(serve).code == 0
            shell.run(work)
            assert shell.run(start).code == 0
            assert shell.json(result) == result.partition("# ")[2]
    finally:
        stop_dev_server(tmp_path / ".everstep")
