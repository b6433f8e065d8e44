"""The end of a process that has talked to Temporal: the SDK's threads are given a moment to let go of the interpreter.

One of them may hold a Python object while the interpreter ends, which then aborts the process ("PyGILState_Release"),
after all work was done and with an exit code that says otherwise.
"""

from __future__ import annotations

import atexit
import functools
import time

MOMENT = 0.2
"""Seconds; once, when the process ends."""


@functools.cache
def wait_at_exit() -> None:
    """Have this process wait for a moment when it ends; asking again changes nothing."""
    atexit.register(time.sleep, MOMENT)
