"""State paths: what `change` commits, whatever the state has become meanwhile."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everstep.engine import paths


@pytest.mark.parametrize(
    ("state", "operation", "after"),
    [
        ({}, ["set", "a.b", 1], {"a": {"b": 1}}),
        ({"a": [1, 2]}, ["set", "a.1", 5], {"a": [1, 5]}),
        ({"a": [1]}, ["set", "a.7", 5], {"a": [1, 5]}),
        ({"a": [{"b": 3}]}, ["set", "a.0.b.c", 5], {"a": [{"b": {"c": 5}}]}),
        ({"a": [1]}, ["set", "a.x", 5], {"a": {"x": 5}}),
        ({"a": [1]}, ["set", "a.²", 5], {"a": {"²": 5}}),
        ({"a": "text"}, ["set", "a.b", 5], {"a": {"b": 5}}),
        ({"a": {"b": 1, "c": 2}}, ["delete", "a.b"], {"a": {"c": 2}}),
        ({"a": [1, 2]}, ["delete", "a.0"], {"a": [2]}),
        ({"a": 1}, ["delete", "a.b.c"], {"a": 1}),
        ({"a": None}, ["delete", "a"], {}),
    ],
)
def test_change(state: Any, operation: list[Any], after: Any) -> None:
    """A change replaces what bars its way and nothing more; a deletion of what is gone does nothing."""
    before = paths.size(state)
    grown = paths.change(state, operation)
    assert state == after
    assert paths.size(state) == before + grown


def test_change_leaves_the_recorded_operation_alone() -> None:
    """A later change inside a value does not reach into the outcome that set it."""
    first = ["set", "a", {"n": 1}]
    state: dict[str, Any] = {}
    paths.change(state, first)
    paths.change(state, ["set", "a.n", 2])
    assert first == ["set", "a", {"n": 1}]


@pytest.mark.parametrize(
    "operation", [None, "set", [], ["set", "a"], ["set", 1, 2], ["set", "a..b", 1], ["add", "a", 1]]
)
def test_problem(operation: Any) -> None:
    """What is no change is told apart."""
    assert paths.problem(operation)


KEYS = st.sampled_from(["a", "b", "0", "1", 'é"', "³"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
PATHS = st.lists(KEYS, min_size=1, max_size=4).map(".".join)
CHANGES = st.tuples(st.just("set"), PATHS, VALUES) | st.tuples(st.just("delete"), PATHS)


@given(state=st.dictionaries(KEYS, VALUES, max_size=3), changes=st.lists(CHANGES, max_size=8))
def test_any_changes_keep_the_size_exact(state: dict[str, Any], changes: list[Any]) -> None:
    """No change raises, a set value is there afterwards, and the size is followed without measuring the whole."""
    state = copy.deepcopy(state)
    size = paths.size(state)
    for operation in changes:
        assert paths.problem(operation) is None
        size += paths.change(state, operation)
        assert size == len(json.dumps(state, separators=(",", ":"), ensure_ascii=False))
        indexed = any(part.isdecimal() for part in operation[1].split("."))  # may have gone to the end of a list
        if operation[0] == "set" and not indexed:
            assert paths.read(state, operation[1]) == operation[2]
