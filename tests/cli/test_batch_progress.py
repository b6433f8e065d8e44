"""What a batch shows while it goes on: a bar at a terminal, lines elsewhere."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console
from temporalio.client import Client

from everstep.cli.batch_progress import Progress, Tally
from everstep.temporal.batch import Batch, BatchOptions


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "elsewhere"])
async def test_it_tells_how_far_it_is(client: Client, terminal: bool) -> None:
    """How many lines are through, and how the others stand; elsewhere a line only where it says something new."""
    batch = Batch(client, "Shop", BatchOptions(), lambda _: None)
    batch.waiting["b-1"], batch.under_way["b-2"] = 1, 2
    tally = Tally("b", "Shop", 10, Path("results"), Counter({"completed": 3, "failed": 1}))
    shown = io.StringIO()
    with Progress(Console(file=shown, force_terminal=terminal, width=200), tally, batch, line_seconds=0.05):
        await asyncio.sleep(0.4)
    text = "3 completed, 1 failed, 1 wait for a person, 1 under way"
    if terminal:
        assert "5/10" in shown.getvalue()
        assert text in shown.getvalue()
    else:
        assert shown.getvalue() == f"5 of 10 lines: {text}\n"
