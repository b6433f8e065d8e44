"""Finding flows: in a file, in an importable module, or by name among the files of `workflows/`.

A file is imported by its path, under a module name of its own, so that a folder named `workflows` needs no
`__init__.py` and hides no installed package of that name.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from everstep.errors import (
    EverstepError,
    FlowNotFoundError,
    WorkflowConfigurationError,
    WorkflowValidationError,
)
from everstep.flow.steps import step_marks
from everstep.workflow import Workflow

FLOWS_FOLDER = "workflows"


@dataclass(frozen=True, slots=True)
class Found:
    """A flow, built, and where it comes from."""

    flow: Workflow
    origin: str

    @property
    def name(self) -> str:
        """The flow's name on the wire."""
        return self.flow.workflow_name


def resolve(spec: str, root: Path) -> list[Found]:
    """The flows that a text names: `path/to/file.py[:Class]`, `package.module[:Class]`, or `Class` alone.

    Args:
        spec: without a class, all flows of the file or module; a class alone is looked for in `workflows/`.
        root: where a relative path begins that leads nowhere from here, and what imports are looked up in.

    Raises:
        FlowNotFoundError: there is no such file, module or flow.
        WorkflowConfigurationError: the file or module cannot be imported, or the flow cannot be built.
    """
    allow_imports_from(root)
    place, _, attribute = spec.partition(":")
    if not attribute and place.isidentifier() and not (root / place).is_file():
        return [_named(place, root)]
    # A path is meant from where the command was typed; the shipped flows are also found from elsewhere.
    file = Path(place) if Path(place).is_file() else root / place
    module = _file(file) if place.endswith(".py") or "/" in place else _module(place)
    if attribute:
        return [Found(_pick(module, attribute, place), spec)]
    found = [Found(_build(cls, place), f"{place}:{cls.__name__}") for cls in _flow_classes(module)]
    if not found:
        raise FlowNotFoundError.from_message(
            f"{place} defines no flow: a flow is a subclass of everstep.Workflow with steps, in that file itself, and "
            "without an underscore before its name. Name a place that has one."
        )
    return found


def in_folder(root: Path) -> list[Found]:
    """All flows of the files in `workflows/` under `root`.

    Raises:
        FlowNotFoundError: there is none.
        WorkflowConfigurationError: a file cannot be imported, or a flow cannot be built.
    """
    allow_imports_from(root)
    found = [
        Found(_build(cls, f"{FLOWS_FOLDER}/{file.name}"), f"{FLOWS_FOLDER}/{file.name}:{cls.__name__}")
        for file in _flow_files(root)
        for cls in _flow_classes(_file(file))
    ]
    if not found:
        folder = root / FLOWS_FOLDER
        fault = "defines no flow in its .py files" if folder.is_dir() else "is no folder"
        raise FlowNotFoundError.from_message(
            f"There is nothing to serve: {folder} {fault}. Put a file with a subclass of everstep.Workflow there, or "
            "name another place by --flows path/to/file.py."
        )
    return found


def distinct(found: Sequence[Found]) -> list[Found]:
    """The flows, each once.

    Raises:
        WorkflowConfigurationError: two different flows have one name.
    """
    by_name: dict[str, Found] = {}
    for one in found:
        other = by_name.setdefault(one.name, one)
        if type(other.flow) is not type(one.flow):
            raise WorkflowConfigurationError(
                f"Two flows are named {one.name!r}: {other.origin} and {one.origin}. The name is the workflow "
                "type on the server: rename one of the classes, or serve them by workers on different task queues."
            )
    return list(by_name.values())


def allow_imports_from(root: Path) -> None:
    """Let flow files import the packages beside them, such as `activities`."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def _named(name: str, root: Path) -> Found:
    found = in_folder(root) if any(_flow_files(root)) else []
    for one in found:
        if one.name == name:
            return one
    raise FlowNotFoundError(name, [one.name for one in found])


def _flow_files(root: Path) -> Iterator[Path]:
    yield from (file for file in sorted((root / FLOWS_FOLDER).glob("*.py")) if not file.name.startswith("_"))


def _file(path: Path) -> ModuleType:
    """Import a file once, by its path."""
    path = path.resolve()
    if not path.is_file():
        fault = f"{path} is a folder" if path.is_dir() else f"There is no file {path}"
        raise FlowNotFoundError.from_message(f"{fault}. Name a .py file that has flows.")
    name = _module_name(path)
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise WorkflowConfigurationError(f"{path} is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: postponed annotations are looked up there
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        raise _unusable(str(path), error) from error
    return module


def _module_name(path: Path) -> str:
    """A name that no package has, the same on every machine as long as no two files compete for it."""
    name = f"{path.parent.name}__{path.stem}".replace(".", "_").replace("-", "_")
    other = sys.modules.get(name)
    if other is None or other.__file__ == str(path):
        return name
    return f"{name}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise FlowNotFoundError.from_message(
                f"There is no module {name!r}: Python finds {error.name!r} nowhere. Install it, or name a file: "
                "path/to/file.py."
            ) from None
        raise _unusable(name, error) from error
    except Exception as error:
        raise _unusable(name, error) from error


def _unusable(place: str, error: BaseException) -> BaseException:
    if isinstance(error, WorkflowValidationError):  # of a step as it is declared: the class has no name yet
        return type(error)(f"{place}: {error}", error.problems)
    if isinstance(error, EverstepError):
        return error
    if not isinstance(error, Exception):
        return error
    return WorkflowConfigurationError(
        f"{place} cannot be imported: {type(error).__name__}: {error}. Mend it, or install what it needs."
    )


def _flow_classes(module: ModuleType) -> list[type[Workflow]]:
    """The flows that a module defines itself; bases without steps and private classes are none."""
    return [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Workflow)
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and step_marks(value)
    ]


def _pick(module: ModuleType, attribute: str, place: str) -> Workflow:
    value = getattr(module, attribute, None)
    if isinstance(value, Workflow):
        return value
    if isinstance(value, type) and issubclass(value, Workflow):
        return _build(value, place)
    raise FlowNotFoundError(f"{place}:{attribute}", [cls.__name__ for cls in _flow_classes(module)])


def _build(cls: type[Workflow], place: str) -> Workflow:
    try:
        return cls()
    except TypeError as error:
        raise WorkflowConfigurationError(
            f"{place}:{cls.__name__} cannot be built without arguments: {error}. Give them defaults, or build an "
            "instance in the module and name that."
        ) from error
    except WorkflowValidationError as error:
        raise type(error)(f"{place}:{cls.__name__} cannot work. {error}", error.problems) from None
