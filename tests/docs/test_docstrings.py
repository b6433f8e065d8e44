"""The examples in the docstrings of public names run, and give what they say; the reference shows them."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import importlib
import inspect
import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import Worker

from everstep import Context, Workflow, step
from everstep.events import StartEvent, StopEvent
from everstep.temporal import serving
from everstep.temporal.devserver import DevServer
from tests.support.example_stage import Approval, AskApproval, MyFlow, stage
from tests.test_public_names import PUBLIC

MODULES = [importlib.import_module(name) for name in PUBLIC]
IMPORTED: dict[str, Any] = {"Annotated": Annotated}
IMPORTED |= {module.__name__: module for module in (asyncio, json, logging, os)}
IMPORTED |= {kind.__name__: kind for kind in (BaseModel, Client, Path, Runtime, TelemetryConfig, timedelta)}
IMPORTED["Worker"] = partial(Worker, build_id="an example")  # else the SDK hashes all that is imported, for seconds


def with_examples() -> Iterator[tuple[str, ModuleType, str]]:
    """The docstrings that have an example: of public modules, their public names, and the members of these."""
    seen: set[str] = set()
    for module in MODULES:
        found: dict[str, Any] = {module.__name__: module}
        for name in PUBLIC[module.__name__].split():
            value = getattr(module, name)
            found[f"{module.__name__}.{name}"] = value
            if inspect.isclass(value):
                members = ((member, value) for member, value in vars(value).items() if not member.startswith("_"))
                found |= {f"{module.__name__}.{name}.{member}": value for member, value in members}
        for path, value in found.items():
            text = inspect.getdoc(value) or ""
            if ">>>" in text and text not in seen:
                seen.add(text)
                home = sys.modules.get(getattr(value, "__module__", None) or "", module)
                yield path, home, text


EXAMPLES = list(with_examples())
ON_TEMPORAL = [one for one in EXAMPLES if ".connect(" in one[2] or "serving(" in one[2]]
IN_PROCESS = [one for one in EXAMPLES if one not in ON_TEMPORAL]


def scope(home: ModuleType, **more: Any) -> dict[str, Any]:
    """What an example may name: everstep, what everyone knows, the names of its module, and the stage."""
    public = {name: getattr(module, name) for module in MODULES for name in PUBLIC[module.__name__].split()}
    return {**vars(home), **public, **IMPORTED, **stage(), **more}


async def play(text: str, names: dict[str, Any]) -> None:
    """Run the examples of a docstring, one after the other, and hold what they print and give against the text."""
    for example in doctest.DocTestParser().get_examples(text):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = await _run(example.source, names)
        if example.want:
            told = printed.getvalue() + ("" if value is None else f"{value!r}\n")
            assert told == example.want, example.source


async def _run(source: str, names: dict[str, Any]) -> Any:
    nodes = list(ast.walk(ast.parse(source)))
    if any(isinstance(node, ast.Return) for node in nodes) and "def " not in source:  # of the step that it is part of
        source = "def step_():\n" + "".join(f"    {line}\n" for line in source.splitlines())
    kind = "eval" if isinstance(nodes[1], ast.Expr) else "exec"
    value = eval(compile(source, "an example", kind, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True), names)
    return await value if inspect.iscoroutine(value) else value


class Host(Workflow):
    """Plays an example within a step, where it has a context."""

    def __init__(self, text: str, home: ModuleType) -> None:
        super().__init__()
        self.text, self.home = text, home

    @step
    async def play(self, ctx: Context, ev: StartEvent) -> StopEvent:
        """The example, as the body of a step."""
        if not self.text:  # never; it tells which classes examples wait for, as other tests have some of these names
            await ctx.wait_for_event(Approval, waiter_event=AskApproval(sum=0))
        await play(self.text, scope(self.home, ctx=ctx, ev=ev))
        return StopEvent()


@pytest.mark.parametrize(("home", "text"), [one[1:] for one in IN_PROCESS], ids=[one[0] for one in IN_PROCESS])
async def test_an_example_gives_what_it_says(
    home: ModuleType, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it speaks of `ctx`, within a step."""
    monkeypatch.chdir(tmp_path)
    if "ctx." not in text or "Context(" in text or "handler.ctx" in text:
        names = scope(home)
        if "addFilter" in text:
            names["handler"] = logging.StreamHandler()
        elif "handler.ctx" in text:
            names["handler"] = names["flow"].run()
        await play(text, names)
        return
    handler = Host(text, home).run({"count": 3}, text="long", urls=["a", "b"], amount=1)
    async for event in handler.stream_events():
        if isinstance(event, AskApproval):
            await handler.respond({"approved": True})
    await handler


@pytest.mark.parametrize(("home", "text"), [one[1:] for one in ON_TEMPORAL], ids=[one[0] for one in ON_TEMPORAL])
async def test_an_example_of_a_client_gives_what_it_says(home: ModuleType, text: str, dev_server: DevServer) -> None:
    """On a dev server; where the example brings no worker, there is one."""
    client = await Client.connect(dev_server.address)
    async with contextlib.AsyncExitStack() as stack:
        if ".run(" in text and "serving(" not in text:
            await stack.enter_async_context(serving(client, [MyFlow]))
        await play(text.replace("localhost:7233", dev_server.address), scope(home, client=client))
