"""How a program ends: its exit code, what it says of an error, and an end that cannot crash.

A short process that has connected to Temporal can crash while the interpreter shuts down, because the SDK's threads are
still there; so the programs flush their output and leave at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NoReturn

from everstep.cli.text import InputError, clean
from everstep.errors import (
    EverstepError,
    FlowNotFoundError,
    MissingExtraError,
    RunNotFoundError,
    ServerUnreachableError,
    SettingsError,
    WorkflowTimeoutError,
    WorkflowValidationError,
)

DEBUG_VARIABLE = "EVERSTEP_DEBUG"


class Exit(IntEnum):
    """What the exit codes of all programs mean."""

    OK = 0
    FAILED = 1
    """The run failed or was cancelled, or what was asked was refused."""
    USAGE = 2
    """The command line, the input or a flow's file is wrong."""
    UNREACHABLE = 3
    """No Temporal server answers."""
    NOT_FOUND = 4
    """There is no such run or flow."""
    NOT_YET = 5
    """The run goes on, nobody answered in time, or the run timed out."""
    INTERRUPTED = 130
    """Ctrl-C; a run that was followed goes on."""


EXIT_CODES_HELP = (
    "Exit codes: 0 done; 1 the run failed, or was refused; 2 wrong usage or input; 3 no server answers; "
    "4 no such run or flow; 5 no result or no answer in time; 130 Ctrl-C, and the run goes on."
)


class CommandError(EverstepError):
    """A command cannot do what was asked; `code` is how the program ends."""

    code: Exit = Exit.FAILED

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code


_CODES: tuple[tuple[type[EverstepError], Exit], ...] = (
    (ServerUnreachableError, Exit.UNREACHABLE),
    (RunNotFoundError, Exit.NOT_FOUND),
    (FlowNotFoundError, Exit.NOT_FOUND),
    (WorkflowTimeoutError, Exit.NOT_YET),
    (WorkflowValidationError, Exit.USAGE),
    (MissingExtraError, Exit.USAGE),
    (SettingsError, Exit.USAGE),
    (InputError, Exit.USAGE),
)


def code_of(error: BaseException) -> Exit:
    """The exit code that an error stands for."""
    if isinstance(error, CommandError):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)


def say_error(error: Exception) -> None:
    """Tell an error on stderr: its text, and its traceback only where that was asked for."""
    if os.environ.get(DEBUG_VARIABLE):
        sys.stderr.write("".join(traceback.format_exception(error)))
    if isinstance(error, EverstepError):
        sys.stderr.write(f"error: {clean(str(error))}\n")
        return
    sys.stderr.write(
        f"error: unexpected {type(error).__name__}: {clean(str(error))}\n"
        f"Set {DEBUG_VARIABLE}=1 to see where it comes from.\n"
    )


def guarded(work: Callable[[], Any]) -> NoReturn:
    """Run a program's work and end the process with its exit code."""
    code = Exit.OK
    try:
        work()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else Exit.OK if ended.code is None else Exit.FAILED
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough
        code = Exit.OK
    except Exception as error:
        say_error(error)
        code = code_of(error)
    leave(code)


def leave(code: int) -> NoReturn:
    """End the process at once, with its output written."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
