"""Questions are planned, a person approves them, they are researched side by side, and a report is written."""

import json
from collections.abc import Callable
from typing import Annotated

from openai import AsyncOpenAI, RateLimitError
from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from everstep.resource import Resource
from everstep.retry_policy import retry_if_exception_type, retry_policy, stop_after_attempt, wait_fixed

MODEL = "gpt-4.1-mini"


class PlanEvent(Event):
    topic: str
    feedback: str = ""


class ReviewPlanEvent(InputRequiredEvent):
    prefix: str
    questions: list[str]


class QuestionEvent(Event):
    number: int
    question: str


class AnswerEvent(Event):
    number: int
    question: str
    answer: str


class TokenEvent(Event):
    delta: str


class LLMs:
    """All clients that the steps need."""

    def __init__(self) -> None:
        self.openai = AsyncOpenAI(max_retries=0)

    async def ask(self, prompt: str) -> str:
        completion = await self.openai.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": prompt}]
        )
        return completion.choices[0].message.content or ""

    async def aclose(self) -> None:
        await self.openai.close()


async def get_llms() -> LLMs:
    return LLMs()


class ResearchFlow(Workflow):
    @step
    async def start(self, ctx: Context, ev: StartEvent) -> PlanEvent:
        await ctx.store.set("topic", ev.topic)
        return PlanEvent(topic=ev.topic)

    @step
    async def plan(self, ctx: Context, ev: PlanEvent, llms: Annotated[LLMs, Resource(get_llms)]) -> ReviewPlanEvent:
        wishes = f" Mind this: {ev.feedback}" if ev.feedback else ""
        questions = json.loads(await llms.ask(f"Plan questions about {ev.topic}, as a JSON list.{wishes}"))
        await ctx.store.set("questions", questions)
        return ReviewPlanEvent(prefix="Shall I research these?", questions=questions)

    @step
    async def review(self, ctx: Context, ev: HumanResponseEvent) -> QuestionEvent | PlanEvent | None:
        if ev.response.strip().lower() != "yes":
            return PlanEvent(topic=await ctx.store.get("topic"), feedback=ev.response)
        for number, question in enumerate(await ctx.store.get("questions")):
            ctx.send_event(QuestionEvent(number=number, question=question))
        return None

    @step(
        num_workers=4,
        retry_policy=retry_policy(
            retry=retry_if_exception_type(RateLimitError), wait=wait_fixed(0.05), stop=stop_after_attempt(3)
        ),
    )
    async def research(self, ctx: Context, ev: QuestionEvent, llms: Annotated[LLMs, Resource(get_llms)]) -> AnswerEvent:
        answer = await llms.ask(f"Answer shortly: {ev.question}")
        return AnswerEvent(number=ev.number, question=ev.question, answer=answer)

    @step
    async def write(self, ctx: Context, ev: AnswerEvent, llms: Annotated[LLMs, Resource(get_llms)]) -> StopEvent | None:
        questions = await ctx.store.get("questions")
        answers = ctx.collect_events(ev, [AnswerEvent] * len(questions))
        if answers is None:
            return None
        notes = "\n".join(f"- {one.answer}" for one in sorted(answers, key=lambda one: one.number))
        report = ""
        stream = await llms.openai.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": f"Write a report from these notes:\n{notes}"}],
            stream=True,
        )
        async for chunk in stream:
            delta = chunk.choices[0].delta.content if chunk.choices else None
            if delta:
                report += delta
                ctx.write_event_to_stream(TokenEvent(delta=delta))
        return StopEvent(result={"report": report, "answers": len(answers)})


async def main(topic: str, person: Callable[[list[str]], str]) -> tuple[dict[str, object], str]:
    handler = ResearchFlow(timeout=None).run(topic=topic)
    shown = ""
    async for ev in handler.stream_events():
        if isinstance(ev, ReviewPlanEvent):
            handler.ctx.send_event(HumanResponseEvent(response=person(ev.questions)))
        elif isinstance(ev, TokenEvent):
            shown += ev.delta
    return await handler, shown
