"""`assert_replays`: recorded histories against the present everstep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from everstep.testing import TemporalEnvironment, assert_replays, fetch_history
from tests.support.shop_flow import Shop

CHAIN = Path(__file__).parents[1] / "histories" / "0.1" / "chain.1.json"


async def test_a_history_replays_in_every_form(dev_server_env: TemporalEnvironment, tmp_path: Path) -> None:
    """As the client gives it, as a file, its path as text, its text, and its data."""
    handler = await dev_server_env.run(Shop, pieces=0)
    await handler
    history = await fetch_history(dev_server_env.client, handler.run_id)
    file = tmp_path / "shop.json"
    file.write_text(history.to_json())
    for form in (history, file, str(file), file.read_text(), json.loads(file.read_text())):
        await assert_replays(form, Shop)


def changed() -> dict[str, Any]:
    """A history in which another step was scheduled."""
    history = json.loads(CHAIN.read_text())
    scheduled = [event for event in history["events"] if "activityTaskScheduledEventAttributes" in event]
    scheduled[0]["activityTaskScheduledEventAttributes"]["activityType"]["name"] = "Chain.other"
    return history


async def test_a_difference_is_named() -> None:
    """With what the history says and what would be done."""
    with pytest.raises(AssertionError, match=r"does not replay: .*Chain\.other") as caught:
        await assert_replays(changed())
    assert "activity type" in str(caught.value).lower()


async def test_a_history_of_another_flow_is_told() -> None:
    """By both names."""
    with pytest.raises(AssertionError, match=r"is a history of .*, not of Shop"):
        await assert_replays(CHAIN, Shop)


@pytest.mark.parametrize("wrong", ['{"events": []}', '{"nothing": 1}', "{broken"])
async def test_what_is_no_history_is_refused(wrong: str) -> None:
    """It is no failed assertion: the test itself is wrong."""
    with pytest.raises(ValueError, match="no history"):
        await assert_replays(wrong)
