"""docs/observability.md is true: its pieces of code run where their names mean something."""

from __future__ import annotations

import ast
import logging
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from everstep.temporal.devserver import DevServer
from tests.docs.test_guide import execute
from tests.support.pages import Page

SPANS, METRICS, LOGS = (block.text for block in Page("docs/observability.md").take("python"))


async def search(query: str) -> Sequence[Any]:
    """A search of the reader's."""
    return [SimpleNamespace(id="a", score=0.5, text=query)]


async def ask(model: str, messages: Sequence[Any]) -> Any:
    """A call of a model, of the reader's."""
    return SimpleNamespace(text=f"{model} has read {len(messages)}", read=3, written=4)


async def test_calls_may_tell_of_themselves() -> None:
    """Searches and models of the reader's own."""
    program = ModuleType("page")
    vars(program).update(search=search, ask=ask, query="tides", model="m", messages=[{"role": "user", "content": "?"}])
    await execute(ast.parse(SPANS).body, program)
    assert vars(program)["answer"].text == "m has read 1"


async def test_a_client_with_metrics_connects(dev_server: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the settings of the environment, here none."""
    program = ModuleType("page")
    await execute(ast.parse(METRICS.replace("localhost:7233", dev_server.address)).body, program)
    assert await vars(program)["client"].service_client.check_health()


async def test_logs_tell_of_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Outside of steps the fields are there, and empty."""
    program = ModuleType("page")
    await execute(ast.parse(LOGS).body, program)
    vars(program)["handler"].handle(logging.makeLogRecord({"levelname": "INFO", "msg": "hello"}))
    assert capsys.readouterr().err.startswith("INFO hello run=")
