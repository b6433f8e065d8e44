"""What the SDK logs, without what runs hold: where payloads are encrypted, it tells types and lines, not messages.

What steps log themselves is not touched.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence

from everstep.temporal.privacy.failures import OF_SETTINGS

_LOGGERS = (
    "temporalio.activity",
    "temporalio.workflow",
    "temporalio.client",
    "temporalio.converter",
    "temporalio.worker",
    "temporalio.worker._activity",
    "temporalio.worker._workflow",
    "temporalio.worker._workflow_instance",
    "temporalio.service",
)
HIDDEN = "(left out: payloads are encrypted)"


class ContentFilter(logging.Filter):
    """Takes messages of exceptions and values of payloads out of records."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Changes the record; keeps every one."""
        if record.exc_info and record.exc_info[1] is not None:
            told = _without_messages(record.exc_info[1])
            if isinstance(record.msg, str):  # the SDK writes some errors into the message itself
                record.msg = _cut(record.msg, record.exc_info[1])
            record.exc_info, record.exc_text = None, told
        if isinstance(record.args, Mapping):
            record.args = {key: _shown(value) for key, value in record.args.items()}
        elif record.args:
            record.args = tuple(_shown(value) for value in record.args)
        return True


def keep_contents_out() -> None:
    """Have the SDK's loggers keep contents out, from now on and in this process."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, ContentFilter) for one in logger.filters):
            logger.addFilter(ContentFilter())


def _without_messages(error: BaseException) -> str:
    """A traceback with its files, lines and types, and of messages nothing."""
    lines: list[str] = []
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    for one in reversed(chain):
        lines += ["Traceback (most recent call last):\n", *traceback.format_tb(one.__traceback__)]
        lines.append(f"{type(one).__module__}.{type(one).__qualname__}: {_told(one)}\n")
    return "".join(lines).rstrip()


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, OF_SETTINGS) else HIDDEN


def _cut(message: str, error: BaseException) -> str:
    for one in (error, error.__cause__, error.__context__):
        if one is not None and str(one) and not isinstance(one, OF_SETTINGS):
            message = message.replace(str(one), HIDDEN)
    return message


def _shown(value: object) -> object:
    """An argument of a message: names and numbers pass, exceptions and values of payloads do not."""
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {_told(value)}"
    if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str | bytes)):
        return HIDDEN
    return value
