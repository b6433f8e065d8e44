"""What the SDK logs, without what runs hold: where payloads are encrypted, it tells types and lines, not messages.

What steps log themselves is not touched.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

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
            chain = _chain(record.exc_info[1])
            if isinstance(record.msg, str):  # the SDK writes some errors into the message itself
                record.msg = _cut(record.msg, chain)
            record.exc_info, record.exc_text = None, _without_messages(chain)
        if isinstance(record.args, Mapping):
            record.args = {key: _shown(value) for key, value in record.args.items()}
        elif record.args:
            record.args = tuple(_shown(value) for value in record.args)
        return True


@contextmanager
def contents_kept_out() -> Generator[None]:
    """Have the SDK's loggers keep contents out, all over this process, while a worker runs that has a key."""
    own = ContentFilter()  # each worker has its own: what one has taken out already is left alone by the others
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(own)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(own)


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it was raised from; what users raise may be equal to anything, and come round in a circle."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and all(current is not one for one in chain):
        chain.append(current)
        hidden = None if current.__suppress_context__ else current.__context__
        current = hidden if current.__cause__ is None else current.__cause__
    return chain


def _without_messages(chain: Sequence[BaseException]) -> str:
    """A traceback with its files, lines and types, and of messages nothing."""
    lines: list[str] = []
    for one in reversed(chain):
        lines += ["Traceback (most recent call last):\n", *traceback.format_tb(one.__traceback__)]
        lines.append(f"{type(one).__module__}.{type(one).__qualname__}: {_told(one)}\n")
    return "".join(lines).rstrip()


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, OF_SETTINGS) else HIDDEN


def _cut(message: str, chain: Sequence[BaseException]) -> str:
    for one in chain:
        if not isinstance(one, OF_SETTINGS) and (text := _text(one)):
            message = message.replace(text, HIDDEN)
    return message


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # what users raise may have no text
        return ""


def _shown(value: object) -> object:
    """An argument of a message: names and numbers pass, exceptions and values of payloads do not."""
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {_told(value)}"
    if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str | bytes)):
        return HIDDEN
    return value
