"""The times of a schedule in words. The server keeps calendars in the place of cron expressions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from temporalio.client import ScheduleCalendarSpec, ScheduleRange, ScheduleSpec

_WHOLE = {"minute": (0, 59), "hour": (0, 23), "day_of_month": (1, 31), "month": (1, 12), "day_of_week": (0, 6)}


def described_times(spec: ScheduleSpec) -> list[str]:
    """Each of a schedule's times as a line: ``0 2 * * * Europe/Berlin``, ``every 15m``; with its jitter."""
    zone = f" {spec.time_zone_name or 'UTC'}"
    put_off = f", put off by up to {duration(spec.jitter)}" if spec.jitter else ""
    crons = [*spec.cron_expressions, *(_calendar(one) for one in spec.calendars)]
    lines = [f"{text}{zone}" for text in crons]
    for one in spec.intervals:
        lines.append(f"every {duration(one.every)}" + (f" at {duration(one.offset)}" if one.offset else ""))
    return [line + put_off for line in lines]


def duration(span: timedelta) -> str:
    """A length of time as it is given on a command line: ``1h30m``."""
    left, out = span.total_seconds(), ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        whole, left = divmod(left, size)
        out += f"{whole:g}{unit}" if whole else ""
    return out + (f"{left:g}s" if left or not out else "")


def _calendar(calendar: ScheduleCalendarSpec) -> str:
    """The comment, which is the cron expression of those that were made here; else the fields as one."""
    if calendar.comment:
        return calendar.comment
    return " ".join(_field(getattr(calendar, name), *_WHOLE[name]) for name in _WHOLE)


def _field(ranges: Sequence[ScheduleRange], first: int, last: int) -> str:
    parts: list[str] = []
    for one in ranges:
        span = "*" if (one.start, one.end) == (first, last) else f"{one.start}-{one.end}"
        text = str(one.start) if one.start == one.end else span
        parts.append(text if one.step == 1 else f"{text}/{one.step}")
    return ",".join(parts) or "*"
