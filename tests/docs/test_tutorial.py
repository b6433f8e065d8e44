"""docs/tutorial.md is true: its files and commands, in their order, in an empty folder, typed into a shell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from everstep.temporal.devserver import stop_dev_server
from tests.support.pages import Block, Page
from tests.support.shell import Shell, plain_environment

PAGE = Page("docs/tutorial.md")
for language in ("python", "bash", "text"):
    PAGE.take(language)
FIRST, PROCESS, PERSON, SERVER, KILL, TEST, END = (
    [block for block in PAGE.blocks if block.section.startswith(f"{number}. ") and block.not_run is None]
    for number in range(2, 9)
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Empty; what is started there ends with the test."""
    yield tmp_path
    stop_dev_server(tmp_path / ".everstep")


def follow(shell: Shell, folder: Path, blocks: list[Block]) -> str:
    """Write the files and type the commands of a section; gives all that these print.

    What stands behind a command, `command  # one, two`, stands at the end of what it prints.
    """
    printed: list[str] = []
    for block in blocks:
        if block.language in ("python", "text"):
            assert block.title
            (folder / block.title).write_text(block.text)
            continue
        for line in block.lines:
            command, _, expected = line.partition("  # ")
            ran = shell.run(command)
            assert ran.code == 0, f"{line}\n{ran.output}\n{(folder / 'stderr.log').read_text()}"
            printed.append(ran.output)
            if expected:
                assert ", ".join(ran.output.split("\n")).rstrip(", ").partition(" in ")[0].endswith(expected), (
                    ran.output
                )
    return "\n".join(printed)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_whole_of_it(folder: Path) -> None:
    """Processes, a server, two kills, a payment that is made once, tests of it."""
    with Shell(folder, plain_environment()) as shell:
        for blocks in (FIRST, PROCESS, PERSON):
            follow(shell, folder, blocks)
        assert "<svg" in (folder / "refund.html").read_text()

        told = follow(shell, folder, SERVER)
        assert "support-lead" in told
        assert '"status": "waiting"' in told  # the worker is dead by then

        told = follow(shell, folder, KILL)
        assert '"status": "paid"' in told
        assert (folder / "asked.log").read_text() == "asked to pay 12000 for A-1001\n" * 2
        (payment,) = (folder / "payments").iterdir()
        assert payment.name in told
        assert re.search(r"payments?", payment.parent.name)

        follow(shell, folder, TEST)
        follow(shell, folder, END)
