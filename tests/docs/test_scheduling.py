"""docs/scheduling.md is true: its flow, its commands and the results that it shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from everstep.temporal.devserver import DevServer
from tests.support.pages import Page
from tests.support.shell import Shell, plain_environment

PAGE = Page("docs/scheduling.md")
(FLOW,), COMMANDS, (SHOWN,) = PAGE.take("python"), PAGE.take("bash"), PAGE.take("text")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_schedules_and_batches_as_the_page_has_them(tmp_path: Path, dev_server: DevServer) -> None:
    """Each command ends as the page says, and the first batch's results read as they are shown."""
    (tmp_path / "orders.py").write_text(FLOW.text)
    serve, schedules, batch, again = (block.lines for block in COMMANDS)
    with Shell(tmp_path, plain_environment(TEMPORAL_ADDRESS=dev_server.address)) as shell:
        shell.run(serve[0])
        for command in schedules:
            assert shell.run(command).code == 0, command
        make, start, show = batch
        shell.run(make)
        assert shell.run(start).code == 1
        told = [_cut(json.loads(line)) for line in shell.run(show).output.splitlines()]
        assert told == [_cut(json.loads(line)) for line in SHOWN.lines]
        for command in again:
            assert shell.run(command).code == 0, command
        results = [json.loads(line) for line in (tmp_path / "orders.results.jsonl").read_text().splitlines()]
    assert [one.get("result") for one in results] == [
        {"item": "tea", "paid": 5.0},
        {"approved": True},
        {"item": "milk", "paid": 2.0},
    ]


def _cut(record: dict[str, Any]) -> dict[str, Any]:
    """A record with no more of its error than the page shows."""
    return {key: value.partition(": ")[0] if key == "error" else value for key, value in record.items()}
