"""What the demo shows: the answer, how it was judged, where it comes from, how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo_worker import ROOT
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from everstep.cli.text import clean

Json = dict[str, Any]

console = Console(highlight=False)


def show_draft(draft: Json) -> None:
    """The answer, where it comes from, and what the strategies are worth."""
    console.print(Panel(escape(clean(draft["answer"])), title="Answer", subtitle=escape(draft["model"]), expand=True))
    show_sources(draft["sources"])
    show_judgement(draft)
    columns = ("strategy", "score", "grounded", "complete", "agreed", "remarks")
    table = Table(*columns, box=None, pad_edge=False, header_style="dim")
    for score in draft["scores"]:
        chosen = "bold green" if score["strategy"] == draft["strategy"] else ""
        numbers = [f"{score[name]:.2f}" for name in columns[1:-1]]
        table.add_row(score["strategy"], *numbers, escape(clean(score["remarks"])), style=chosen)
    console.print(table)


def show_judgement(draft: Json) -> None:
    """Which statements the sources do not bear out, and where the strategies' answers contradict each other."""
    doubted = [one for one in draft["statements"] if not one["supported"]]
    count = len(draft["statements"])
    console.print(
        f"  {count - len(doubted)} of {count} statements borne out by the sources  [dim]{escape(draft['judge'])}[/]"
    )
    for one in doubted:
        console.print(f"  [red]✗[/] {escape(clean(one['text']))}  [yellow]{escape(clean(one['why']))}[/]")
    for one in [each for each in draft["disagreements"] if each["kind"] == "contradicts"][:5]:
        told = f"{one['by']}: {one['statement']} ≠ {one['other']}: {one['other_statement']}"
        console.print(f"  [yellow]contradiction:[/] {escape(clean(told))}  [dim]{escape(clean(one['why']))}[/]")


def show_sources(sources: Sequence[Json]) -> None:
    """The passages that an answer cites."""
    for source in sources:
        place, heading = escape(clean(source["place"])), escape(clean(source["heading"]))
        console.print(f"  \\[{source['number']}] [cyan]{place}[/]  [dim]{heading}[/]")


def show_result(result: Json, url: str | None) -> None:
    """How it ended."""
    status = result["status"]
    colour = "green" if status == "published" else "yellow"
    say("result", f"[{colour}]{status}[/]" + (f": {escape(clean(result['reason']))}" if result["reason"] else ""))
    if status == "published":
        console.print(
            Panel(escape(clean(result["answer"])), title=escape(clean(result["question"])), border_style=colour)
        )
        show_sources(result["sources"])
        say("file", shown_path(Path(result["published_to"])))
    if url:
        say("run", url)


def say(stage: str, text: str) -> None:
    """One line of what happens."""
    console.print(f"[cyan]{stage:<8}[/] {text}", soft_wrap=True)


def plain(text: str) -> None:
    """A line to copy, as it is."""
    console.print(text, markup=False, soft_wrap=True)


def shown_path(path: Path) -> str:
    """A path as it is reached from the project."""
    return escape(str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path))
