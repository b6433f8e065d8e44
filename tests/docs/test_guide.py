"""docs/guide.md is true: its pieces run in their order as one program, and print what stands behind each `print`."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from types import ModuleType

import pytest
from temporalio.client import Client

from everstep import LocalRuntime, Workflow, use_runtime
from everstep.temporal import TemporalRuntime, serving
from tests.support.pages import Page

PIECES = [block.text for block in Page("docs/guide.md").take("python")]
PRINTED = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)


def split(piece: str) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """What a piece defines, up to its last class or import, and what it does then."""
    body = ast.parse(piece).body
    last = max((n for n, node in enumerate(body) if isinstance(node, ast.ClassDef | ast.ImportFrom)), default=-1)
    return body[: last + 1], body[last + 1 :]


async def execute(body: list[ast.stmt], program: ModuleType) -> None:
    """Run statements of a page, which may have `await` outside a function."""
    code = compile(ast.Module(body, []), "the page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, program.__dict__)
    if inspect.iscoroutine(running):
        await running


@pytest.fixture
async def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with all that the pieces define, as the file of a reader would be."""
    module = ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", module)
    for piece in PIECES:
        await execute(split(piece)[0], module)
    return module


async def check(
    program: ModuleType, runtime: LocalRuntime | TemporalRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every piece but the imports prints something, and exactly what its comments say."""
    for piece in PIECES[1:]:
        with use_runtime(runtime):
            await execute(split(piece)[1], program)
        expected = PRINTED.findall(piece)
        assert len(expected) == piece.count("print(") > 0
        assert capsys.readouterr().out.splitlines() == expected


async def test_the_pieces_print_what_they_say(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """In process."""
    await check(program, LocalRuntime(), capsys)


async def test_they_print_the_same_on_temporal(
    program: ModuleType, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a worker for each task queue that the guide names, and nothing else changed."""
    defined = [each for each in vars(program).values() if isinstance(each, type) and issubclass(each, Workflow)]
    flows = [flow for flow in defined if flow is not Workflow]
    async with serving(client, flows, task_queue="guide"), serving(client, flows, task_queue="gpu"):
        await check(program, TemporalRuntime(client, task_queue="guide"), capsys)
