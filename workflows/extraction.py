"""`ExtractionFlow` makes records of a folder of documents: invoices, resumes, whatever a pydantic model describes.

    scan → extract → check → (extract again with the faults, or a person mends) → settle → collect → scan …

Every model call is a step of its own, seen in the history and retried alone. What is done with a document is kept in a
file of its own: events carry drafts of records, never documents, and a later run goes on where this one ended.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator

from activities.document_results import DocumentResult, Facts, Outcome, Totals, WrongRecord, counted
from activities.errors import DocumentUnreadable, ExtractionStopped, RecordModelInvalid
from activities.extracted import Format
from activities.extracting import (
    OF_ALL,
    OF_THE_DOCUMENT,
    Correction,
    Draft,
    FormModel,
    PerDocument,
    check_draft,
    check_mended,
    model_from_env,
    write_draft,
)
from activities.extraction_job import Job, new_folder
from activities.record_model import WHOLE, Checked, Faults, RecordModel, allowed_modules
from activities.retries import RETRIES, TRANSIENT
from everstep import Context, Workflow, catch_error, step
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StepFailedEvent, StopEvent
from everstep.retry_policy import retry_if_exception_type, retry_policy, stop_after_attempt, wait_exponential_jitter

MODEL_SECONDS = 150.0
"""One attempt of a model call; the client gives up by itself before that."""

MENDING_RETRIES = retry_policy(
    # Days may lie between the question and the answer, and the worker of that day may lack the model at first.
    retry=retry_if_exception_type((*TRANSIENT, RecordModelInvalid)),
    wait=wait_exponential_jitter(initial=1, max=60),
    stop=stop_after_attempt(8),
)


class ExtractionProgress(Event):
    """What a run is doing with a document, for whoever follows it; without `source`, with all of them."""

    source: str | None = None
    stage: str
    text: str


class ExtractionSummary(Event):
    """What became of each document, as a table for people."""

    table: str


class ExtractFolder(StartEvent):
    """Make records of the documents of a folder.

    Attributes:
        folder: the folder, or one document, as the worker sees it.
        model: what a record looks like: `package.module:Class` for a pydantic model from a module that the worker
            allows, the path of a JSON Schema file (`.json`), or the JSON Schema itself.
        paths: files and folders below the folder to take; by default all of it.
        out: the folder for the results. What is done there is not done again while documents and model stay the same.
            By default a new one, below EVERSTEP_EXTRACTED.
        format: of the file with all records, `jsonl` or `csv`.
        per_document: `one`: each document holds exactly one record.
        corrections: how often the chat model is told what is wrong before a person is asked, 0 to 10.
        due: seconds that a person has to mend a record; None: for ever.
        assignee: the person or role that is asked.
    """

    from_outside = False

    folder: str
    model: str | dict[str, Any]
    paths: list[str] = Field(default_factory=lambda: ["."])
    out: str | None = None
    format: Format = "jsonl"
    per_document: PerDocument = "any"
    corrections: int = Field(default=2, ge=0, le=10)
    due: float | None = Field(default=None, gt=0)
    assignee: str | None = None


class ExtractFile(Event):
    """A document whose records are wanted."""

    from_outside = False

    source: str


class Drafted(Event):
    """The records of a document as the chat model wrote them."""

    from_outside = False

    facts: Facts
    draft: Draft


class Correct(Event):
    """A draft that is to be written anew."""

    from_outside = False

    facts: Facts
    correction: Correction


class RecordWrong(Event):
    """A record that a person is to mend. `number` counts a document's records from 1, `of` is how many it has."""

    from_outside = False

    facts: Facts
    number: int
    of: int
    record: dict[str, Any]
    faults: Faults
    places: list[str]


class RecordSettled(Event):
    """A record that nothing more happens to. One with faults was not mended; one that is dropped is none."""

    from_outside = False

    facts: Facts
    number: int
    record: dict[str, Any]
    faults: Faults = Field(default_factory=Faults)
    mended: bool = False
    dropped: bool = False


class RecordMended(HumanResponseEvent):
    """A person's word on a record.

    Attributes:
        fields: new values by the path of the field, such as `{"total": 12.5, "lines.2.amount": 3}`; the other fields
            stay. `{}` leaves the record as it is.
        drop: it is no record.
    """

    fields: dict[str, Any] = Field(default_factory=dict[str, Any])
    drop: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> RecordMended:
        stray = sorted(self.keys())
        if stray:
            raise ValueError(f"{', '.join(stray)}: fields of the record go below `fields`, as in fields.{stray[0]}=…")
        if not {"fields", "drop"} & self.model_fields_set and not self.expired:
            raise ValueError("say what changes, as in fields.total=12.5, or drop=true if it is no record")
        return self


class MendRecord(InputRequiredEvent):
    """Asks a person to mend a record.

    Attributes:
        document: the file, and which of its records this is.
        faults: what is wrong, by the path of the field.
        record: as it is now.
        places: where the document speaks of it, as `file:line: text`.
    """

    response_event = RecordMended

    document: str
    faults: Faults
    record: dict[str, Any]
    places: list[str]


class DocumentDone(Event):
    """A document is settled; its result is kept in a file."""

    from_outside = False

    source: str
    outcome: Outcome


class ScanOn(Event):
    """Go on with the walk through the folder behind this source."""

    from_outside = False

    after: str


class ExtractionResult(StopEvent, Totals):
    """What became of the documents, and where the records are: in `file`, in the folder `out`. `model` wrote them."""

    file: str = ""
    out: str = ""
    model: str = ""


class ExtractionFlow(Workflow):
    """Makes records of the documents of a folder, checked by a model of yours; people mend what a chat model cannot.

    Args:
        model: the chat model; by default the one that the environment names.
        record_models: patterns of the modules from which models of records may be imported, such as `invoices` or
            `records.*`. By default those in EVERSTEP_EXTRACTION_MODELS, separated by commas, else none: whoever starts
            a run cannot have the worker import what its operator has not named.
        batch: how many documents one round handles, which bounds what a single event of the history can hold. The next
            round begins when all of them are settled, also those that wait for people.
        options: of `Workflow`.

    Example:
        flow = ExtractionFlow(record_models=["invoices"])
        result = await flow.run(folder="inbox", model="invoices:Invoice", out="results", format="csv")
    """

    def __init__(
        self,
        model: FormModel | None = None,
        *,
        record_models: Sequence[str] | None = None,
        batch: int = 5_000,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._model = model
        self._building = threading.Lock()
        self._allowed = tuple(allowed_modules() if record_models is None else record_models)
        self._batch = batch

    @step(retry_policy=RETRIES, timeout=300)
    async def scan(self, ctx: Context, ev: ExtractFolder | ScanOn) -> list[ExtractFile]:
        """Find the documents that are to be done."""
        if isinstance(ev, ExtractFolder):
            given = ev.model_dump() | {"out": ev.out or new_folder(ctx.run_id)}
            job = await asyncio.to_thread(Job.model_validate(given).looked_up, self._allowed)
            name = (await asyncio.to_thread(lambda: self.model)).describe()  # its client is imported for a second
            await ctx.store.set("job", job)
            await ctx.store.set("result", ExtractionResult(out=job.out, model=name))
            ctx.write_event_to_stream(ExtractionProgress(stage="scan", text=f"{name}, into {job.out}"))
        job, after = await _job(ctx), ev.after if isinstance(ev, ScanOn) else ""
        found = await asyncio.to_thread(job.changes, after, self._batch)
        result = ExtractionResult.model_validate(await ctx.store.get("result"))
        result.unchanged += found.unchanged
        result.removed += len(found.removed)
        await ctx.store.set("result", result)
        await ctx.store.set("cursor", found.cursor)
        text = f"{counted(len(found.changed), 'document')} to do, {found.unchanged} done before"
        ctx.write_event_to_stream(ExtractionProgress(stage="scan", text=text))
        return [ExtractFile(source=source) for source in found.changed]

    @step(num_workers=8, retry_policy=RETRIES, timeout=MODEL_SECONDS)
    async def extract(self, ctx: Context, ev: ExtractFile | Correct) -> Drafted | DocumentDone:
        """Have the chat model write the records of a document, or write them anew."""
        job = await _job(ctx)
        before, correction = (ev.facts, ev.correction) if isinstance(ev, Correct) else (Facts(source=ev.source), None)
        stopped: str = await ctx.store.get("stopped", default="")
        if stopped:
            return await _ended(ctx, before, "skipped", f"not done: {stopped}")
        facts = before
        try:
            document = await asyncio.to_thread(job.read, before.source)
            facts = before.model_copy(update={"content_hash": document.content_hash})
            # A draft of a file that has changed meanwhile says nothing about what the file is now.
            correction = correction if facts.content_hash == before.content_hash else None
            records, model = await self._records(job), await asyncio.to_thread(lambda: self.model)
            draft, usage = await write_draft(
                model, document, records, per_document=job.per_document, correction=correction
            )
        except OF_THE_DOCUMENT as error:
            reason = error.reason if isinstance(error, DocumentUnreadable) else str(error)
            return await _ended(ctx, facts, "failed", reason)
        except OF_ALL as error:
            await ctx.store.set("stopped", str(error))
            return await _ended(ctx, facts, "skipped", str(error))
        return Drafted(facts=facts.model_copy(update={"usage": facts.usage + usage}), draft=draft)

    @step(num_workers=8, retry_policy=RETRIES, timeout=60)
    async def check(self, ctx: Context, ev: Drafted) -> Correct | list[RecordSettled | RecordWrong] | DocumentDone:
        """Hold the records against their model; what is wrong goes back to the chat model, and then to a person."""
        job, facts = await _job(ctx), ev.facts
        checked, faults = check_draft(await self._records(job), ev.draft, job.per_document)
        if faults and facts.corrections < job.corrections:
            facts = facts.model_copy(update={"corrections": facts.corrections + 1})
            text = f"{facts.corrections} of {job.corrections}: {'; '.join(faults)}"[:400]
            ctx.write_event_to_stream(ExtractionProgress(source=facts.source, stage="correct", text=text))
            return Correct(facts=facts, correction=Correction(draft=ev.draft, faults=faults))
        if not faults:
            return await _keep(ctx, DocumentResult.of(facts, [each.record for each in checked]))
        return await asyncio.to_thread(_parted, job, facts, checked)

    @step(num_workers=8, retry_policy=MENDING_RETRIES)
    async def repair(self, ctx: Context, ev: RecordWrong) -> RecordSettled:
        """Ask a person to mend a record, until it is sound."""
        job = await _job(ctx)
        records = await self._records(job)
        record, faults = ev.record, ev.faults
        asked = {"document": f"{ev.facts.source}, record {ev.number} of {ev.of}", "places": ev.places}
        while True:
            question = MendRecord(**asked, record=record, faults=faults, due=job.due, assignee=job.assignee)
            try:
                answer = await ctx.wait_for_event(RecordMended, waiter_event=question)
            except TimeoutError:
                return RecordSettled(facts=ev.facts, number=ev.number, record=record, faults=faults)
            if answer.drop:
                return RecordSettled(facts=ev.facts, number=ev.number, record=record, dropped=True)
            checked = check_mended(records, record, faults, answer.fields)
            record, faults = checked.record, checked.faults
            if not faults:
                return RecordSettled(facts=ev.facts, number=ev.number, record=record, mended=True)

    @step(retry_policy=RETRIES, timeout=60)
    async def settle(self, ctx: Context, evs: list[RecordSettled]) -> DocumentDone:
        """Put a document's records together again."""
        kept = sorted((each for each in evs if not each.dropped), key=lambda each: each.number)
        sound = [each.record for each in kept if not each.faults]
        wrong = [WrongRecord(record=each.record, faults=each.faults) for each in kept if each.faults]
        result = DocumentResult.of(evs[0].facts, sound, wrong)
        result.mended, result.dropped = sum(each.mended for each in evs), len(evs) - len(kept)
        return await _keep(ctx, result)

    @catch_error(for_steps=["extract", "check"])
    async def give_up(self, ctx: Context, ev: StepFailedEvent) -> DocumentDone:
        """A document whose step has failed for good is reported; the others go on."""
        given = ev.input_event
        facts = Facts.model_validate(given.get("facts") or {"source": given["source"]})
        return await _ended(ctx, facts, "failed", f"step {ev.step_name!r} failed: {ev.exception}")

    @catch_error(for_steps=["repair"])
    async def leave_wrong(self, ev: StepFailedEvent) -> RecordSettled:
        """A record that cannot be mended because of an error is kept as it is, with its faults."""
        given = RecordWrong.model_validate(ev.input_event.model_dump())
        faults = {**given.faults, WHOLE: f"it could not be mended: {ev.exception}"}
        return RecordSettled(facts=given.facts, number=given.number, record=given.record, faults=faults)

    @step(retry_policy=RETRIES, timeout=300)
    async def collect(self, ctx: Context, evs: list[DocumentDone]) -> ScanOn | ExtractionResult:
        """Count a round's outcomes; after the last round, write the tables."""
        job, result = await _job(ctx), ExtractionResult.model_validate(await ctx.store.get("result"))
        result.add(await asyncio.to_thread(job.results.outcomes, {ev.source: ev.outcome for ev in evs}))
        stopped: str = await ctx.store.get("stopped", default="")
        cursor: str | None = await ctx.store.get("cursor")
        if cursor is not None and not stopped:
            await ctx.store.set("result", result)
            return ScanOn(after=cursor)
        file, result.records = await asyncio.to_thread(job.results.write, job.format, job.columns)
        result.file = str(file)
        ctx.write_event_to_stream(ExtractionSummary(table=f"\n{await asyncio.to_thread(job.results.table)}"))
        if stopped:
            raise ExtractionStopped(
                f"{stopped} The run stopped: of its documents {result.extracted + result.empty} are done and "
                f"{result.skipped} were not begun or finished. What is done is kept in {job.out}: when the cause is "
                f"mended, run it again with out={job.out} to do the rest."
            )
        return result

    @property
    def model(self) -> FormModel:
        """The chat model. Raises ModelAuthError where none is configured."""
        with self._building:
            if self._model is None:
                self._model = model_from_env()
            return self._model

    async def _records(self, job: Job) -> RecordModel:
        return await asyncio.to_thread(job.records, self._allowed)


async def _job(ctx: Context) -> Job:
    return Job.model_validate(await ctx.store.get("job"))


def _parted(job: Job, facts: Facts, checked: list[Checked]) -> list[RecordSettled | RecordWrong]:
    """The sound records, and those for a person, with what the document says about them."""
    return [
        RecordWrong(
            facts=facts,
            number=number,
            of=len(checked),
            record=each.record,
            faults=each.faults,
            places=job.places(facts.source, each),
        )
        if each.faults
        else RecordSettled(facts=facts, number=number, record=each.record)
        for number, each in enumerate(checked, 1)
    ]


async def _ended(ctx: Context, facts: Facts, outcome: Outcome, reason: str) -> DocumentDone:
    return await _keep(ctx, DocumentResult.without(facts, outcome, reason))


async def _keep(ctx: Context, result: DocumentResult) -> DocumentDone:
    """Keep what became of a document in its file, and tell it."""
    job = await _job(ctx)
    result.fingerprint, result.model = job.fingerprint, await ctx.store.get("result.model")
    await asyncio.to_thread(job.results.keep, result)
    parts = [str(result.outcome), result.reason, counted(len(result.records), "record") if result.records else ""]
    text = ", ".join(filter(None, parts))
    ctx.write_event_to_stream(ExtractionProgress(source=result.source, stage="done", text=text))
    return DocumentDone(source=result.source, outcome=result.outcome)
