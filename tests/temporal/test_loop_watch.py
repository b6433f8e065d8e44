"""The watch over event loops, where workers of one process come and go."""

from __future__ import annotations

import asyncio
import threading
import time

from everstep.temporal.loop_watch import LoopWatch


async def test_a_watch_that_is_taken_up_again_at_once_costs_nothing() -> None:
    """A worker that starts right behind another one's end: the thread goes on, and does not turn without a pause."""
    watch, loop = LoopWatch(), asyncio.get_running_loop()
    watch.add("worker's", loop, threading.get_ident())
    await asyncio.sleep(0.05)
    spent = 0.0
    for _ in range(10):
        watch.remove(loop)
        watch.add("worker's", loop, threading.get_ident())
        began = time.process_time()
        await asyncio.sleep(0.05)
        spent += time.process_time() - began
    watch.remove(loop)
    assert spent < 0.1, "of half a second"
