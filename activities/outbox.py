"""Published answers: one Markdown file each, in a folder that something else may pick up from.

Rule: the key decides. A file appears whole or not at all, and the first publication under a key stays.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from activities.answers import Source

DEFAULT_FOLDER = Path(".everstep/outbox")


class Publication(BaseModel):
    """An approved answer. `model` says what wrote it, `comment` what the person who approved it remarked."""

    model_config = ConfigDict(frozen=True)

    question: str
    answer: str
    sources: list[Source] = []
    model: str = ""
    comment: str = ""

    def markdown(self) -> str:
        """The publication as a document."""
        lines = [f"# {self.question}", "", self.answer, ""]
        if self.sources:
            lines += ["## Sources", ""]
            lines += [f"{each.number}. {' – '.join(filter(None, (each.place, each.heading)))}" for each in self.sources]
            lines.append("")
        notes = [f"Written by: {self.model}"] if self.model else []
        notes += [f"Remark: {self.comment}"] if self.comment else []
        return "\n".join([*lines, *notes, ""] if notes else lines)


class Outbox:
    """A folder of publications, which any number of processes may use at once.

    Args:
        folder: Made when missing. Default: EVERSTEP_OUTBOX, else `.everstep/outbox`.

    Example:
        path = Outbox().publish(ctx.idempotency_key, Publication(question="…", answer="…"))
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = Path(folder or os.environ.get("EVERSTEP_OUTBOX") or DEFAULT_FOLDER)

    def publish(self, idempotency_key: str, publication: Publication) -> Path:
        """Publishes once per key, and gives the file; the same key again gives the first publication's.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / _file_name(idempotency_key)
        handle, draft = tempfile.mkstemp(dir=self.folder, prefix=".draft-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(publication.markdown())
                file.flush()
                os.fsync(file.fileno())
            # A hard link fails when the name is taken, in one step, whoever else is at it.
            os.link(draft, target)
        except FileExistsError:
            pass
        finally:
            Path(draft).unlink()
        return target.resolve()


def _file_name(key: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9]+", "-", key).strip("-")[:80]
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:10]}.md"
