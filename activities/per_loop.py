"""One asynchronous client per event loop.

Steps may run on several event loops of one process, while an HTTP client's connections belong to the loop
that opened them. Rule: a client made here is only ever used on the loop that asked for it.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Builds a client on first use in each running loop and keeps it as long as that loop lives.

    Args:
        build: Makes a new client; called on the loop that will use it.
    """

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def get(self) -> T:
        """The running loop's client. Raises RuntimeError outside a running loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            client = self._clients.get(loop)
            if client is None:
                client = self._clients[loop] = self._build()
            return client

    def forget(self) -> T | None:
        """Takes the running loop's client out, for its owner to close; None when there is none."""
        with self._lock:
            return self._clients.pop(asyncio.get_running_loop(), None)
