"""Fields are taken from the pages of a document side by side, and corrected until a person is content."""

import json
from collections.abc import Callable
from typing import Annotated

from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from everstep import Context, Workflow, catch_error, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StepFailedEvent, StopEvent
from everstep.resource import Resource
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_none

MODEL = "gpt-4.1-mini"


class ExtractionState(BaseModel):
    pages: list[str] = Field(default_factory=list)
    corrections: list[str] = Field(default_factory=list)
    unreadable: list[int] = Field(default_factory=list)


class DocumentEvent(StartEvent):
    pages: list[str]


class PageEvent(Event):
    number: int
    text: str


class PageFieldsEvent(Event):
    number: int
    fields: dict[str, str]


class DraftEvent(Event):
    fields: dict[str, str]
    version: int = 1


class ReviewEvent(InputRequiredEvent):
    fields: dict[str, str]
    version: int


class ReviewedEvent(HumanResponseEvent):
    version: int
    correction: str | None = None


class CorrectEvent(Event):
    fields: dict[str, str]
    version: int
    correction: str


class ExtractedEvent(StopEvent):
    fields: dict[str, str]
    versions: int
    corrections: list[str]
    unreadable: list[int]


def get_llm() -> AsyncOpenAI:
    return AsyncOpenAI(max_retries=0)


async def fields_from(llm: AsyncOpenAI, prompt: str) -> dict[str, str]:
    completion = await llm.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": prompt}], response_format={"type": "json_object"}
    )
    return json.loads(completion.choices[0].message.content or "")


class ExtractionFlow(Workflow):
    @step
    async def split(self, ctx: Context[ExtractionState], ev: DocumentEvent) -> list[PageEvent]:
        await ctx.store.set("pages", ev.pages)
        return [PageEvent(number=number, text=text) for number, text in enumerate(ev.pages, 1)]

    @step(num_workers=3, retry_policy=retry_policy(wait=wait_none(), stop=stop_after_attempt(2)))
    async def extract(self, ev: PageEvent, llm: Annotated[AsyncOpenAI, Resource(get_llm)]) -> PageFieldsEvent:
        fields = await fields_from(llm, f"Give the fields of this page as JSON: {ev.text}")
        return PageFieldsEvent(number=ev.number, fields=fields)

    @catch_error(for_steps=["extract"])
    async def leave_out(self, ctx: Context[ExtractionState], ev: StepFailedEvent) -> PageFieldsEvent:
        number = ev.input_event.number
        async with ctx.store.edit_state() as state:
            state.unreadable.append(number)
        return PageFieldsEvent(number=number, fields={})

    @step
    async def merge(self, evs: list[PageFieldsEvent]) -> DraftEvent:
        fields: dict[str, str] = {}
        for page in sorted(evs, key=lambda ev: ev.number):
            fields |= page.fields
        return DraftEvent(fields=fields)

    @step
    async def review(self, ctx: Context[ExtractionState], ev: DraftEvent) -> CorrectEvent | ExtractedEvent:
        reviewed = await ctx.wait_for_event(
            ReviewedEvent,
            waiter_event=ReviewEvent(fields=ev.fields, version=ev.version),
            waiter_id=f"review {ev.version}",
            requirements={"version": ev.version},
        )
        if reviewed.correction:
            return CorrectEvent(fields=ev.fields, version=ev.version, correction=reviewed.correction)
        state = await ctx.store.get_state()
        return ExtractedEvent(
            fields=ev.fields, versions=ev.version, corrections=state.corrections, unreadable=state.unreadable
        )

    @step
    async def correct(
        self, ctx: Context[ExtractionState], ev: CorrectEvent, llm: Annotated[AsyncOpenAI, Resource(get_llm)]
    ) -> DraftEvent:
        pages = "\n".join(await ctx.store.get("pages"))
        corrected = await fields_from(llm, f"Correct {json.dumps(ev.fields)}: {ev.correction}\nThe pages: {pages}")
        async with ctx.store.edit_state() as state:
            state.corrections.append(ev.correction)
        return DraftEvent(fields=corrected, version=ev.version + 1)


async def main(pages: list[str], person: Callable[[dict[str, str]], str | None]) -> ExtractedEvent:
    flow = ExtractionFlow(timeout=None)
    handler = flow.run(start_event=DocumentEvent(pages=pages))
    async for ev in handler.stream_events():
        if isinstance(ev, ReviewEvent):
            handler.ctx.send_event(ReviewedEvent(version=ev.version, correction=person(ev.fields)))
    return await handler
