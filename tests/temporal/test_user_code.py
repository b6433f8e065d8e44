"""Where a worker runs what is the user's beside steps: never on its own loop, which polls and heartbeats."""

from __future__ import annotations

import threading
from typing import ClassVar

from pydantic import model_validator
from temporalio.client import Client

from everstep import Workflow, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.temporal import TemporalRuntime, serving
from tests.support.waiting import until


class Seen:
    """Which threads have run what."""

    threads: ClassVar[dict[str, set[int]]] = {}

    @classmethod
    def here(cls, what: str) -> None:
        cls.threads.setdefault(what, set()).add(threading.get_ident())


class Begin(StartEvent):
    @model_validator(mode="after")
    def _look(self) -> Begin:
        Seen.here("start event")
        return self


class Question(InputRequiredEvent):
    pass


class Answer(HumanResponseEvent):
    @model_validator(mode="after")
    def _look(self) -> Answer:
        Seen.here("answer")
        return self


class Refused(Exception):
    def __str__(self) -> str:
        Seen.here("text of an error")
        return "no"


class OneMore:
    """A policy of one's own."""

    def next(self, elapsed_time: float, attempts: int, error: Exception, seed: int | None = None) -> float | None:
        Seen.here("retry policy")
        return 0.0 if attempts < 2 else None


class Asks(Workflow):
    def check_answer(self, question: Event, answer: Event) -> None:
        Seen.here("check_answer")

    @step
    async def ask(self, ev: Begin) -> Question:
        return Question()

    @step(retry_policy=OneMore())
    async def end(self, ev: Answer) -> StopEvent:
        if len(Seen.threads.get("retry policy", ())) == 0:
            raise Refused
        return StopEvent(result="ended")


async def test_no_user_code_runs_on_the_workers_own_loop(client: Client, task_queue: str) -> None:
    """Validators of events from outside, `check_answer`, retry policies and the texts of errors: what blocks there
    would cost other steps their heartbeats."""
    Seen.threads.clear()
    async with serving(client, [Asks], task_queue=task_queue):
        handler = await TemporalRuntime(client, task_queue=task_queue).start_flow("Asks", {})
        await until(handler.requests)
        await handler.respond({})
        assert await handler == "ended"
    assert set(Seen.threads) == {"start event", "answer", "check_answer", "retry policy", "text of an error"}
    assert threading.get_ident() not in set().union(*Seen.threads.values())
