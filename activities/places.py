"""How a place in a document is written: as editors and browsers understand it, so that it can be clicked and opened."""

from __future__ import annotations


def place_of(path: str, start_line: int, end_line: int, page: int | None = None) -> str:
    """A place as text: `docs/guide.md:120-134`, `notes.txt:7`, `report.pdf#page=3`.

    Args:
        path: The file.
        start_line, end_line: The first and the last line, counted from 1.
        page: The page, of documents that have pages; their lines are those of extracted text, which nobody can look up.
    """
    if page is not None:
        return f"{path}#page={page}"
    return f"{path}:{start_line}-{end_line}" if end_line > start_line else f"{path}:{start_line}"
