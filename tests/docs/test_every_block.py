"""All code of the documentation is run by a test, or says above it why it is not."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.support.pages import DATA, ROOT, Page, pages

TESTS = ROOT / "tests"
PAGES = pages()


@pytest.fixture(scope="module", autouse=True)
def _all_have_taken() -> None:
    """Blocks are taken where test modules are imported."""
    for file in sorted(TESTS.rglob("test_*.py")):
        if "tests.support.pages import" in file.read_text():
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))


def test_all_code_is_run_or_says_why_not() -> None:
    """What fails here: take the block in a test (`tests/support/pages.py`), or give the reason above it."""
    code = [block for page in PAGES for block in page.blocks if block.language not in DATA]
    assert [block.place for block in code if not block.taken and block.not_run is None] == []
    assert len([block for block in code if block.taken]) > 50


def test_blocks_have_the_form_that_is_read() -> None:
    """A language, perhaps a title, and no code by mere indentation, which no test would see."""
    assert [fault for page in PAGES for fault in page.faults] == []


A_PAGE = """\
# A

## One

```python
print()
```

<!-- not run: it costs money -->
```bash
pay
```

```python title="a.py"
1
```

```python file=b.py
2
```

- item

    of the item

Text:

    code
"""


def test_a_block_that_nobody_runs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of pages sees fences, titles, reasons, and what is out of form."""
    monkeypatch.setattr("tests.support.pages.ROOT", tmp_path)
    (tmp_path / "a.md").write_text(A_PAGE)
    page = Page("a.md")
    first, second, third = page.blocks
    assert (first.place, first.section, first.text, first.taken) == ("a.md:5", "One", "print()\n", False)
    assert (second.not_run, third.title) == ("it costs money", "a.py")
    assert [fault.split(" ")[0] for fault in page.faults] == ["a.md:18:", "a.md:28:"]
