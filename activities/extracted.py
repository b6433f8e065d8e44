"""What was extracted from documents: a folder with one JSON file for each of them, and tables of all.

Rule: each file appears whole or not at all, and keeping the same result again changes nothing. So a step may do it
again, and a later run finds what this one has done.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from activities.document_results import DONE, DocumentOutcome, DocumentResult, Outcome
from activities.errors import ResultsUnwritable

DEFAULT_FOLDER = Path(".everstep/extracted")

Format = Literal["jsonl", "csv"]


class Extracted:
    """The folder with the results of an extraction.

    Args:
        folder: made when missing.

    Example:
        Extracted("results").keep(DocumentResult(source="a.txt", outcome="extracted", records=[{"total": 3}]))
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()
        self._documents = self.folder / "documents"

    def claim(self, documents: Path | str) -> None:
        """Make the folder, for the results of the documents of one folder.

        Raises:
            ResultsUnwritable: it cannot be written, or holds the results of another folder.
        """
        marker = self._documents / ".folder"
        try:
            self._documents.mkdir(parents=True, exist_ok=True)
            if not marker.exists():
                _replace(marker, f"{documents}\n")
            owner = marker.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ResultsUnwritable(
                f"The results cannot be written to {self.folder}: {error.strerror}. Give another folder as out."
            ) from error
        if owner != str(documents):
            raise ResultsUnwritable(
                f"{self.folder} holds the results of {owner}, not of {documents}. Give another folder as out; if the "
                f"documents were moved, delete {marker}."
            )

    def keep(self, result: DocumentResult) -> None:
        """Keep the result of a document, in place of the one before. One that was skipped replaces none.

        Raises:
            OSError: the folder cannot be written.
        """
        file = self._file(result.source)
        if result.outcome != "skipped" or not file.exists():
            self._documents.mkdir(parents=True, exist_ok=True)
            _replace(file, result.model_dump_json(indent=2))

    def remove(self, source: str) -> None:
        """Forget a document."""
        self._file(source).unlink(missing_ok=True)

    def results(self) -> Iterator[DocumentResult]:
        """The results, by the names of the documents; files that are none are passed over."""
        found: list[DocumentResult] = []
        for file in self._documents.glob("*.json") if self._documents.is_dir() else ():
            try:
                found.append(DocumentResult.model_validate_json(file.read_text(encoding="utf-8")))
            except (ValidationError, FileNotFoundError):
                continue
        yield from sorted(found, key=lambda result: result.source)

    def outcomes(self, settled: Mapping[str, Outcome]) -> list[DocumentOutcome]:
        """What became of these documents; one that was skipped may have an older result, which does not count."""
        kept = [each for each in self.results() if settled.get(each.source) == each.outcome]
        known = {each.source for each in kept}
        skipped = [source for source in settled if source not in known]
        return [*kept, *(DocumentOutcome(source=each, outcome=settled[each], reason="not done") for each in skipped)]

    def known(self, fingerprint: str) -> dict[str, str]:
        """The content hash of each document; empty for those that are to be done (again) for records like these."""
        return {
            result.source: result.content_hash if result.outcome in DONE and result.fingerprint == fingerprint else ""
            for result in self.results()
        }

    def write(self, form: Format, columns: Sequence[str] = ()) -> tuple[Path, int]:
        """Write all records into one file, and the outcomes of all documents into `documents.csv`.

        Args:
            form: `jsonl`, with `source` and `record` on each line, or `csv`, in which nested fields have dotted names.
            columns: which columns a CSV file has at least, in this order.

        Returns:
            The file of the records, and how many there are.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        results = list(self.results())
        records = [(result.source, record) for result in results for record in result.records]
        file = self.folder / f"records.{form}"
        if form == "jsonl":
            lines = [json.dumps({"source": s, "record": r}, ensure_ascii=False) for s, r in records]
            _replace(file, "".join(f"{line}\n" for line in lines))
        else:
            _replace(file, _csv(("source", *columns), [{"source": s} | flattened(r) for s, r in records]))
        _replace(self.folder / "documents.csv", _csv(_OUTCOME_COLUMNS, map(_outcome_row, results)))
        return file, len(records)

    def table(self, *, longest: int = 40) -> str:
        """The outcomes of the documents for people, what needs a look first, and the sums."""
        results = sorted(self.results(), key=lambda result: (result.outcome in DONE, result.source))
        rows = [("DOCUMENT", "OUTCOME", "RECORDS", "NOTE")]
        rows += [(each.source, each.outcome, str(len(each.records)), _note(each)) for each in results[:longest]]
        if len(results) > longest:
            rows.append((f"… and {len(results) - longest} more", "", "", "see documents.csv"))
        counts = Counter(result.outcome for result in results)
        sums = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "no documents"
        rows.append((f"{len(results)} in all", "", str(sum(len(each.records) for each in results)), sums))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
            for row in rows
        )

    def _file(self, source: str) -> Path:
        readable = re.sub(r"[^A-Za-z0-9]+", "-", source).strip("-")[:80]
        return self._documents / f"{readable}-{hashlib.sha256(source.encode()).hexdigest()[:10]}.json"


def flattened(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The record's fields by dotted names; lists, and objects without fields, as JSON."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict) and value:
            flat |= flattened(value, f"{prefix}{name}.")
        elif isinstance(value, dict | list | bool):
            flat[f"{prefix}{name}"] = json.dumps(value, ensure_ascii=False)
        else:
            flat[f"{prefix}{name}"] = value
    return flat


_OUTCOME_COLUMNS = ("source", "outcome", "records", "wrong", "corrections", "mended", "dropped", "tokens", "reason")


def _outcome_row(result: DocumentResult) -> dict[str, Any]:
    counts = {"records": len(result.records), "wrong": len(result.wrong), "tokens": result.usage.total_tokens}
    return result.model_dump(include={*_OUTCOME_COLUMNS} - counts.keys()) | counts


def _note(result: DocumentResult) -> str:
    parts = [result.reason] if result.reason else []
    for count, text in (
        (result.corrections, "corrected {} times" if result.corrections > 1 else "corrected once"),
        (result.mended, "{} mended by a person"),
        (result.dropped, "{} dropped by a person"),
    ):
        if count:
            parts.append(text.format(count))
    return "; ".join(parts)


def _csv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    kept = list(rows)
    # A column whose fields turned out to be nested is left out, unless there are no records to tell.
    seen = dict.fromkeys(name for row in kept for name in row)
    named = [name for name in columns if name in seen or not any(each.startswith(f"{name}.") for each in seen)]
    out = io.StringIO()
    writer = csv.DictWriter(out, [*dict.fromkeys([*named, *seen])], lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept)
    return out.getvalue()


def _replace(file: Path, text: str) -> None:
    handle, draft = tempfile.mkstemp(dir=file.parent, prefix=".draft-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(draft).replace(file)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
