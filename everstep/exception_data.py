"""Exceptions as plain JSON: `{type, message, traceback}`, and back without importing anything.

Only Python's own exceptions and everstep's errors are rebuilt as what they were; every other type comes back
as `UnreconstructedException`, which keeps the name of the original and its text.
"""

from __future__ import annotations

import ast
import builtins
import traceback as tracebacks
from collections.abc import Mapping
from typing import Any

from everstep import errors


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


def exception_to_data(error: BaseException) -> dict[str, str]:
    """An exception as plain JSON: `type`, `message`, `traceback` (empty where there is none)."""
    trace = "".join(tracebacks.format_exception(error)) if error.__traceback__ is not None else ""
    return {"type": exception_type_name(error), "message": str(error), "traceback": trace}


def exception_from_data(data: Mapping[str, Any]) -> Exception:
    """The exception that `exception_to_data` wrote; its traceback stays text, and is not attached."""
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
