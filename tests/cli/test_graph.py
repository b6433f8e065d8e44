"""`graph`: flows and the ways of runs, as text, page and data; `starter.py` draws runs, `everstep` both."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import SHOP, Shell


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Programs without a server."""
    return Shell("127.0.0.1:1", tmp_path_factory.mktemp("alone"))


def test_a_flow_is_drawn_into_a_file_by_its_ending(alone: Shell) -> None:
    """A page, Mermaid text, or data; what was written is told on stderr."""
    for name, begins in (("shop.html", "<!doctype html>"), ("shop.mmd", "flowchart TD"), ("shop.json", "{")):
        ended = alone.call("everstep", "graph", f"{SHOP}:Shop", "-o", name)
        assert ended.code == 0, ended.err
        assert ended.err == f"wrote {name}\n"
        assert (alone.directory / name).read_text().startswith(begins)


def test_drawing_a_flow_does_without_the_temporal_client() -> None:
    """Its import takes longer than the drawing."""
    check = "import sys, everstep.cli.graph; sys.exit('temporalio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_format_is_printed(alone: Shell) -> None:
    """By --format, or by -o with the format's name; the definition is another form."""
    graph = alone.call("everstep", "graph", f"{SHOP}:Shop", "--format", "json").json
    assert {node["node_type"] for node in graph["nodes"]} >= {"step", "event"}
    assert alone.call("everstep", "graph", f"{SHOP}:Shop", "-o", "json").json == graph
    assert alone.call("everstep", "graph", f"{SHOP}:Shop", "-f", "definition").json["name"] == "Shop"
    assert alone.call("everstep", "graph", f"{SHOP}:Shop", "-f", "html").out.startswith("<!doctype html>")


def test_wrong_calls_say_what_to_do(alone: Shell) -> None:
    """No flow, both, an ending that tells nothing, a folder that is not there."""
    for arguments, message in (
        ([], "Name a flow"),
        ([f"{SHOP}:Shop", "--run", "x"], "one of both"),
        ([f"{SHOP}:Shop", "-o", "shop.png"], "use .html, .mmd or .json"),
        ([f"{SHOP}:Shop", "-o", "nowhere/shop.html"], "cannot be written"),
    ):
        ended = alone.call("everstep", "graph", *arguments)
        assert ended.code == 2
        assert message in ended.err


def test_the_way_of_a_run_is_drawn(shell: Shell) -> None:
    """By `starter.py graph` and `everstep graph --run`, from the run's history."""
    begun = shell.starter("run", "Shop", "item=tea", "--id", "drawn-1", "--follow")
    assert begun.code == 0, begun.err
    ended = shell.starter("graph", "drawn-1", "-o", "run.html")
    assert ended.code == 0, ended.err
    assert "Shop: run drawn-1" in (shell.directory / "run.html").read_text()
    graph = shell.starter("graph", "drawn-1", "-f", "json").json
    assert graph["run"]["run_id"] == "drawn-1"
    assert any(node.get("run", {}).get("done") for node in graph["nodes"])
    assert "flowchart TD" in shell.call("everstep", "graph", "--run", "drawn-1").out


def test_a_run_that_is_not_there_is_named(shell: Shell) -> None:
    """With the exit code for what is not found."""
    ended = shell.starter("graph", "nobody-knows")
    assert ended.code == 4
    assert "nobody-knows" in ended.err
