"""Buffers of `ctx.collect_events`: who completes a batch is decided here, once for each event, in O(1).

A pass is told "not yet" before its event is in the buffer. Where the buffer is complete with it, the pass runs again
with the batch, and what it did the first time is dropped.
"""

from __future__ import annotations

from dataclasses import replace

from everstep.engine.buffers import Buffer
from everstep.engine.messages import Envelope, Gather, Outcome
from everstep.engine.passes import Record
from everstep.engine.run import Run
from everstep.engine.scheduling import Invocation


def completes(run: Run, invocation: Invocation, outcome: Outcome) -> bool:
    """Put the events of a pass into their buffers; true if it was told "not yet" and is to run again with a batch.

    The invocation's record then says what it is told; without a batch the record is only needed if it waits.
    """
    record = invocation.record or Record(invocation.id)
    for gather in outcome.gathers:
        batch = _put(run, invocation, gather)
        record = record.gathered(gather.buffer, batch)
        if batch is not None:
            invocation.record = replace(record, attempts=outcome.attempts, tries=outcome.tries or record.tries)
            return True
    if outcome.gathers and outcome.suspended:
        invocation.record = record
    return False


def _put(run: Run, invocation: Invocation, gather: Gather) -> list[Envelope] | None:
    event = gather.event or invocation.event
    if event is None:
        return None
    name = f"{invocation.step}/{gather.buffer}"
    buffer = run.buffers.setdefault(name, Buffer())
    buffer.expect(gather.expected)
    batch = buffer.add(event)
    if buffer.empty:
        del run.buffers[name]
    return batch
