"""How long an error itself asks to be left alone: its `retry_after`, or the Retry-After header of its response."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, cast

from everstep.retry.conditions import causes_of


def retry_after_of(error: BaseException) -> float | None:
    """The seconds after which an error, or one it was raised from, asks to be retried; None where none asks."""
    for each in (error, *causes_of(error)):
        asked = _as_delay(getattr(each, "retry_after", None))
        if asked is None:
            response = getattr(each, "response", None)
            asked = _as_delay(_header(getattr(response, "headers", None), "retry-after"))
        if asked is not None:
            return asked
    return None


def _header(headers: object, name: str) -> object:
    if not isinstance(headers, Mapping):
        return None
    return next((value for key, value in cast("Mapping[Any, Any]", headers).items() if str(key).lower() == name), None)


def _as_delay(asked: object) -> float | None:
    if isinstance(asked, str):
        asked = _parsed(asked)
    if isinstance(asked, datetime):
        asked = asked.timestamp() - time.time()
    if isinstance(asked, timedelta):
        asked = asked.total_seconds()
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not math.isfinite(asked):
        return None
    return max(0.0, float(asked))


def _parsed(header: str) -> float | datetime | None:
    try:
        return float(header)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(header)
    except ValueError:
        return None
