"""What an extraction is about: where the documents are, what their records look like, where the results go.

Rule: everything is looked up once, so that mistakes show before the first call of a model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from activities.documents import Document, read_document
from activities.errors import DocumentUnreadable
from activities.extracted import DEFAULT_FOLDER, Extracted, Format
from activities.extracting import PerDocument
from activities.folder_changes import Changes, folder_changes
from activities.record_model import Checked, RecordModel, read_schema, record_model
from activities.snippets import snippets


class Job(BaseModel):
    """An extraction, with everything looked up.

    Attributes:
        folder, paths: the folder, and the places below it.
        model: as in `record_model`, but for schema files, which are read.
        fingerprint: the same as long as the same is wanted of a document.
        columns: the names of a record's fields.
        out, format: the folder for the results, and the form of the file with all records.
        per_document: how many records a document has.
        corrections: how often the chat model is told what is wrong.
        due, assignee: how many seconds a person has, and who is asked.
    """

    folder: str
    paths: list[str]
    model: str | dict[str, Any]
    fingerprint: str = ""
    columns: list[str] = []
    out: str
    format: Format
    per_document: PerDocument
    corrections: int
    due: float | None
    assignee: str | None

    @property
    def results(self) -> Extracted:
        """Where the results are kept."""
        return Extracted(self.out)

    def looked_up(self, allowed: Sequence[str]) -> Job:
        """The job with its folder and its model found.

        Raises:
            RecordModelInvalid: there is no such model, or it is none.
            ResultsUnwritable: the results cannot be put there.
        """
        place = Path(self.folder).absolute()
        one = place.is_file()
        # A schema file is read once: the run does not change when the file does.
        of_file = isinstance(self.model, str) and self.model.endswith(".json")
        model = read_schema(str(self.model)) if of_file else self.model
        records = record_model(model, allowed=allowed)
        found = {
            "folder": str(place.parent if one else place),
            "paths": [place.name] if one else self.paths,
            "model": model,
            "fingerprint": f"{records.fingerprint} {self.per_document}",
            "columns": list(records.schema.get("properties", {})),
            "out": str(Path(self.out).absolute()),
        }
        job = self.model_copy(update=found)
        if Path(job.folder).is_dir():  # of one that is not there, the walk through it tells
            job.results.claim(job.folder)
        return job

    def changes(self, after: str, limit: int) -> Changes:
        """The next documents to do, behind the source `after`; results of documents that are gone are removed.

        Raises:
            DocumentUnreadable: there is no such folder, or a place leads out of it.
        """
        results = self.results
        found = folder_changes(self.folder, self.paths, results.known(self.fingerprint), after=after, limit=limit)
        # What is only outside of `paths` this time is none of this run's business.
        found.removed = [source for source in found.removed if not Path(self.folder, source).exists()]
        for source in found.removed:
            results.remove(source)
        return found

    def read(self, source: str) -> Document:
        """A document of the folder, the whole of it. Raises DocumentUnreadable."""
        return read_document(Path(self.folder, source), self.folder, whole=True)

    def places(self, source: str, checked: Checked) -> list[str]:
        """Where the document speaks of a record's wrong fields; nowhere, if the document is gone by now."""
        try:
            return snippets(self.read(source), checked.record, checked.faults)
        except DocumentUnreadable:
            return []

    def records(self, allowed: Sequence[str]) -> RecordModel:
        """What the records look like. Raises RecordModelInvalid."""
        return record_model(self.model, allowed=allowed)


def new_folder(name: str) -> str:
    """A folder for results below EVERSTEP_EXTRACTED, by default `.everstep/extracted`."""
    return str(Path(os.environ.get("EVERSTEP_EXTRACTED") or DEFAULT_FOLDER, name))
