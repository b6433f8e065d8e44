"""Logs that tell where they come from: run, step, and the trace that has the rest of the story."""

from __future__ import annotations

import logging

from everstep.observe.here import here
from everstep.observe.port import tracing_so_far


class RunLogFilter(logging.Filter):
    """Gives every record `run_id`, `flow`, `step`, `invocation`, `trace_id` and `span_id`; empty outside of a step.

    Put it on a handler, so that it sees the records of all loggers: user code's too. `where` is all of it as one text.

    Example:
        >>> handler.addFilter(RunLogFilter())
        >>> handler.setFormatter(logging.Formatter("%(levelname)s %(message)s run=%(run_id)s trace=%(trace_id)s"))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Adds what is known; keeps every record."""
        step = here.get()
        makes = tracing_so_far()
        ids = None if makes is None else makes.current_ids()
        told: dict[str, object] = {
            "run_id": "" if step is None else step.run_id,
            "flow": "" if step is None else step.flow,
            "step": "" if step is None else step.step,
            "invocation": "" if step is None else step.invocation,
            "trace_id": "" if ids is None else ids[0],
            "span_id": "" if ids is None else ids[1],
        }
        for name, value in told.items():
            if not hasattr(record, name):  # what was given as `extra` knows better
                setattr(record, name, value)
        record.where = _where(record)
        return True


def _where(record: logging.LogRecord) -> str:
    """Run, step and trace in one text, with a blank before it, or nothing."""
    known = {"run": "run_id", "step": "step", "trace": "trace_id"}
    return "".join(f" {label}={value}" for label, name in known.items() if (value := getattr(record, name)))
