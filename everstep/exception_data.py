"""Exceptions as plain JSON: `{type, message, causes, traceback}`, and back without importing anything.

Only Python's own exceptions and everstep's errors are rebuilt as what they were; every other type comes back
as `UnreconstructedException`, which keeps the name of the original and its text.
"""

from __future__ import annotations

import ast
import builtins
import os
import sysconfig
import traceback as tracebacks
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from everstep import errors
from everstep.retry.conditions import causes_of

TRACEBACK_LIMIT = 8_000
"""How many characters of a traceback are kept: its end, where the error stands."""

TEXT_LIMIT = 8_000
"""How many characters of an exception's text are kept: its start and its end. It travels several times, with its causes
and in other encodings, and all of that must stay below what a server takes."""

CAUSES_KEPT = 10
"""How many of an exception's causes travel with it."""


class UnreconstructedException(Exception):
    """Stands for an exception whose class is not rebuilt from JSON.

    Args:
        message: the text of the original, so that `str()` of both is the same.
        original_type: the name of the original's class, with its module.

    Example: `if isinstance(e, UnreconstructedException) and e.original_type == "httpx.ReadTimeout": ...`
    """

    def __init__(self, message: str, *, original_type: str | None = None) -> None:
        super().__init__(message)
        self.original_type = original_type

    def __repr__(self) -> str:
        return f"UnreconstructedException({str(self)!r}, original_type={self.original_type!r})"


def exception_type_name(error: BaseException) -> str:
    """The name under which an exception travels: bare for a builtin, else with its module."""
    if isinstance(error, UnreconstructedException) and error.original_type:
        return error.original_type
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def exception_to_data(error: BaseException) -> dict[str, Any]:
    """An exception as plain JSON: `type`, `message`, and where there are any, `causes`."""
    causes = causes_to_data(error)
    return {**_named(error), "causes": causes} if causes else _named(error)


def causes_to_data(error: BaseException) -> list[dict[str, str]]:
    """What an exception was raised ``from``, and that in turn: the nearest first, as `type` and `message`."""
    return [_named(cause) for cause in islice(causes_of(error), CAUSES_KEPT)]


def authors_traceback(error: BaseException) -> TracebackType | None:
    """An exception's traceback from where the author's code comes in; all of it where that had no part in it."""
    found = error.__traceback__
    while found is not None and _is_machinery(found.tb_frame.f_code.co_filename):
        found = found.tb_next
    return found or error.__traceback__


def _is_machinery(file: str) -> bool:
    return file.startswith(_EVERSTEP) or (file.startswith(_STANDARD_LIBRARY) and "site-packages" not in file)


_EVERSTEP = str(Path(__file__).parent) + os.sep
_STANDARD_LIBRARY = sysconfig.get_path("stdlib") + os.sep


def traceback_text(error: BaseException) -> str:
    """The end of an exception's traceback, causes included, where the error itself stands."""
    frames = tracebacks.format_tb(authors_traceback(error))
    told = tracebacks.TracebackException.from_exception(error)
    del told.stack[: len(told.stack) - len(frames)]
    text = _encodable("".join(told.format()))
    if len(text) <= TRACEBACK_LIMIT:
        return text
    said = exception_text(error)
    if len(said) > TRACEBACK_LIMIT // 4:  # it would push out what tells where it happened
        frames = "".join(frames)
        text = f"{frames}{exception_type_name(error)}: {shortened(said, TRACEBACK_LIMIT // 4)}"
    return "…" + text[-TRACEBACK_LIMIT:] if len(text) > TRACEBACK_LIMIT else text


def speakable(error: Exception) -> Exception:
    """The exception, or where others cannot print it or it says too much, it or a cause, one that stands for it."""
    causes = list(islice(causes_of(error), CAUSES_KEPT + 1))
    if len(causes) <= CAUSES_KEPT and all(map(_travels, (error, *causes))):
        return error
    return exception_from_data(exception_to_data(error)).with_traceback(error.__traceback__)


def _travels(error: BaseException) -> bool:
    try:
        return str(error) == exception_text(error)
    except Exception:
        return False


def exception_from_data(data: Mapping[str, Any]) -> Exception:
    """The exception that `exception_to_data` wrote, with its causes."""
    error = outer = _from_name(data)
    for cause in data.get("causes") or ():
        outer.__cause__ = _from_name(cause)
        outer = outer.__cause__
    return error


def _named(error: BaseException) -> dict[str, str]:
    return {"type": exception_type_name(error), "message": exception_text(error)}


def exception_text(error: BaseException) -> str:
    """An exception's text, shortened where it is long; also where its author's `__str__` fails."""
    try:
        return shortened(_encodable(str(error)))
    except Exception as fault:  # that must not hide the error
        return f"(its text cannot be had: {type(fault).__name__})"


def shortened(text: str, limit: int = TEXT_LIMIT) -> str:
    """A text of at most so many characters: start and end of a longer one, and how much is left out."""
    if len(text) <= limit:
        return text
    note = f" […: {len(text):,} characters, shortened] "
    half = (limit - len(note)) // 2
    return text[:half] + note + text[-half:]


def _encodable(text: str) -> str:
    """The text without half characters, which no encoding takes."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _from_name(data: Mapping[str, Any]) -> Exception:
    name, message = str(data["type"]), str(data["message"])
    return _rebuilt(name, message) or UnreconstructedException(message, original_type=name)


def _rebuilt(name: str, message: str) -> Exception | None:
    module, _, bare = name.rpartition(".")
    if module in ("", "builtins"):
        found: object = getattr(builtins, bare, None)
    elif module == errors.__name__:
        found = getattr(errors, bare, None)
    else:
        return None
    if not (isinstance(found, type) and issubclass(found, Exception)):
        return None
    if issubclass(found, errors.EverstepError):
        return found.from_message(message)
    return _builtin(found, message)


def _builtin(kind: type[Exception], message: str) -> Exception | None:
    try:
        # A KeyError's text is the repr of its key; given that text as a key, it would be quoted twice.
        error = kind(ast.literal_eval(message)) if issubclass(kind, KeyError) else kind(message)
    except (TypeError, ValueError, SyntaxError):
        return None
    return error if str(error) == message else None
