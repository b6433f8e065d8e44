"""Documents are cut by their structure, into chunks that can be cited and that fit the embedding model."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from activities.chunking import Chunk, Chunking, chunk_document
from activities.documents import Document, Line, read_document
from activities.pieces import TokenCounter
from tests.support.pdf import pdf_of

GUIDE = """\
# Guide

Intro line.

## Retry

Steps are retried.
They wait first.

- one item
- another item

```bash
# not a heading
make demo
```

### Delays

Delays double.

Other
-----

The end.
"""


def words(text: str) -> int:
    """A tokenizer whose tokens are words."""
    return len(text.split())


def document_of(text: str, source: str = "docs/guide.md") -> Document:
    """A document with this text."""
    return Document(source=source, content_hash="h", lines=[Line(n, t) for n, t in enumerate(text.splitlines(), 1)])


def cut(text: str, most: int = 32, least: int = 0, overlap: int = 0) -> list[Chunk]:
    """The chunks of a text, with sizes in words."""
    sizes = Chunking(max_tokens=most, min_tokens=least, overlap_tokens=overlap)
    return chunk_document(document_of(text), words, sizes)


def numbered(count: int, prefix: str = "w", per_sentence: int = 10) -> str:
    """Sentences of numbered words."""
    found = [f"{prefix.upper() if n % per_sentence == 0 else prefix}{n}" for n in range(count)]
    return ". ".join(" ".join(found[n : n + per_sentence]) for n in range(0, count, per_sentence)) + "."


def test_sections_are_chunks() -> None:
    """Each section is a chunk with its heading path, its lines and its text as it stands; code is no heading."""
    chunks = cut(GUIDE)
    assert [(c.heading, c.start_line, c.end_line) for c in chunks] == [
        (["Guide"], 3, 3),
        (["Guide", "Retry"], 7, 16),
        (["Guide", "Retry", "Delays"], 20, 20),
        (["Guide", "Other"], 25, 25),
    ]
    assert [c.position for c in chunks] == [0, 1, 2, 3]
    assert chunks[1].text == "\n".join(GUIDE.splitlines()[6:16])
    assert chunks[2].indexed_text == "Guide > Retry > Delays\nDelays double."
    assert {(c.source, c.type) for c in chunks} == {("docs/guide.md", "markdown")}


def test_small_sections_stand_together() -> None:
    """Neighbours that are too small are one chunk under the heading that they share; their own are in its text."""
    chunks = cut("# Guide\n\n## One\n\nFirst.\n\n### Deeper\n\nMore.\n\n## Two\n\nNext.\n\n# Other\n\nLast.\n", least=3)
    assert [(c.heading, c.start_line, c.end_line) for c in chunks] == [(["Guide"], 3, 13), (["Other"], 17, 17)]
    assert chunks[0].text.split("\n\n") == ["## One", "First.", "### Deeper", "More.", "## Two", "Next."]


def test_paragraphs_stay_whole() -> None:
    """What fits is not cut; a chunk ends where the next paragraph would be too much."""
    paragraphs = [numbered(12, prefix) for prefix in "abcd"]
    chunks = cut("# T\n\n" + "\n\n".join(paragraphs))
    assert [c.text.split("\n\n") for c in chunks] == [paragraphs[:2], paragraphs[2:]]


def test_long_paragraphs_are_cut_at_sentences() -> None:
    """No chunk is too long, none cuts a sentence, no word is lost, and lines are those of the words."""
    text = numbered(200).replace(". ", ".\n")
    chunks = cut(f"# T\n\n{text}")
    assert max(words(c.indexed_text) for c in chunks) <= 32
    assert all(c.text.endswith(".") for c in chunks)
    assert "\n".join(c.text for c in chunks) == text
    assert [(c.start_line, c.end_line) for c in chunks][:2] == [(3, 4), (5, 6)]


def test_overlap_repeats_whole_sentences() -> None:
    """The end of a chunk begins the next one, as far as asked, and the lines say so."""
    text = numbered(100).replace(". ", ".\n")
    chunks = cut(text, most=40, overlap=12)
    assert [(c.start_line, c.end_line) for c in chunks] == [(1, 3), (3, 5), (5, 7), (7, 9), (9, 10)]
    assert max(words(c.text) for c in chunks) <= 40


def test_what_announces_goes_with_what_it_announces() -> None:
    """A paragraph that ends in a colon opens the chunk of the list behind it."""
    text = f"{numbered(20)}\n\nThese are the steps:\n\n- {numbered(8, 'x')}\n- {numbered(8, 'y')}\n"
    assert [c.text.splitlines()[0] for c in cut(text)] == [numbered(20), "These are the steps:"]


def test_long_lists_are_cut_between_items() -> None:
    """An item stays with all that is nested in it, code too."""
    item = "- item {0} has\n  two lines\n\n  ```sh\n  run {0}\n  ```\n  - nested {0}\n"
    chunks = cut("".join(item.format(n) for n in range(6)))
    assert len(chunks) > 1
    assert all(c.text.startswith("- item") for c in chunks)
    assert [c.text.count("- item") == c.text.count("nested") for c in chunks] == [True] * len(chunks)


def test_pieces_of_a_table_keep_its_header() -> None:
    """Each piece reads as a table, and is cited by its own rows."""
    rows = [f"| name{n} | value {n} of the table |" for n in range(10)]
    chunks = cut("\n".join(["| key | meaning |", "|---|---|", *rows]))
    assert len(chunks) > 2
    assert all(c.text.startswith("| key | meaning |\n|---|---|\n| name") for c in chunks)
    assert [row for c in chunks for row in c.text.splitlines()[2:]] == rows
    assert (chunks[0].start_line, chunks[1].start_line) == (1, chunks[0].end_line + 1)
    assert max(words(c.text) for c in chunks) <= 32


def test_pieces_of_code_are_fenced() -> None:
    """Code is cut at its blank lines, or at lines, and each piece is code still."""
    code = "\n".join(f"def f{n}():\n    return {n} + {n} + {n}\n" for n in range(8))
    chunks = cut(f"```python\n{code}```\n\nAfter.\n")
    assert len(chunks) > 1
    for chunk in chunks:
        assert chunk.text.startswith("```python\ndef f")
        assert chunk.text.count("```") == 2
    assert chunks[-1].text.endswith("After.")


def test_a_line_without_end_is_cut() -> None:
    """A line far over the size is cut between words, and a word too; both keep their line."""
    chunks = cut("\n" + " ".join(f"word{n}" for n in range(1000)))
    assert max(words(c.text) for c in chunks) <= 32
    assert "".join(c.text for c in chunks).count("word") == 1000
    assert {(c.start_line, c.end_line) for c in chunks} == {(2, 2)}
    letters = chunk_document(document_of("x" * 500), len, Chunking(max_tokens=100))
    assert "".join(c.text for c in letters) == "x" * 500
    assert max(len(c.text) for c in letters) <= 100


def test_long_headings_leave_room_for_the_text() -> None:
    """A page may have a paragraph for a heading; an embedding model that reads only that would not see the text."""
    sizes = Chunking(max_tokens=40)
    one, other = f"# {'word ' * 200}\n\nThe text.\n", f"# {'outer ' * 15}\n\n## Inner\n\nThe text.\n"
    (chunk,) = chunk_document(document_of(one), words, sizes)
    assert words(chunk.indexed_text) <= 40
    assert chunk.heading[0].endswith("word …")
    (chunk,) = chunk_document(document_of(other), words, sizes)
    assert words(chunk.indexed_text) <= 40


def test_pages_are_cited_and_not_mixed(tmp_path: Path) -> None:
    """A chunk of a PDF is on one page, and says on which."""
    (tmp_path / "p.pdf").write_bytes(pdf_of("First words.", "More words."))
    chunks = chunk_document(read_document(tmp_path / "p.pdf"), words)
    assert [(c.page, c.heading, c.text) for c in chunks] == [(1, [], "First words."), (2, [], "More words.")]


def test_a_page_in_html_is_cut_like_any_other(tmp_path: Path) -> None:
    """Lists and tables hold together, and a table that is cut keeps its header; lines are those of the file."""
    rows = "\n".join(f"<tr><td>name{n}</td><td>value {n} of the table</td></tr>" for n in range(8))
    (tmp_path / "p.html").write_text(
        f"<h1>Top</h1>\n<ul><li>first<ul><li>nested</li></ul></li>\n<li>second</li></ul>\n"
        f"<h2>Prices</h2>\n<table><tr><th>key</th><th>meaning</th></tr>\n{rows}\n</table>"
    )
    chunks = chunk_document(read_document(tmp_path / "p.html"), words, Chunking(max_tokens=32, min_tokens=0))
    assert chunks[0].text == "- first\n  - nested\n- second"
    assert (chunks[0].start_line, chunks[0].end_line) == (2, 3)
    assert len(chunks) > 2
    assert all(c.text.startswith("| key | meaning |\n| --- | --- |\n| name") for c in chunks[1:])
    assert (chunks[1].start_line, chunks[-1].end_line) == (5, 13)


# fmt: off
LINES = [
    "# H1", "## H2", "Title", "=====", "***", "One two. Three four?", "- item", "  - nested", "  more", "1. n", "```",
    "~~~", "```sh", "    indented", "| a | b |", "|---|---|", "", "", "> quote", "[^1]: note", "As follows:",
]
# fmt: on
LONG = "w " * 60


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.sampled_from([*LINES, LONG]), min_size=1, max_size=50),
    least=st.sampled_from([0, 4, 16]),
    overlap=st.sampled_from([0, 8, 16]),
    count=st.sampled_from([words, len]),
)
def test_whatever_the_document_nothing_is_lost_or_too_long(
    lines: list[str], least: int, overlap: int, count: TokenCounter
) -> None:
    """Each line of text is in a chunk that names it, each chunk fits, and chunks are in order."""
    sizes = Chunking(max_tokens=40, min_tokens=least, overlap_tokens=overlap)
    chunks = chunk_document(document_of("\n".join(lines)), count, sizes)
    named = {number for chunk in chunks for number in range(chunk.start_line, chunk.end_line + 1)}
    for number, line in enumerate(lines, 1):
        underlined = lines[number : number + 1] == ["====="]
        if line.strip() and line not in ("# H1", "## H2", "=====", "***") and not underlined:
            assert number in named
    for chunk in chunks:
        headings = count(" > ".join(chunk.heading)) if chunk.heading else 0
        # A fence or a header that is said again may cost a little more than was counted for it.
        assert count(chunk.text) <= max(40 - headings - 2, 20) + 8
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.start_line for chunk in chunks] == sorted(chunk.start_line for chunk in chunks)


def test_sizes_that_make_no_sense_are_refused() -> None:
    """A message names the field and its limit; a model that reads less shrinks the sizes."""
    with pytest.raises(ValidationError, match="overlap_tokens may be at most half of max_tokens, which is 100"):
        Chunking(max_tokens=100, overlap_tokens=60)
    assert Chunking(max_tokens=1000, min_tokens=300).within(256) == Chunking(max_tokens=256, min_tokens=128)


def test_the_recipe_tells_sizes_apart() -> None:
    """Chunks say how they were cut, so that an index knows which to make again."""
    assert Chunking().recipe == Chunking().recipe != Chunking(overlap_tokens=8).recipe
    assert cut("Words.")[0].recipe == Chunking(max_tokens=32, min_tokens=0).recipe


def test_chunks_travel_as_json() -> None:
    """A chunk survives JSON."""
    chunk = cut(GUIDE)[1]
    assert Chunk.model_validate_json(chunk.model_dump_json()) == chunk
