"""docs/semantics.md is held by tests: each line leads to tests that are there, and none of its notes stands alone."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "semantics.md").read_text()
NOTES = re.findall(r"^\[\^([\w-]+)\]: (.+)$", PAGE, re.MULTILINE)


@cache
def functions(path: str) -> set[str]:
    """The names of a test file's functions."""
    tree = ast.parse((TESTS / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_note_stands_once_and_is_used() -> None:
    """A note that is defined twice leads somewhere else than it says."""
    defined = Counter(name for name, _ in NOTES)
    used = set(re.findall(r"\[\^([\w-]+)\](?!:)", PAGE))
    assert [name for name, count in defined.items() if count > 1] == []
    assert used == defined.keys()


def test_each_note_names_tests_that_are_there() -> None:
    """By file and function."""
    named = [found for _, text in NOTES for found in re.findall(r"`([\w/]+\.py)::(\w+)`", text)]
    assert len(named) >= len(NOTES)
    assert [f"{path}::{name}" for path, name in named if name not in functions(path)] == []
