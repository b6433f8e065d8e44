"""docs/testing.md is true: its files, put together and run by pytest as a reader would."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
PIECES = re.findall(r"^```python file=(\S+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    """In a folder of their own, with nothing but what the page says."""
    for name, text in PIECES:
        with (tmp_path / name).open("a") as file:
            file.write(text + "\n")
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--asyncio-mode=auto", "--rootdir=."]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tests = sum(text.count("async def test_") for _, text in PIECES)
    assert f"{tests + 2} passed" in done.stdout, done.stdout  # one of them runs three times
    assert tests > 5
