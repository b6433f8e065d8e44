"""A joke is written, a critic judges it, and it is written again until it is good enough."""

import json
from typing import Annotated, Any

from openai import APIConnectionError, AsyncOpenAI, InternalServerError, RateLimitError
from everstep import Context, Workflow, step
from everstep.events import Event, StartEvent, StopEvent
from everstep.resource import Resource
from everstep.retry_policy import retry_if_exception_type, retry_policy, stop_after_attempt, wait_exponential

MODEL = "gpt-4.1-mini"

busy = retry_policy(
    retry=retry_if_exception_type((RateLimitError, InternalServerError, APIConnectionError)),
    wait=wait_exponential(multiplier=0.05, max=1),
    stop=stop_after_attempt(4),
)


class JokeRequest(StartEvent):
    topic: str
    good_enough: int = 8
    max_rounds: int = 5


class JokeEvent(Event):
    joke: str


class CritiqueEvent(Event):
    joke: str
    critique: str


class ProgressEvent(Event):
    msg: str


class JokeResult(StopEvent):
    joke: str
    score: int
    rounds: int


def get_llm() -> AsyncOpenAI:
    # The steps have a retry policy, so the client does not need one.
    return AsyncOpenAI(max_retries=0)


async def ask(llm: AsyncOpenAI, prompt: str) -> str:
    completion = await llm.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": prompt}])
    return completion.choices[0].message.content or ""


class JokeFlow(Workflow):
    @step(retry_policy=busy)
    async def write_joke(
        self, ctx: Context, ev: JokeRequest, llm: Annotated[AsyncOpenAI, Resource(get_llm)]
    ) -> JokeEvent:
        await ctx.store.set("good_enough", ev.good_enough)
        await ctx.store.set("max_rounds", ev.max_rounds)
        return JokeEvent(joke=await ask(llm, f"Write a joke about {ev.topic}."))

    @step(retry_policy=busy)
    async def critique_joke(
        self, ctx: Context, ev: JokeEvent, llm: Annotated[AsyncOpenAI, Resource(get_llm)]
    ) -> CritiqueEvent | JokeResult:
        verdict = json.loads(await ask(llm, f"Judge this joke, as JSON with score and critique: {ev.joke}"))
        score = int(verdict["score"])
        rounds = await ctx.store.get("rounds", default=0) + 1
        await ctx.store.set("rounds", rounds)
        ctx.write_event_to_stream(ProgressEvent(msg=f"round {rounds}: {score}"))

        best = await ctx.store.get("best", default=None)
        if best is None or score > best["score"]:
            best = {"joke": ev.joke, "score": score}
            await ctx.store.set("best", best)
        if score >= await ctx.store.get("good_enough") or rounds >= await ctx.store.get("max_rounds"):
            return JokeResult(joke=best["joke"], score=best["score"], rounds=rounds)
        return CritiqueEvent(joke=ev.joke, critique=verdict["critique"])

    @step(retry_policy=busy)
    async def improve_joke(self, ev: CritiqueEvent, llm: Annotated[AsyncOpenAI, Resource(get_llm)]) -> JokeEvent:
        return JokeEvent(joke=await ask(llm, f"Improve this joke: {ev.joke}\nThe critic says: {ev.critique}"))


async def main(topic: str, **options: Any) -> tuple[JokeResult, list[str]]:
    handler = JokeFlow(timeout=120).run(topic=topic, **options)
    progress = [ev.msg async for ev in handler.stream_events() if isinstance(ev, ProgressEvent)]
    return await handler, progress
