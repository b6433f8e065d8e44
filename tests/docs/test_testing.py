"""docs/testing.md is true: its files, put together and run by pytest as a reader would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.pages import Page

PIECES = Page("docs/testing.md").take("python")


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    """In a folder of their own, with nothing but what the page says."""
    for piece in PIECES:
        assert piece.title
        with (tmp_path / piece.title).open("a") as file:
            file.write(f"{piece.text}\n")
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--asyncio-mode=auto", "--rootdir=."]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tests = sum(piece.text.count("async def test_") for piece in PIECES)
    assert f"{tests + 2} passed" in done.stdout, done.stdout  # one of them runs three times
    assert tests > 5
