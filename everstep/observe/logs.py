"""Logs that tell where they come from: run, step, and the trace that has the rest of the story.

As text or as JSON. Contents of events are never among it, unless user code writes them into a message.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from everstep.observe.here import Here, here
from everstep.observe.port import tracing_so_far


class RunLogFilter(logging.Filter):
    """Gives every record `run_id`, `flow`, `step`, `invocation`, `attempt`, `trace_id` and `span_id`.

    They are empty outside of a step.

    Put it on a handler, so that it sees the records of all loggers: user code's too. `where` is all of it as one text.

    Example:
        >>> handler.addFilter(RunLogFilter())
        >>> handler.setFormatter(logging.Formatter("%(levelname)s %(message)s run=%(run_id)s trace=%(trace_id)s"))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Adds what is known; keeps every record."""
        step = here.get() or _of_sdk(record)
        makes = tracing_so_far()
        ids = None if makes is None else makes.current_ids()
        told: dict[str, object] = {
            "run_id": "" if step is None else step.run_id,
            "flow": "" if step is None else step.flow,
            "step": "" if step is None else step.step,
            "invocation": "" if step is None else step.invocation,
            "attempt": "" if step is None else step.attempt,
            "trace_id": "" if ids is None else ids[0],
            "span_id": "" if ids is None else ids[1],
        }
        for name, value in told.items():
            if not hasattr(record, name):  # what was given as `extra` knows better
                setattr(record, name, value)
        record.where = _where(record)
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message; in steps also where it comes from; any exception.

    The keys are `time` (UTC, ISO 8601), `level` (``info`` …), `logger`, `message`, and where they are known `run`,
    `flow`, `step`, `invocation`, `attempt`, `trace_id`, `span_id`, `exception` (with `type`, `message`, `stack`) and
    `stack`. What else was given as ``extra`` is left out.

    Example:
        >>> handler.addFilter(RunLogFilter())
        >>> handler.setFormatter(JsonFormatter())
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key, name in _KEYS.items():
            value = getattr(record, name, "")
            if value != "":
                told[key] = value
        if record.exc_info and record.exc_info[0] is not None:
            told["exception"] = {
                "type": record.exc_info[0].__name__,
                "message": str(record.exc_info[1]),
                "stack": self.formatException(record.exc_info),
            }
        elif record.exc_text:  # a filter has written it, and left something out
            told["exception"] = {"stack": record.exc_text}
        if record.stack_info:
            told["stack"] = self.formatStack(record.stack_info)
        return json.dumps(told, ensure_ascii=False, default=str)


_KEYS = {
    "run": "run_id",
    "flow": "flow",
    "step": "step",
    "invocation": "invocation",
    "attempt": "attempt",
    "trace_id": "trace_id",
    "span_id": "span_id",
}
"""Keys of the JSON form, and the attributes of a record that they tell."""


def _of_sdk(record: logging.LogRecord) -> Here | None:
    """Where a record of the Temporal SDK comes from, which says so in its own way."""
    activity: Mapping[str, Any] | None = getattr(record, "temporal_activity", None)
    if activity is not None and activity.get("workflow_id"):
        flow, _, step = str(activity.get("activity_type", "")).rpartition(".")
        number = str(activity.get("activity_id", ""))
        invocation = int(number) if number.isdigit() else 0
        return Here(activity["workflow_id"], flow, step, invocation, int(activity.get("attempt", 1)))
    return None


def _where(record: logging.LogRecord) -> str:
    """Run, step and trace in one text, with a blank before it, or nothing."""
    known = {"run": "run_id", "step": "step", "trace": "trace_id"}
    return "".join(f" {label}={value}" for label, name in known.items() if (value := getattr(record, name)))
