"""What the examples in docstrings take for granted: a flow, a ledger, agents, clients; each as small as they allow."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel
from temporalio import workflow

from everstep import Context, Workflow, step
from everstep.agent import Agent
from everstep.agent.testing import ScriptedModel
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent


class Progress(Event):
    """Shown by `MyFlow`."""


class Found(Event):
    """What `MyFlow` has found."""

    text: str


class Priced(Event):
    """What something costs."""


class Approval(HumanResponseEvent):
    """An answer."""

    approved: bool


class AskApproval(InputRequiredEvent):
    """A question."""

    response_event = Approval
    sum: int


class MyFlow(Workflow):
    """Looks for what its topic says, and publishes that."""

    @step
    async def research(self, ev: StartEvent) -> Found:
        """Finds the topic itself."""
        return Found(text={"tides": "high"}.get(ev.get("topic"), "x"))

    @step
    async def publish(self, ctx: Context, ev: Found) -> StopEvent:
        """Shows progress twice."""
        for _ in range(2):
            ctx.write_event_to_stream(Progress())
        return StopEvent(result=ev.text)


class Count(Workflow):
    """Adds what it is given to what its state has."""

    @step
    async def count(self, ctx: Context, ev: StartEvent) -> StopEvent:
        """As the example of `Context` does."""
        total = await ctx.store.get("total", default=0) + ev.get("amount", 0)
        await ctx.store.set("total", total)
        return StopEvent(result=total)


class Summarise(Workflow):
    """A child that is given a text."""

    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        """Gives it back."""
        return StopEvent(result=ev.text)


class ReadPage(Workflow):
    """A child that is given an address."""

    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        """Gives it back."""
        return StopEvent(result=ev.url)


@workflow.defn(sandboxed=False)
class OtherWorkflow:
    """One that is written by hand."""

    @workflow.run
    async def run(self) -> None:
        """Does nothing."""


class Invoice(BaseModel):
    """A model of the reader's."""

    total: int


class Database:
    """A client of the reader's."""


async def search(query: str) -> Sequence[Any]:
    """A search of the reader's."""
    return [SimpleNamespace(id="a", score=0.5, text=query)]


async def ask(messages: Sequence[Any]) -> Any:
    """A model of the reader's."""
    return SimpleNamespace(text=f"{len(messages)} read", read=3, written=4)


async def best(query: str, found: Sequence[Any]) -> Sequence[Any]:
    """A re-ranker of the reader's."""
    return found


async def find_order(order_id: str) -> str:
    """Find an order."""
    return order_id


async def refund(order_id: str) -> str:
    """Pay an order back."""
    return order_id


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def divide(a: int, b: int) -> float:
    """Divide two numbers."""
    return a / b


def scripted() -> ScriptedModel:
    """In the place of a model's client."""
    return ScriptedModel(*["It is 12."] * 9)


def stage() -> dict[str, Any]:
    """The names, made anew for each example."""
    ours = {
        name: value
        for name, value in globals().items()
        if getattr(value, "__module__", None) == __name__ and name not in ("scripted", "stage")
    }
    return ours | {
        "OpenAIChat": scripted,
        "answer": "Refunds take 5 days.",
        "billing": Agent("billing", model=scripted()),
        "checked": lambda text: text,
        "flow": Count(),
        "found": [],
        "ledger": SimpleNamespace(pay=lambda *_, **__: "paid"),
        "messages": [{"role": "user", "content": "Why?"}],
        "provider": TracerProvider(),
        "query": "tides",
        "sign": lambda text: text,
        "triage": Agent("triage", model=scripted()),
    }
