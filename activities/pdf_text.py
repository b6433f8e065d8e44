"""The text of a PDF, with a heading for each page."""

from __future__ import annotations

import io
import logging
from pathlib import Path

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from activities.errors import DocumentUnreadable

# Its notes on slightly broken files are no use to someone who indexes a folder; real failures raise.
logging.getLogger("pypdf").setLevel(logging.ERROR)


def pdf_lines(path: Path, content: bytes) -> tuple[list[tuple[int, str]], list[tuple[int, int]]]:
    """Numbered lines of the extracted text, and the pages with their first lines; each opens with `# Page N`.

    Raises:
        DocumentUnreadable: encrypted with a password, or not a sound PDF.
    """
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentUnreadable(path, "it is encrypted; save a copy without a password.")
        pages = [page.extract_text() for page in reader.pages]
    except DocumentUnreadable:
        raise
    except PyPdfError as error:
        raise DocumentUnreadable(path, f"it is not a sound PDF ({error}).") from error
    except Exception as error:  # pypdf meets damaged objects with whatever Python raises there
        raise DocumentUnreadable(path, f"it is a damaged PDF ({type(error).__name__}: {error}).") from error
    lines: list[str] = []
    starts: list[tuple[int, int]] = []
    for number, text in enumerate(pages, 1):
        if text.strip():
            starts.append((number, len(lines) + 1))
            lines += [f"# Page {number}", "", *text.splitlines(), ""]
    return list(enumerate(lines, 1)), starts
