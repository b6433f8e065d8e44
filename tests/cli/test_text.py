"""Fields from the command line, and text for people."""

from pathlib import Path

import pytest

from everstep.cli.text import InputError, answer_command, by_fields, clean, nearly_json, parse_fields, seconds_of, span


def test_values_are_json_where_they_parse_and_text_else() -> None:
    """`n=3` is a number, `x=3a` and `x=NaN` are text."""
    assert parse_fields(["n=3", "b=true", "t=3a", "nan=NaN", "o={\"a\": [1]}", "e="]) == {
        "n": 3, "b": True, "t": "3a", "nan": "NaN", "o": {"a": [1]}, "e": "",
    }  # fmt: skip


def test_a_value_that_is_nearly_json_is_told() -> None:
    """A list that lost its quotes to the shell is text, and a line says so; of other values nothing is said."""
    assert nearly_json(["n=[1]", "o={}", "t=tea [two]", "x"]) == []
    (line,) = nearly_json(["urls=[a, b]", "n=3"])
    assert line.startswith("urls is taken as text: '[a, b]'")


def test_dots_nest_and_values_may_have_equals_signs() -> None:
    """`user.name=Ann` sets a field of an object; only the first equals sign parts."""
    assert parse_fields(["user.name=Ann", "user.age=3", "q=a=b"]) == {"user": {"name": "Ann", "age": 3}, "q": "a=b"}


def test_fields_stand_on_top_of_an_object_from_a_file(tmp_path: Path) -> None:
    """`@file` is read, and key=value overrides it."""
    (tmp_path / "in.json").write_text('{"a": 1, "b": {"c": 2}}')
    assert parse_fields(["b.d=3"], f"@{tmp_path / 'in.json'}") == {"a": 1, "b": {"c": 2, "d": 3}}


@pytest.mark.parametrize(
    ("pairs", "given", "says"),
    [
        (["word"], None, "key=value"),
        (["=x"], None, "key=value"),
        (["a..b=1"], None, "empty part"),
        (["a=1", "a.b=2"], None, "no object"),
        ([], "[1]", "one JSON object"),
        ([], "{", "is not JSON"),
        ([], "@/no/such/file", "cannot be read"),
    ],
)
def test_what_is_no_input_is_refused(pairs: list[str], given: str | None, says: str) -> None:
    """Each refusal says what is wrong with it."""
    with pytest.raises(InputError, match=says):
        parse_fields(pairs, given)


def test_an_answer_command_has_an_example_for_each_needed_field() -> None:
    """The command can be copied and run; the request is named only where it must be."""
    schema = {"properties": {"ok": {"type": "boolean"}, "n": {"type": "integer"}}, "required": ["ok", "n"]}
    request = {"id": "ask-1", "answer_schemas": {"Answer": schema}}
    assert answer_command("everstep", "my run", request, name_it=False) == "everstep respond 'my run' ok=true n=1"
    assert "--request ask-1" in answer_command("everstep", "r", request, name_it=True)


def test_an_answer_command_of_a_type_that_needs_no_field_names_its_first() -> None:
    """What everstep itself puts into an answer is no example."""
    properties = {"request_id": {}, "expired": {"type": "boolean"}, "fields": {"type": "object"}, "drop": {}}
    request = {"id": "ask-1", "answer_schemas": {"Mended": {"properties": properties}}}
    assert answer_command("everstep", "r", request, name_it=False) == "everstep respond r fields='{…}'"


def test_control_characters_do_not_reach_the_terminal() -> None:
    """What a run holds cannot move the cursor."""
    assert clean("a\x1b[2Jb\n") == "a\\x1b[2Jb\n"


def test_a_long_object_is_told_field_by_field() -> None:
    """Texts as they are, the beginning of long structures, nothing of fields that are empty; a short one is JSON."""
    assert by_fields({"paid": 6.0, "note": ""}) == '{"paid": 6.0, "note": ""}'
    told = by_fields({"answer": "yes " * 100, "scores": [0.25] * 100, "sources": []}).splitlines()
    assert told[0] == "answer=" + "yes " * 100
    assert told[1].startswith("scores=[0.25, 0.25")
    assert told[1].endswith(" …")
    assert len(told) == 2


def test_spans_are_told_in_their_largest_unit() -> None:
    """Seconds up to two minutes, then minutes, hours, days."""
    assert [span(s) for s in (5, 119, 300, 10_000, 400_000)] == ["5 s", "119 s", "5 min", "3 h", "5 d"]


def test_lengths_of_time_are_read_in_their_units() -> None:
    """`1h30m` and the like; what is none is refused by the option's name."""
    assert [seconds_of(text, "--every") for text in ("90", "30s", "1h30m", "1.5 m", "2d")] == [90, 30, 5400, 90, 172800]
    for text in ("soon", "", "-5", "0", "1h x", "9" * 400):
        with pytest.raises(InputError, match="--every"):
            seconds_of(text, "--every")
