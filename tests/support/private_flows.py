"""Flows whose every part holds a secret: events, state, questions, answers, errors, what is shown, a child, results."""

from __future__ import annotations

from everstep import Context, Workflow, step
from everstep.errors import ChildFailedError
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed


class Secret(StartEvent):
    secret: str


class Shown(Event):
    secret: str


class Held(Event):
    secret: str


class Ask(InputRequiredEvent):
    secret: str


class Told(HumanResponseEvent):
    secret: str


class Ended(StopEvent):
    secret: str


class Below(Workflow):
    """A child: it fails with the secret."""

    @step
    async def fail(self, ev: Secret) -> StopEvent:
        raise LookupError(f"below: {ev.secret}")


class Private(Workflow):
    """Tells its secret to all that everstep has."""

    @step(retry_policy=retry_policy(wait=wait_fixed(1.1), stop=stop_after_attempt(4)))
    async def begin(self, ctx: Context, ev: Secret) -> Held:
        ctx.write_event_to_stream(Shown(secret=ev.secret))
        await ctx.store.set("secret", ev.secret)
        if ctx.retry_info().retry_number == 0:
            raise ValueError(f"first: {ev.secret}")
        return Held(secret=ev.secret)

    @step(local=True)
    async def hold(self, ctx: Context, ev: Held) -> Shown:
        return Shown(secret=ev.secret)

    @step
    async def call(self, ctx: Context, ev: Shown) -> Ask:
        async with ctx.store.edit_state() as state:
            state["edited"] = ev.secret
        try:
            await ctx.run(Below, secret=ev.secret)
        except ChildFailedError as error:
            await ctx.store.set("below", str(error))
        return Ask(secret=ev.secret)

    @step
    async def end(self, ctx: Context, ev: Told) -> Ended:
        if ev.secret.startswith("fail"):
            raise RuntimeError(f"at the end: {ev.secret}")
        return Ended(secret=ev.secret)
