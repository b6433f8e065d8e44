"""A graph as one HTML page that needs nothing else: no network, no other file. Without scripts it still tells all."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files

from everstep.representation.details import article
from everstep.representation.picture import to_svg
from everstep.representation.shown import Look, drawn, duration, look, untaken
from everstep.representation.types import GraphRun, WorkflowGraph, WorkflowStepNode

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_NODES: dict[Look, str] = {
    "step": "step",
    "handler": "error handler",
    "event": "event",
    "ends": "begins or ends the run",
    "human": "between the flow and people or programs",
    "resource": "resource",
}
_EDGES = {
    "event": "one event",
    "list": "a list: handled side by side, joined again",
    "answer": "answered by a person, or waited for",
    "failure": "when it fails for good",
}
_STATUSES = {
    "done": "✓ done",
    "running": "▶ running",
    "waiting": "⏸ waits for an event",
    "failed": "✗ failed",
    "cancelled": "⊘ cancelled",
}


def to_html(graph: WorkflowGraph, *, title: str | None = None) -> str:
    """A page with the picture of a graph, what each node is, and a legend.

    Args:
        graph: of a flow, or of a run.
        title: the page's; by default the flow's name, and the run's id.

    Example: `Path("flow.html").write_text(to_html(get_workflow_representation(MyFlow)))`
    """
    shown = drawn(graph)
    name = title or (graph.name if graph.run is None else f"{graph.name}: run {graph.run.run_id}")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(name)}</title>
<style>
{_part("page.css")}</style>
</head>
<body>
<header>
<h1 id="title">{escape(name)}</h1>
{_about(graph)}</header>
<main>
<section class="picture" tabindex="0" aria-label="Picture; each box is a link to what is known of it">
{to_svg(shown)}
</section>
<aside aria-label="About the steps and events">
<p class="hint">Choose a box to see what is known of it.</p>
{"".join(article(shown, node) + chr(10) for node in shown.nodes)}</aside>
</main>
<footer>
{_legend(shown)}
</footer>
<script>
{_part("page.js")}</script>
</body>
</html>
"""


def _part(name: str) -> str:
    return files("everstep.representation").joinpath(name).read_text(encoding="utf-8")


def _about(graph: WorkflowGraph) -> str:
    first = (graph.description or "").split("\n\n")[0]
    out = f"<p>{escape(first)}</p>\n" if first else ""
    if graph.run is not None:
        facts = "".join(f"<li>{escape(fact)}</li>" for fact in _facts(graph.run))
        out += f'<ul class="facts"><li class="status {graph.run.status}">{escape(graph.run.status)}</li>{facts}</ul>\n'
        if graph.run.error:
            out += f'<p class="error">{escape(graph.run.error)}</p>\n'
    return out


def _facts(run: GraphRun) -> Iterable[str]:
    if run.started_at is not None:
        yield f"began {run.started_at[:19].replace('T', ' ')} UTC"
    if run.seconds is not None:
        yield f"took {duration(run.seconds)}"


def _legend(graph: WorkflowGraph) -> str:
    looks = {look(node) for node in graph.nodes}
    kinds = {{"join": "list", "wait": "answer"}.get(edge.kind, edge.kind) for edge in graph.edges}
    items = [f'<li><i class="key {name}"></i>{text}</li>' for name, text in _NODES.items() if name in looks]
    items += [f'<li><i class="line {name}"></i>{text}</li>' for name, text in _EDGES.items() if name in kinds]
    if graph.run is not None:
        statuses = {node.run.status for node in graph.nodes if isinstance(node, WorkflowStepNode) and node.run}
        items += [f"<li>{text}</li>" for name, text in _STATUSES.items() if name in statuses]
        if any(untaken(graph, node) for node in graph.nodes):
            items.append('<li><i class="key step untaken"></i>not taken in this run</li>')
    return f'<ul class="legend" aria-label="Legend">{"".join(items)}</ul>'
