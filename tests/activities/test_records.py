"""The parts under extraction: forms that models are held to, models of records, mending, places, tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from activities.document_results import DocumentResult, Facts
from activities.documents import Document, Line
from activities.extracted import Extracted
from activities.record_mending import FieldUnknown, mended
from activities.record_model import PydanticRecords, SchemaRecords
from activities.record_schema import records_form, without_nulls
from activities.snippets import snippets


class Node(BaseModel):
    """A record that holds records of its own kind."""

    name: str = Field(min_length=1)
    parent: Node | None = None
    children: list[Node] = Field(default_factory=list["Node"])


class Loose(BaseModel):
    """A record with any keys, which no strict form knows."""

    facts: dict[str, str]


def test_a_form_is_strict_and_offers_null() -> None:
    """Every key is required and may be null, references hold, and what models refuse is left out."""
    form = records_form("A node!", PydanticRecords(Node).schema)
    assert (form.name, form.strict) == ("A_node_records", True)
    node = form.schema["$defs"]["Node"]
    assert node["required"] == ["name", "parent", "children"]
    assert node["properties"]["name"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert node["additionalProperties"] is False
    assert form.schema["properties"]["records"]["items"] == {"$ref": "#/$defs/Node"}


def test_a_form_that_cannot_be_strict_is_left_as_it_is() -> None:
    """Objects with any keys, for example."""
    form = records_form("Loose", PydanticRecords(Loose).schema)
    assert not form.strict
    assert form.schema["properties"]["records"]["items"]["properties"]["facts"]["additionalProperties"]


def test_references_to_the_record_itself_are_moved() -> None:
    """A schema that refers to its own root still does, inside of the form."""
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}, "same": {"$ref": "#/properties/next"}}}
    items = records_form("R", schema).schema["properties"]["records"]["items"]["properties"]
    assert items["next"]["anyOf"][0] == {"$ref": "#/properties/records/items"}
    assert items["same"]["anyOf"][0] == {"$ref": "#/properties/records/items/properties/next"}


def test_nulls_that_mean_nothing_are_taken_out() -> None:
    """At any depth, and only where the schema has no null."""
    schema = PydanticRecords(Node).schema
    value: dict[str, Any] = {"name": "a", "parent": None, "children": [{"name": None, "children": None}], "more": None}
    assert without_nulls(value, schema) == {"name": "a", "parent": None, "children": [{}], "more": None}


def test_a_json_schema_names_each_fault() -> None:
    """Lacking keys by their own path, the closest reason where there are choices, formats too."""
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["id", "on", "at"],
        "properties": {
            "id": {"anyOf": [{"type": "integer"}, {"type": "string", "minLength": 3}]},
            "on": {"type": "string", "format": "date"},
            "at": {"type": "object", "required": ["x", "y"]},
        },
    }
    faults = SchemaRecords(schema).check({"id": "ab", "on": "soon", "at": {}}).faults
    assert set(faults) == {"id", "on", "at.x", "at.y"}
    assert "date" in faults["on"]
    assert SchemaRecords(schema).check({"id": 1, "on": "2026-01-02", "at": {"x": 1, "y": 2}}).faults == {}
    assert SchemaRecords(schema).check([1]).faults == {"record": "an object is needed, not [1]"}


def test_fields_are_mended_by_their_paths() -> None:
    """Dotted or nested; lists by number, one more at the end; the record itself stays."""
    record: dict[str, Any] = {"a": 1, "b": [{"c": 2, "d": 3}], "x.y": 0}
    assert mended(record, {"a": None, "b.0.c": 5, "x.y": 1}) == {"a": None, "b": [{"c": 5, "d": 3}], "x.y": 1}
    assert mended(record, {"b": {"0": {"c": 5}, "1": {"c": 6}}})["b"] == [{"c": 5, "d": 3}, {"c": 6}]
    assert mended(record, {"b": []})["b"] == []
    assert mended(record, {"n.e.w": 1})["n"] == {"e": {"w": 1}}
    assert record == {"a": 1, "b": [{"c": 2, "d": 3}], "x.y": 0}
    for fields in ({"b.2.c": 1}, {"b.first.c": 1}):
        with pytest.raises(FieldUnknown, match="1 items"):
            mended(record, fields)


def test_places_are_those_of_the_wrong_fields() -> None:
    """By the value that was written, else by the field's name, else the beginning."""
    lines = ["Invoice", "Due date: tomorrow", "Sum 12,50 EUR", "Paid: no"]
    document = Document(source="a.txt", content_hash="", lines=[Line(n, t) for n, t in enumerate(lines, 1)])
    assert snippets(document, {"total": "12,50"}, ["total", "dueDate"]) == [
        "a.txt:2: Due date: tomorrow",
        "a.txt:3: Sum 12,50 EUR",
    ]
    assert snippets(document, {}, ["record"], limit=1) == ["a.txt:1: Invoice"]


def test_results_are_kept_and_told(tmp_path: Path) -> None:
    """What needs a look comes first; nested fields have columns of their own; a skipped one replaces none."""
    results = Extracted(tmp_path / "out")
    facts = Facts(source="b.txt", content_hash="h", corrections=1)
    results.keep(DocumentResult.of(facts, [{"n": 1, "to": {"name": "Ann", "tags": ["x"]}, "note": None}]))
    results.keep(DocumentResult.without(Facts(source="c/d.txt"), "failed", "it is broken"))
    results.keep(DocumentResult.without(facts, "skipped", "no credit"))
    file, count = results.write("csv", ["n", "to"])
    assert count == 1
    assert file.read_text() == 'source,n,to.name,to.tags,note\nb.txt,1,Ann,"[""x""]",\n'
    file, _ = results.write("jsonl")
    assert json.loads(file.read_text())["source"] == "b.txt"
    assert results.table().splitlines() == [
        "DOCUMENT  OUTCOME    RECORDS  NOTE",
        "c/d.txt   failed     0        it is broken",
        "b.txt     extracted  1        corrected once",
        "2 in all             1        1 extracted, 1 failed",
    ]
    assert len(results.table(longest=1).splitlines()) == 4
    (tmp_path / "out" / "documents" / "stray.json").write_text("{")
    assert results.known("") == {"b.txt": "h", "c/d.txt": ""}
