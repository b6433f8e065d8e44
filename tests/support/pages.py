"""The pages of the documentation, and which of their code is run.

A test module takes the blocks that it runs, at its top, so that `tests/docs/test_every_block.py` knows of them:

    PAGE = Page("docs/guide.md")
    PIECES = PAGE.take("python")

Code that no test runs says why, for all to see, in the line above its block: `<!-- not run: it needs a key -->`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = {"text", "json", "mermaid", "toml", "yaml"}
"""What is shown and not run; every other language is code."""

_FENCE = re.compile(r'^```(?P<language>[a-z]+)(?: title="(?P<title>[^"]+)")?$')
_NOT_RUN = re.compile(r"^<!-- not run: (\S.*) -->$")
_taken: set[tuple[str, int]] = set()


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: where it stands, what it is, and why no test runs it, if it says so.

    `section` is the second-level heading above it, `title` what its first line names, such as a file.
    """

    page: str
    line: int
    section: str
    language: str
    title: str | None
    not_run: str | None
    text: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page}:{self.line}"

    @property
    def taken(self) -> bool:
        """Whether a test module that is imported runs it."""
        return (self.page, self.line) in _taken

    @property
    def lines(self) -> list[str]:
        """Its lines that are not empty, such as the commands of a shell."""
        return [line for line in self.text.splitlines() if line.strip()]


class Page:
    """A page of the documentation.

    Args:
        path: from the root of the repository.

    Attributes:
        faults: what is wrong with the form of its blocks, a line each.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.text = (ROOT / path).read_text()
        self.faults: list[str] = []
        self.blocks = self._read()

    def take(self, language: str, section: str | None = None, title: str | None = None) -> list[Block]:
        """The blocks of a language, of one section or with one title if these are given, for a test that runs them."""
        found = [
            block
            for block in self.blocks
            if block.language == language and section in (None, block.section) and title in (None, block.title)
        ]
        found = [block for block in found if block.not_run is None]
        where = "".join(f", {kind} {name!r}" for kind, name in (("section", section), ("title", title)) if name)
        assert found, f"{self.path} has no {language} to run{where}: take what is there, or bring it back"
        _taken.update((block.page, block.line) for block in found)
        return found

    def section(self, name: str) -> str:
        """The text below a second-level heading."""
        return self.text.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]

    def _read(self) -> list[Block]:
        blocks: list[Block] = []
        lines = self.text.splitlines()
        section, number = "", 0
        while number < len(lines):
            line = lines[number]
            if line.startswith("## "):
                section = line.removeprefix("## ")
            elif line.startswith("```"):
                end = next((n for n in range(number + 1, len(lines)) if lines[n] == "```"), len(lines))
                block = self._block(lines, number, end, section)
                if block is not None:
                    blocks.append(block)
                number = end
            elif _indented_code(lines, number):
                self.faults.append(f"{self.path}:{number + 1}: code by indentation; put it into a fence")
            number += 1
        return blocks

    def _block(self, lines: list[str], number: int, end: int, section: str) -> Block | None:
        opened = _FENCE.match(lines[number])
        if opened is None:
            self.faults.append(f'{self.path}:{number + 1}: begin it with ```language, or ```language title="…"')
            return None
        reason = _NOT_RUN.match(lines[number - 1]) if number else None
        text = "".join(f"{line}\n" for line in lines[number + 1 : end])
        not_run = reason[1] if reason else None
        return Block(self.path, number + 1, section, opened["language"], opened["title"], not_run, text)


def _indented_code(lines: list[str], number: int) -> bool:
    """Whether code begins in this line by mere indentation; within lists and notes that is no code."""
    if not lines[number].startswith("    ") or not number or lines[number - 1].strip():
        return False
    above = next((line for line in reversed(lines[:number]) if line.strip() and not line.startswith("  ")), "")
    return re.match(r"([-*]|\d+\.) |\[\^", above) is None


def pages() -> list[Page]:
    """All pages: those of `docs/`, and the README and CONTRIBUTING of the repository."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [Page(str(path.relative_to(ROOT))) for path in paths]
