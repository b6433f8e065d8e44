"""The log of a worker process: on stderr, as text for people or as one JSON object per line, and nothing else there."""

from __future__ import annotations

import logging
import sys
import threading
import time

from temporalio.exceptions import ApplicationError

from everstep.cli.exits import CommandError, Exit
from everstep.observe import JsonFormatter, RunLogFilter

_log = logging.getLogger("everstep.worker")

FORMATS = ("text", "json")
SELDOM_SECONDS = 60.0


def set_up_logging(level: str, form: str) -> None:
    """Log to stderr.

    Args:
        level: debug, info, warning or error; of everstep's own log. Others are heard from warning on, with debug from
            info on: what clients of models log below that are the contents of requests.
        form: text or json.

    Raises:
        CommandError: it is none of these.
    """
    number = parse_level(level, form)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else _text())
    handler.addFilter(RunLogFilter())  # tells run, step and trace of what steps log
    logging.basicConfig(
        level=logging.WARNING if number >= logging.INFO else logging.INFO, handlers=[handler], force=True
    )
    logging.getLogger("everstep").setLevel(number)
    logging.getLogger("temporalio.worker._workflow").addFilter(_one_line_for_unknown_flows)
    logging.getLogger("temporalio.core").addFilter(_Seldom())
    logging.captureWarnings(True)
    threading.excepthook = _uncaught


def parse_level(level: str, form: str) -> int:
    """The number of a level, of a log in this form.

    Raises:
        CommandError: there is no such level, or no such form.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise CommandError(
            f"There is no log level {level!r}: give debug, info, warning or error (EVERSTEP_LOG_LEVEL).", Exit.USAGE
        )
    if form not in FORMATS:
        raise CommandError(f"There is no log format {form!r}: give text or json (EVERSTEP_LOG_FORMAT).", Exit.USAGE)
    return number


def _text() -> logging.Formatter:
    form = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s %(message)s%(where)s"
    formatter = logging.Formatter(form, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    return formatter


def _one_line_for_unknown_flows(record: logging.LogRecord) -> bool:
    """The SDK logs a traceback where a run's flow is not served here; what matters is in the error's text."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ApplicationError) and error.type == "NotFoundError" and "not registered" in error.message:
        served = error.message.partition("available workflows:")[2].strip()
        flow = error.message.removeprefix("Workflow class ").partition(" ")[0]
        record.msg = (
            "a run of flow %s was given back: this worker serves %s. All workers of a task queue must serve the same "
            "flows; the run waits for one that does."
        )
        record.args = (flow, served)
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = record.exc_text = None
    return True


class _Seldom(logging.Filter):
    """Of what the SDK's core says, leaves out what is said already, and what it says every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is worth telling."""
        text = str(record.msg)
        if text.startswith("Failing workflow task"):  # the SDK itself has logged it, without its whole failure
            return False
        if "sending worker heartbeat" in text:  # the server is away, or refuses: one word a minute is enough
            if record.created < self._next:
                return False
            self._next = record.created + SELDOM_SECONDS
        return True


def _uncaught(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and failed.exc_type is not SystemExit:
        name = "a thread" if failed.thread is None else f"thread {failed.thread.name}"
        _log.error("%s ended by an error", name, exc_info=failed.exc_value)
