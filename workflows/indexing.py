"""`IndexFlow` makes a folder of documents searchable, at the cost of what changed since the last time.

    scan → index_file | remove_file (side by side) → collect → scan …

Events carry names and counts; documents and vectors stay out of the history.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from activities.chunking import Chunk, Chunking, chunk_document
from activities.documents import read_document
from activities.errors import DocumentUnreadable
from activities.folder_changes import folder_changes
from activities.knowledge import Knowledge
from activities.retries import RETRIES
from everstep import Context, Workflow, step
from everstep.events import Event, StartEvent, StopEvent


class IndexProgress(Event):
    """What a run is doing, for whoever follows it: the step, what it did, and how many documents it is about."""

    stage: str
    text: str
    total: int | None = None


class IndexFolder(StartEvent):
    """Make an index mirror a folder: add and replace what changed there, take out what is gone.

    Attributes:
        folder: the folder, as the worker sees it; sources are named relative to it.
        paths: files and folders below it to take; by default all of it.
        index: the index's name. One index mirrors one folder.
        chunking: sizes of the passages, in tokens; by default the flow's. Other sizes than last time index all anew.
    """

    folder: str
    paths: list[str] = Field(default_factory=lambda: ["."])
    index: str = "default"
    chunking: Chunking | None = None


class IndexFile(Event):
    """A document that is new or has changed."""

    source: str


class RemoveFile(Event):
    """A document that is in the index and no longer in the folder."""

    source: str


class FileDone(Event):
    """What became of one document. `reason` says why it could not be read."""

    source: str
    outcome: Literal["indexed", "removed", "failed"]
    passages: int = 0
    reason: str = ""


class ScanOn(Event):
    """Go on with the walk through the folder behind this source."""

    after: str


class FileError(BaseModel):
    """A document that could not be read."""

    source: str
    reason: str


class IndexResult(StopEvent):
    """What indexing changed, in documents. `passages` are those of the whole index now; of `errors`, 50 are listed."""

    index: str
    indexed: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: int = 0
    passages: int = 0
    errors: list[FileError] = Field(default_factory=list[FileError])
    embedder: str = ""


class IndexFlow(Workflow):
    """Makes a folder of documents searchable; again and again, at the cost of what changed.

    A document that cannot be read is reported, and taken out of the index if it was in it; the others go on. What is
    wrong with models or stores is retried, and fails the run when it lasts; what was indexed by then stays.

    Args:
        knowledge: embedder and indexes; by default those that the environment names.
        batch: how many documents one round handles, which bounds what a single event of the history can hold.
        chunking: sizes of the passages, where a run gives none. Never more than the embedding model reads is used.
        options: of `Workflow`.

    Example:
        result = await IndexFlow().run(folder="docs", chunking=Chunking(max_tokens=200, overlap_tokens=30))
    """

    def __init__(
        self,
        knowledge: Knowledge | None = None,
        *,
        batch: int = 500,
        chunking: Chunking | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.knowledge = knowledge or Knowledge()
        self._batch = batch
        self._chunking = chunking or Chunking()

    @step(retry_policy=RETRIES, timeout=300)
    async def scan(self, ctx: Context, ev: IndexFolder | ScanOn) -> list[IndexFile | RemoveFile]:
        """Compare the folder with the index."""
        await self.knowledge.load(ev.index if isinstance(ev, IndexFolder) else await ctx.store.get("job.index"))
        if isinstance(ev, IndexFolder):
            sizes = (ev.chunking or self._chunking).within(self.knowledge.embedder.max_tokens)
            asked = {"folder": ev.folder, "paths": ev.paths, "index": ev.index, "chunking": sizes.model_dump()}
            await ctx.store.set("job", asked)
            await ctx.store.set("result", IndexResult(index=ev.index, embedder=self.knowledge.embedder.describe()))
        job: dict[str, Any] = await ctx.store.get("job")
        store = self.knowledge.index(job["index"])
        await store.ensure(self.knowledge.embedder.dimension)
        known = await store.source_hashes(self._sizes(job).recipe)
        after = ev.after if isinstance(ev, ScanOn) else ""
        found = await asyncio.to_thread(
            folder_changes, job["folder"], job["paths"], known, after=after, limit=self._batch
        )
        await ctx.store.set("cursor", found.cursor)
        await ctx.store.set("result.unchanged", await ctx.store.get("result.unchanged") + found.unchanged)
        total = len(found.changed) + len(found.removed)
        text = f"{len(found.changed)} to index, {len(found.removed)} to remove, {found.unchanged} unchanged"
        ctx.write_event_to_stream(IndexProgress(stage="scan", text=text, total=total))
        return [
            *(IndexFile(source=source) for source in found.changed),
            *(RemoveFile(source=source) for source in found.removed),
        ]

    @step(num_workers=4, retry_policy=RETRIES, timeout=900)
    async def index_file(self, ctx: Context, ev: IndexFile) -> FileDone:
        """Read, cut, embed and store one document."""
        job: dict[str, Any] = await ctx.store.get("job")
        await self.knowledge.load(job["index"])
        store = self.knowledge.index(job["index"])
        try:
            chunks = await asyncio.to_thread(self._read_chunks, Path(job["folder"]), ev.source, self._sizes(job))
        except DocumentUnreadable as error:
            # What can no longer be looked up must not be cited either.
            await store.delete_source(ev.source)
            ctx.write_event_to_stream(IndexProgress(stage="index_file", text=f"{ev.source}: {error.reason}"))
            return FileDone(source=ev.source, outcome="failed", reason=error.reason)
        await store.index_source(chunks, self.knowledge.embedder.embed)
        ctx.write_event_to_stream(IndexProgress(stage="index_file", text=f"{ev.source}: {len(chunks)} passages"))
        return FileDone(source=ev.source, outcome="indexed", passages=len(chunks))

    @step(num_workers=4, retry_policy=RETRIES, timeout=60)
    async def remove_file(self, ctx: Context, ev: RemoveFile) -> FileDone:
        """Take a document out of the index."""
        index: str = await ctx.store.get("job.index")
        await self.knowledge.load(index)
        await self.knowledge.index(index).delete_source(ev.source)
        ctx.write_event_to_stream(IndexProgress(stage="remove_file", text=f"{ev.source}: removed"))
        return FileDone(source=ev.source, outcome="removed")

    @step(retry_policy=RETRIES, timeout=60)
    async def collect(self, ctx: Context, evs: list[FileDone]) -> ScanOn | IndexResult:
        """Count a round's outcomes; the last round ends the run."""
        result = IndexResult.model_validate(await ctx.store.get("result"))
        for done in evs:
            setattr(result, done.outcome, getattr(result, done.outcome) + 1)
        errors = [FileError(source=done.source, reason=done.reason) for done in evs if done.outcome == "failed"]
        result.errors = sorted([*result.errors, *errors], key=lambda error: error.source)[:50]
        cursor: str | None = await ctx.store.get("cursor")
        if cursor is not None:
            await ctx.store.set("result", result)
            return ScanOn(after=cursor)
        await self.knowledge.load(result.index)
        result.passages = await self.knowledge.index(result.index).count()
        return result

    def _sizes(self, job: dict[str, Any]) -> Chunking:
        """How this run cuts; a run that an older version began has no word on it."""
        return Chunking.model_validate(job["chunking"]) if "chunking" in job else self._chunking

    def _read_chunks(self, folder: Path, source: str, chunking: Chunking) -> list[Chunk]:
        chunks = chunk_document(read_document(folder / source, folder), self.knowledge.embedder.count_tokens, chunking)
        if not chunks:
            raise DocumentUnreadable(folder / source, "it holds headings and no text below them.")
        return chunks
