"""Until when a request may be answered: how it is given, and when that is."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator


def _checked_due(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(
            "a datetime without a time zone names no instant; give it one, as in datetime.now(UTC) + ..., "
            "or give a timedelta"
        )
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or (isinstance(seconds, int | float) and not (math.isfinite(seconds) and seconds > 0)):
        raise ValueError(f"{value!r} is no time to wait; give seconds or a timedelta above 0")
    return value


Due = Annotated[timedelta | AwareDatetime | float, BeforeValidator(_checked_due)]
"""Until when a request may be answered: seconds or a timedelta from when it is asked, or an aware datetime."""


def due_in_seconds(due: timedelta | datetime | float | None, now: float) -> float | None:
    """When a request is due, in seconds since the epoch.

    Args:
        due: the `due` of an `InputRequiredEvent`.
        now: the time it is asked at, in seconds since the epoch.
    """
    if due is None:
        return None
    if isinstance(due, datetime):
        return due.timestamp()
    return now + (due.total_seconds() if isinstance(due, timedelta) else due)
