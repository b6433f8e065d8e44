"""What the page tells of each node: one article each, as HTML; everything in it is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, cast

from everstep.representation.picture import anchor
from everstep.representation.shown import MARKS, duration, look
from everstep.representation.types import (
    StepRun,
    WorkflowEventNode,
    WorkflowGraph,
    WorkflowGraphNode,
    WorkflowResourceConfigNode,
    WorkflowResourceNode,
    WorkflowStepNode,
)

_ROLES = {
    "step": "step",
    "handler": "error handler",
    "event": "event",
    "ends": "event",
    "human": "event",
    "resource": "resource",
    "other": "",
}


def article(graph: WorkflowGraph, node: WorkflowGraphNode) -> str:
    """All that is known of a node."""
    parts = [f'<h2><span class="role {look(node)}">{_ROLES[look(node)]}</span> {escape(node.label)}</h2>']
    description = getattr(node, "description", None)
    if description:
        parts.append(f'<p class="doc">{escape(description)}</p>')
    if isinstance(node, WorkflowStepNode):
        parts += _step(node)
    elif isinstance(node, WorkflowEventNode):
        parts += _event(node)
    elif isinstance(node, WorkflowResourceNode | WorkflowResourceConfigNode):
        parts += _resource(node)
    parts += _neighbours(graph, node)
    return f'<article id="about-{anchor(node.id)}" tabindex="-1">{"".join(parts)}</article>'


def _step(node: WorkflowStepNode) -> Iterable[str]:
    if node.run is not None:
        yield _list(_run_rows(node.run), "In this run")
    rows = [(name.replace("_", " "), _plain(value)) for name, value in node.options.items()]
    if rows:
        yield _list(rows, "Options")


def _run_rows(run: StepRun) -> list[tuple[str, str]]:
    rows = [("status", f"{MARKS[run.status]} {run.status}".strip())]
    for name in ("invocations", "done", "failed", "cancelled", "running", "waiting", "attempts"):
        if getattr(run, name):
            rows.append((name, str(getattr(run, name))))
    if run.done + run.failed:
        rows += [("time in all", duration(run.seconds)), ("longest", duration(run.longest))]
    if run.last_error:
        rows.append(("last error", run.last_error))
    return rows


def _event(node: WorkflowEventNode) -> Iterable[str]:
    rows: list[tuple[str, str]] = []
    if node.count is not None:
        rows.append(("in this run", f"{node.count}×"))
    if node.open:
        rows.append(("unanswered", str(node.open)))
    if node.unhandled:
        rows.append(("taken by no step", str(node.unhandled)))
    if len(node.event_types) > 1:
        rows.append(("is a", ", ".join(node.event_types[1:])))
    if node.answered_by:
        rows.append(("answered by", node.answered_by))
    if node.from_outside:
        rows.append(("comes", "from outside: people or programs send it"))
    if rows:
        yield _list(rows)
    schema = node.event_schema
    if schema:
        yield _fields(schema)
        text = json.dumps(schema, indent=2, ensure_ascii=False)
        yield f"<details><summary>JSON Schema</summary><pre>{escape(text)}</pre></details>"


def _fields(schema: Mapping[str, Any]) -> str:
    properties: Mapping[str, Any] = schema.get("properties") or {}
    if not properties:
        return '<p class="quiet">It declares no fields.</p>'
    required: Sequence[str] = schema.get("required") or ()
    rows: list[str] = []
    for name, value in properties.items():
        about = cast("Mapping[str, Any]", value if isinstance(value, Mapping) else {})
        default = "required" if name in required else f"= {_plain(about['default'])}" if "default" in about else ""
        cells = (_type(value), default, str(about.get("description", "")))
        rows.append(f"<tr><td><code>{escape(name)}</code>{''.join(f'<td>{escape(cell)}' for cell in cells)}")
    return f"<table><caption>Fields</caption><tr><th>name<th>type<th>default<th>{''.join(rows)}</table>"


def _type(about: Any) -> str:
    """The type of a field, in a word or two."""
    if not isinstance(about, Mapping):
        return "anything"
    schema = cast("Mapping[str, Any]", about)
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(_plain(value) for value in schema["enum"])
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            return " | ".join(_type(one) for one in schema[name])
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {_type(schema.get('items'))}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def _resource(node: WorkflowResourceNode | WorkflowResourceConfigNode) -> Iterable[str]:
    rows: list[tuple[str, str]] = [("type", node.type_name or "not known")]
    if isinstance(node, WorkflowResourceNode):
        if node.getter_name:
            rows.append(("made by", node.getter_name))
        if node.source_file:
            rows.append(("defined in", f"{node.source_file.rpartition('/')[2]}:{node.source_line}"))
    else:
        rows.append(("read from", f"{node.config_file}{f':{node.path_selector}' if node.path_selector else ''}"))
    yield _list(rows)


def _neighbours(graph: WorkflowGraph, node: WorkflowGraphNode) -> Iterable[str]:
    labels = {one.id: one.label for one in graph.nodes}
    coming = [(edge.source, edge.count) for edge in graph.edges if edge.target == node.id and edge.source in labels]
    going = [(edge.target, edge.count) for edge in graph.edges if edge.source == node.id and edge.target in labels]
    words = ("From", "To") if look(node) != "resource" else ("For", "Needs")
    for word, others in zip(words, (coming, going), strict=True):
        if others:
            links = [
                f'<a href="#about-{anchor(name)}">{escape(labels[name])}</a>{f" {count}×" if count else ""}'
                for name, count in others
            ]
            yield f'<p class="links"><b>{word}</b> {", ".join(links)}</p>'


def _list(rows: Sequence[tuple[str, str]], title: str = "") -> str:
    items = "".join(f"<dt>{escape(name)}<dd>{escape(value)}" for name, value in rows)
    return (f"<h3>{title}</h3>" if title else "") + f"<dl>{items}</dl>"


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in cast("list[Any]", value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return json.dumps(value, default=str)
