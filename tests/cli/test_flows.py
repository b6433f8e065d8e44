"""Finding flows by path, module and name, and `everstep graph`."""

import sys
import types
from pathlib import Path

import pytest

from everstep.cli.flows import distinct, in_folder, resolve
from everstep.errors import FlowNotFoundError, WorkflowConfigurationError, WorkflowValidationError
from tests.cli.conftest import SHOP, Ended, Shell

FLOW = """
from everstep import Workflow, step
from everstep.events import StartEvent, StopEvent
{extra}
class {name}(Workflow):
    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=1)
"""


def write(path: Path, name: str, extra: str = "") -> None:
    """Write a file with one flow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FLOW.format(name=name, extra=extra))


def test_a_file_is_found_with_and_without_its_class(tmp_path: Path) -> None:
    """A path alone gives all flows of the file."""
    write(tmp_path / "a.py", "Alpha")
    assert [one.name for one in resolve("a.py", tmp_path)] == ["Alpha"]
    assert [one.name for one in resolve("a.py:Alpha", tmp_path)] == ["Alpha"]


def test_files_of_one_name_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    """The second file does not get the first one's module."""
    write(tmp_path / "one" / "same" / "a.py", "Alpha")
    write(tmp_path / "two" / "same" / "a.py", "Beta")
    assert resolve("one/same/a.py", tmp_path)[0].name == "Alpha"
    assert resolve("two/same/a.py", tmp_path)[0].name == "Beta"


def test_the_folder_hides_no_package_named_workflows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package `workflows` stays what flow files get when they import it."""
    package = types.ModuleType("workflows")
    package.__dict__["marker"] = 1
    monkeypatch.setitem(sys.modules, "workflows", package)
    write(tmp_path / "workflows" / "b.py", "Gamma", "from workflows import marker")
    assert [one.name for one in in_folder(tmp_path)] == ["Gamma"]
    assert sys.modules["workflows"] is package


def test_a_flow_is_found_by_its_name_in_the_folder(tmp_path: Path) -> None:
    """A bare class name is looked for in workflows/; an unknown one is refused with those that are there."""
    write(tmp_path / "workflows" / "c.py", "Delta")
    assert resolve("Delta", tmp_path)[0].origin == "workflows/c.py:Delta"
    with pytest.raises(FlowNotFoundError, match="Delta"):
        resolve("Nope", tmp_path)


def test_what_cannot_be_imported_is_named(tmp_path: Path) -> None:
    """An import error in a flow file names the file and the error."""
    write(tmp_path / "d.py", "Epsilon", "import no_such_package")
    with pytest.raises(WorkflowConfigurationError, match=r"d\.py cannot be imported.*no_such_package"):
        resolve("d.py", tmp_path)


def test_a_fault_in_a_step_is_told_with_its_file(tmp_path: Path) -> None:
    """What is refused while a class is being made says in which file."""
    write(tmp_path / "f.py", "Eta")
    file = tmp_path / "f.py"
    file.write_text(file.read_text().replace("ev: StartEvent", "ev"))
    with pytest.raises(WorkflowValidationError, match=r"/f\.py: Step 'only' has no type for parameter 'ev'"):
        resolve("f.py", tmp_path)


def test_the_same_flow_given_twice_is_one(tmp_path: Path) -> None:
    """Naming a flow by two places does not make it two."""
    write(tmp_path / "e.py", "Zeta")
    assert len(distinct([*resolve("e.py", tmp_path), *resolve("e.py:Zeta", tmp_path)])) == 1


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """`everstep graph` of one flow; no server is there."""
    return Shell("127.0.0.1:1", tmp_path_factory.mktemp("empty")).call("everstep", "graph", f"{SHOP}:Shop")


def test_graph_prints_mermaid(graph: Ended) -> None:
    """The diagram begins as Mermaid wants it and has the steps."""
    assert graph.code == 0, graph.err
    assert graph.out.startswith("flowchart TD\n")
    assert "step_price --> event_Priced" in graph.out


def test_graph_of_a_file_with_several_flows_asks_which(tmp_path: Path) -> None:
    """The error lists what could be meant."""
    ended = Shell("127.0.0.1:1", tmp_path).call("everstep", "graph", str(SHOP))
    assert ended.code == 2
    assert f"{SHOP}:Shop" in ended.err
