"""Documents are found, read with line numbers and cut by structure; broken ones say what is wrong."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from activities.documents import Document, content_hash, find_documents, read_document, source_name
from activities.errors import DocumentUnreadable
from tests.support.papers import PRINTED, cells_of
from tests.support.pdf import pdf_of


def encrypted(content: bytes, password: str) -> bytes:
    """The PDF again, locked with a user password."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(content)))
    writer.encrypt(password, algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def written(path: Path, content: str | bytes) -> Path:
    """The file with this content, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_documents_are_found_in_order(tmp_path: Path) -> None:
    """Readable types at any depth, sorted; hidden folders, packages and other types are passed over."""
    for name in (
        "b.md",
        "a/x.TXT",
        "a/y.html",
        "c.pdf",
        "d.png",
        ".git/z.md",
        "node_modules/p/r.md",
        ".h.md",
    ):
        written(tmp_path / name, "x")
    found = [source_name(p, tmp_path) for p in find_documents(tmp_path)]
    assert found == ["a/x.TXT", "a/y.html", "b.md", "c.pdf"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A folder that is not there is an error, not an empty index."""
    with pytest.raises(DocumentUnreadable, match="not a folder"):
        find_documents(tmp_path / "nowhere")


def test_html_becomes_text_with_lines(tmp_path: Path) -> None:
    """Headings, lists, tables and code are kept in order with their lines; scripts and menus are not."""
    page = """<html><head><title>Site</title><script>var x</script></head><body>
<nav><a>Menu</a></nav>
<h1>Top</h1>
<div>Loose words</div>
<h2>Part <em>two</em></h2>
<p>A paragraph
over lines.</p>
<ul><li>first</li>
<li>second</li></ul>
<pre>make demo
make test</pre>
<table><tr><th>k</th><td>v</td></tr></table>
</body></html>"""
    document = read_document(written(tmp_path / "p.html", page))
    assert [tuple(line) for line in document.lines if line.text] == [
        (3, "# Top"),
        (4, "Loose words"),
        (5, "## Part two"),
        (6, "A paragraph"),
        (7, "over lines."),
        (8, "- first"),
        (9, "- second"),
        (10, "```"),
        (10, "make demo"),
        (11, "make test"),
        (11, "```"),
        (12, "| k | v |"),
    ]


def test_text_of_html_that_is_in_no_block(tmp_path: Path) -> None:
    """Words beside and within inline markup are one paragraph, at their own lines; comments are none of it."""
    page = "<body>\n<div>Here is <b>bold\n</b> and <!-- not\nthis --> <i>more</i>.\n\n<div>Next</div></div>\n</body>"
    document = read_document(written(tmp_path / "p.html", page))
    assert [tuple(line) for line in document.lines] == [
        (2, "Here is bold"),
        (3, "and"),
        (4, "more."),
        (4, ""),
        (6, "Next"),
    ]


def test_lines_of_html_behind_tags_of_several_lines(tmp_path: Path) -> None:
    """Attributes below each other, as formatters write them, move no line."""
    page = """<p
  class="a > b"
  id='x'>First</p>
<p>Second <a
  href="z">link</a> more</p>
<p>Third</p>
"""
    file = written(tmp_path / "page.html", page)
    lines = [(line.number, line.text) for line in read_document(file).lines if line.text]
    assert lines == [(3, "First"), (4, "Second"), (5, "link more"), (6, "Third")]


def test_columns_of_html_tables_stay_columns(tmp_path: Path) -> None:
    """Whatever cells span, and with paragraphs and breaks in them; what a browser shows apart is not glued."""
    page = """<table>
<tr><th>Item</th><th>Qty</th><th>Amount</th></tr>
<tr><td rowspan="2"><p>Lamp</p></td><td>1</td><td><div>5.00</div><div>EUR</div></td></tr>
<tr><td>2</td><td>9.00<br>EUR</td></tr>
<tr><td colspan="2"><p>Sub<b>total</b></p></td><td>14.00</td></tr>
</table>"""
    assert read_document(written(tmp_path / "p.html", page)).text.splitlines() == [
        "| Item | Qty | Amount |",
        "| --- | --- | --- |",
        "| Lamp | 1 | 5.00 EUR |",
        "|  | 2 | 9.00 EUR |",
        "| Subtotal |  | 14.00 |",
    ]


def test_the_whole_of_a_page_is_more_than_its_article() -> None:
    """An index wants the article; values are read from headers, forms, margins and footers as well."""
    around = {"Harbour Lights Ltd", "Bill to: Mira Okafor", "Payable by 2026-11-01", "Total 518.50"}
    article, page = (read_document(PRINTED / "invoice.html", whole=whole).text for whole in (False, True))
    assert {said for said in around if said in article} == set()
    assert {said for said in around if said in page} == around
    assert "| Bulb |  | 5.00 |  | 21.00 |" in article


def test_a_printed_table_keeps_its_columns() -> None:
    """Of a PDF from a browser, over two pages: empty cells are seen, and cells of several lines hold together."""
    rows = cells_of(read_document(PRINTED / "invoice.pdf", whole=True).text)
    assert len(rows) == 15
    lamp = "Desk lamp with a jointed arm and a clamp for boards of up to 40 mm"
    assert rows[0] == {"Item": lamp, "Qty": "2", "Tax": "19%", "Amount": "118.00"}
    assert rows[1] == {"Item": "Bulb", "Discount": "5.00", "Amount": "21.00"}
    assert rows[13].keys() == {"Item", "Qty", "Discount", "Amount"}
    assert rows[14] == {"Item": "Delivery", "Tax": "19%", "Amount": "15.00"}  # below the headings of the second page


def test_a_table_drawn_column_by_column_has_rows(tmp_path: Path) -> None:
    """What counts is where a text stands, not when it was drawn; turned text is not lost over it."""
    drawn = [("Item", "Lamp", "Bulb"), ("Qty", "", "6"), ("Amount", "118.00", "21.00")]
    placed = [(72 + 150 * x, 700 - 20 * y, text) for x, column in enumerate(drawn) for y, text in enumerate(column)]
    turned = ") Tj 0 1 -1 0 40 300 Tm (Paid"  # ends the text that it stands in, and begins one that goes up the page
    document = read_document(written(tmp_path / "p.pdf", pdf_of([*placed, (40, 300, turned)])), whole=True)
    assert cells_of(document.text) == [
        {"Item": "Lamp", "Amount": "118.00"},
        {"Item": "Bulb", "Qty": "6", "Amount": "21.00"},
    ]
    assert "Paid" in document.text


def test_columns_of_prose_stand_side_by_side() -> None:
    """Nothing of a resume with a margin is lost, and the margin is not read into the sentences."""
    page, printed = (read_document(PRINTED / f"resume.{suffix}", whole=True).text for suffix in ("html", "pdf"))
    lines = [re.split(" {4,}", line.strip()) for line in printed.splitlines()]
    assert ["Contact", "Experience"] in lines
    pieces = {piece for line in lines for piece in line}
    assert {"tomas@example.org", "Temporal", "Northwind Paper, 2014 to 2019"} <= pieces
    assert set(re.findall(r"\w+", page)) <= set(re.findall(r"\w+", printed))


def test_html_in_its_own_encoding(tmp_path: Path) -> None:
    """A page that declares Latin-1 is read as such."""
    page = "<html><head><meta charset='iso-8859-1'></head><body><p>Größe</p></body></html>"
    assert "Größe" in read_document(written(tmp_path / "p.html", page.encode("latin-1"))).text


def test_pages_of_a_pdf_are_known(tmp_path: Path) -> None:
    """The text is read page by page; a page without text is passed over and counted."""
    document = read_document(written(tmp_path / "p.pdf", pdf_of("First words.", "", "More words.")))
    assert document.pages == [(1, 1), (3, 5)]
    pages = {line.text: document.page_of(line.number) for line in document.lines if line.text}
    assert pages == {"# Page 1": 1, "First words.": 1, "# Page 3": 3, "More words.": 3}
    assert read_document(written(tmp_path / "a.md", "One.")).page_of(1) is None


def test_larger_type_in_a_pdf_is_a_heading(tmp_path: Path) -> None:
    """A line that stands above others in larger type is one, by its size of a higher or lower order."""
    texts = [
        "Handbook",
        "Written for all of us.",
        "Refunds",
        "Large ones wait for a person.",
        "They expire.",
        "The end",
    ]
    content = pdf_of([(72, 700 - 30 * n, text) for n, text in enumerate(texts)])
    for place, size in ((b"700", b"24"), (b"640", b"16"), (b"550", b"16")):
        content = content.replace(b"/F1 12 Tf 72 " + place, b"/F1 " + size + b" Tf 72 " + place)
    document = read_document(written(tmp_path / "p.pdf", content))
    assert [line.text for line in document.lines if line.text] == [
        "# Page 1",
        "## Handbook",
        "Written for all of us.",
        "#### Refunds",
        "Large ones wait for a person.",
        "They expire.",
        "The end",
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.md", b"", "holds no text"),
        ("blank.txt", b"\n \n", "holds no text"),
        ("latin.md", "Größe".encode("latin-1"), "not UTF-8 text"),
        ("nul.txt", b"a\0b", "NUL bytes"),
        ("broken.pdf", b"%PDF-1.4 nothing", "PDF"),
        ("noise.pdf", bytes(range(256)) * 20, "PDF"),
        ("cut.pdf", pdf_of("Some words here.")[:200], "PDF"),
        ("scan.pdf", pdf_of(""), "holds no text"),
        ("empty.html", b"<html><body><script>x</script></body></html>", "holds no text"),
        ("locked.pdf", encrypted(pdf_of("Secret."), "pw"), "encrypted"),
        ("picture.png", b"x", "its type is none of"),
    ],
)
def test_broken_files_say_why(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    """A file that cannot be read raises, with its path and the reason."""
    path = written(tmp_path / name, content)
    with pytest.raises(DocumentUnreadable, match=reason) as caught:
        read_document(path)
    assert str(path) in str(caught.value)
    assert caught.value.path == str(path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    """A file removed meanwhile is reported like any other that cannot be read."""
    with pytest.raises(DocumentUnreadable, match="No such file"):
        read_document(tmp_path / "gone.md")


def test_a_pdf_without_user_password_is_read(tmp_path: Path) -> None:
    """Encryption that opens with no password is no obstacle."""
    path = written(tmp_path / "p.pdf", encrypted(pdf_of("Open words."), ""))
    assert "Open words." in read_document(path).text


def test_windows_text_files(tmp_path: Path) -> None:
    """A byte order mark, UTF-16 and carriage returns are no part of the text."""
    for content in ("\ufeffone\r\ntwo".encode(), "one\r\ntwo".encode("utf-16")):
        assert read_document(written(tmp_path / "a.txt", content)).text == "one\ntwo"


def test_lines_are_those_that_editors_count(tmp_path: Path) -> None:
    """A form feed, as between the pages of an RFC, ends none, and neither do the rarer marks."""
    file = written(tmp_path / "rfc.txt", "one\n\x0c\ntwo\u2028still two\r\nthree\rfour\n")
    lines = [(line.number, line.text) for line in read_document(file).lines if line.text]
    assert lines == [(1, "one"), (3, "two\u2028still two"), (4, "three"), (5, "four")]


def test_the_hash_follows_the_content(tmp_path: Path) -> None:
    """The hash of a file is that of its document, and changes with the content only."""
    path = written(tmp_path / "a.md", "one")
    first = read_document(path).content_hash
    assert first == content_hash(path)
    written(path, "two")
    assert content_hash(path) != first


def test_documents_travel_as_json(tmp_path: Path) -> None:
    """A document and its chunks survive JSON, as events carry them."""
    document = read_document(written(tmp_path / "guide.md", "# Guide\n\nSome words.\n"))
    assert Document.model_validate_json(document.model_dump_json()) == document
