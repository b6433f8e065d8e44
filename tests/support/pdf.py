"""Small sound PDFs, written by hand."""

from __future__ import annotations

from collections.abc import Sequence

Placed = tuple[int, int, str]
"""A text and where it begins: points from the left, points from the bottom."""


def pdf_of(*pages: str | Sequence[Placed]) -> bytes:
    """A PDF in Helvetica; each page a line of text, or texts at their places."""
    kids = " ".join(f"{3 + 2 * n} 0 R" for n in range(len(pages)))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>"]
    font = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    for number, page in enumerate(pages):
        texts = [(72, 700, page)] if isinstance(page, str) else page
        drawn = "\n".join(f"BT /F1 12 Tf {x} {y} Td ({text}) Tj ET" for x, y, text in texts)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {font} /Contents {4 + 2 * number} 0 R >>"
        )
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
    out = b"%PDF-1.4\n"
    offsets: list[int] = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    return out + f"{end}startxref\n{len(out)}\n%%EOF\n".encode()


def table_pdf(above: Sequence[str], rows: Sequence[Sequence[str]], below: Sequence[str]) -> bytes:
    """A page with lines of text, a table in columns, and lines of text."""
    placed: list[Placed] = []
    y = 740
    for text in above:
        placed.append((72, y, text))
        y -= 20
    for row in rows:
        placed += [(72 + 150 * column, y, cell) for column, cell in enumerate(row)]
        y -= 20
    y -= 20
    for text in below:
        placed.append((72, y, text))
        y -= 20
    return pdf_of(placed)
