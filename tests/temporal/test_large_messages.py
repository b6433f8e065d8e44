"""Many messages, or large ones, while no worker is there: no payload, hence no workflow task, becomes too large."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import Client

from everstep import Context, Workflow, step
from everstep.errors import ResponseRefusedError
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import Limits, TemporalRuntime, serving
from everstep.temporal.handler import TemporalHandler
from everstep.temporal.internal import replayed_events
from tests.support.waiting import until
from tests.temporal.test_internal_events import followed


class Question(InputRequiredEvent):
    pass


class Answer(HumanResponseEvent):
    approved: bool = True


class Note(Event):
    text: str
    more: str = "as much again " * 30


class Desk(Workflow):
    """Takes notes by two steps, which an activity has to judge for that, until a person has answered."""

    @step
    async def ask(self, ev: StartEvent) -> Question:
        return Question()

    @step(num_workers=1, skip_graph_checks=["reachability"])
    async def count(self, ctx: Context, ev: Note) -> None:
        await ctx.store.set("notes", await ctx.store.get("notes", default=0) + 1)

    @step(num_workers=1, skip_graph_checks=["reachability"])
    async def first(self, ctx: Context, ev: Note) -> None:
        await ctx.store.set("letters", await ctx.store.get("letters", default="") + ev.text[0])

    @step
    async def end(self, ctx: Context, ev: Answer) -> StopEvent:
        return StopEvent(result=[await ctx.store.get("notes", default=0), await ctx.store.get("letters", default="")])


async def _begun(client: Client, task_queue: str, limits: Limits) -> TemporalHandler:
    async with serving(client, [Desk], task_queue=task_queue, limits=limits):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Desk")
        await until(handler.requests)
    return handler


async def _note(handler: TemporalHandler, text: str) -> None:
    await handler.workflow.signal("send_event", {"type": "Note", "data": {"text": text}})


async def _notes(handler: TemporalHandler) -> str:
    """The first letters of the notes that were taken."""
    return (await handler.state()).get("letters", "")


async def _mirrored(client: Client, handler: TemporalHandler) -> None:
    history = list((await handler.workflow.fetch_history()).events)
    assert await followed(client, history) == await replayed_events(client, "run", history)


@pytest.mark.slow
async def test_what_piled_up_in_an_outage_is_judged_in_parts(client: Client, task_queue: str) -> None:
    """4 MB of events come to the run with one workflow task, twice of what one payload may have."""
    limits = Limits(continue_at_bytes=20_000_000)
    handler = await _begun(client, task_queue, limits)
    letters = "abcdefghijklmnopqrstuvwxyz" * 2
    for letter in letters[:40]:
        await _note(handler, letter * 100_000)
    async with serving(client, [Desk], task_queue=task_queue, limits=limits):

        async def all_taken() -> bool:
            return len(await _notes(handler)) == 40

        await until(all_taken)
        await handler.respond({"approved": True})
        assert await asyncio.wait_for(handler, 20) == [40, letters[:40]]
    await _mirrored(client, handler)


@pytest.mark.slow
async def test_verdicts_that_are_more_than_a_payload_come_in_parts(client: Client, task_queue: str) -> None:
    """Defaults are filled in, so events are larger than what came: the rest is judged another time, in order."""
    limits = Limits(payload=8_000)
    handler = await _begun(client, task_queue, limits)
    for letter in "abcdefghijklmnopqrstuvwxyz":
        await _note(handler, letter)
    async with serving(client, [Desk], task_queue=task_queue, limits=limits):

        async def all_taken() -> bool:
            return len(await _notes(handler)) == 26

        await until(all_taken)
        await handler.respond({"approved": True})
        assert await asyncio.wait_for(handler, 20) == [26, "abcdefghijklmnopqrstuvwxyz"]
    await _mirrored(client, handler)


async def test_a_message_too_large_to_be_judged_is_refused(client: Client, task_queue: str) -> None:
    """What the server just took as a signal is too large with what belongs to it; by update its sender is told."""
    limits = Limits()
    handler = await _begun(client, task_queue, limits)
    large = {"approved": True, "why": "x" * 2_060_000}
    await handler.workflow.signal("respond", large)
    async with serving(client, [Desk], task_queue=task_queue, limits=limits):

        async def refused() -> list[Any]:
            (request,) = await handler.requests()
            return request["refused"]

        (one,) = await until(refused)
        assert "over the server's limit of 2000000; send references" in one["reason"]
        with pytest.raises(ResponseRefusedError, match="over the server's limit"):
            await handler.respond(large)
        await handler.respond({"approved": True})
        assert await asyncio.wait_for(handler, 20) == [0, ""]
    await _mirrored(client, handler)
