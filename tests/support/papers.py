"""Invoices and resumes to extract from, models of their records, and a chat model's part for the scripted server.

The part is played by rules: it reads what stands in the document. A document makes it err where it says so: see `play`.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from tests.support.fake_openai import RecordedRequest, Reply, json_text, refusal, text
from tests.support.pdf import table_pdf


class Item(BaseModel):
    """A line of an invoice."""

    name: str
    quantity: int = Field(gt=0)
    amount: Decimal


class Invoice(BaseModel):
    """An invoice. Its total is the sum of its items."""

    number: str = Field(pattern=r"^[A-Z]-\d{4}$")
    date: dt.date
    vendor: str
    currency: str = "EUR"
    items: list[Item]
    total: Decimal

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum(item.amount for item in self.items) != self.total:
            raise ValueError(f"total {self.total} is not the sum of the items")
        return self


class Resume(BaseModel):
    """What a person can do."""

    name: str
    email: str
    years: int | None = None
    skills: list[str]


RESUME_SCHEMA: dict[str, Any] = {
    "title": "Resume",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "email": {"type": "string", "pattern": "@"},
        "years": {"type": "integer", "minimum": 0},
        "skills": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "email", "skills"],
}

TEXT_INVOICE = """\
Northwind Paper
Invoice A-1001          2026-10-02

2 x Paper A4      12.00
1 x Ink           30.50
Total             42.50
"""
HTML_INVOICE = """\
<html><body><h1>Invoice B-2002</h1><p>Seller: Harbour Tools</p><p>Date: 2026-10-05</p>
<table><tr><th>Item</th><th>Qty</th><th>Amount</th></tr>
<tr><td>Hammer</td><td>3</td><td>45.00</td></tr>
<tr><td>Nails</td><td>10</td><td>8.20</td></tr></table>
<p>Total: 53.20</p></body></html>
"""
PDF_INVOICE = table_pdf(
    ["Seller: Alpine Lamps", "Invoice C-3003", "Date: 2026-10-09"],
    [["Item", "Qty", "Amount"], ["Desk lamp", "2", "118.00"], ["Bulb", "6", "21.00"]],
    ["Total 139.00"],
)
PRINTED = Path(__file__).parent / "printed"
"""An invoice and a resume of some length, as HTML, and as a browser printed them to PDF."""

RESUME = """\
# Mira Okafor

mira@example.org. 7 years of experience.
Skills: Python, Temporal, Sailing
"""


def write_invoices(folder: Path) -> Path:
    """Three sound invoices: text, HTML, and a PDF with a table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.txt").write_text(TEXT_INVOICE)
    (folder / "b.html").write_text(HTML_INVOICE)
    (folder / "c.pdf").write_bytes(PDF_INVOICE)
    return folder


def document_of(request: RecordedRequest) -> str:
    """The document that a request brings."""
    return str(request.body["messages"][1]["content"])


def play(request: RecordedRequest) -> Reply:
    """Reads the document.

    `misread N` in it: the total is wrong in the first N answers. `no json`, `refuse`: what they say.
    """
    document = document_of(request)
    if "refuse" in document:
        return refusal("I do not read that.")
    if "no json" in document:
        return text("Here are the records: none.")
    if "Skills:" in document:
        return json_text({"records": [read_resume(document)]})
    if "Invoice" not in document:
        return json_text({"records": []})
    invoice = read_invoice(document)
    misread = re.search(r"misread (\d+)", document)
    answers = (len(request.body["messages"]) - 2) // 2
    if misread and answers < int(misread[1]):
        invoice["total"] = "about " + str(invoice["total"])
    return json_text({"records": [invoice]})


def read_resume(document: str) -> dict[str, Any]:
    """The resume in a document; a key for what it does not say is null."""
    years = re.search(r"(\d+) years", document)
    skills = re.search(r"Skills: (.*)", document)
    email = re.search(r"\S+@\S+\w", document)
    return {
        "name": (re.search(r"^# (.+)", document, re.MULTILINE) or ["", ""])[1],
        "email": email[0] if email else "none",
        "years": int(years[1]) if years else None,
        "skills": skills[1].split(", ") if skills else [],
    }


def read_invoice(document: str) -> dict[str, Any]:
    """The invoice in a document, whichever of the three forms it has."""
    number = re.search(r"Invoice (\S+)", document)
    date = re.search(r"\d{4}-\d\d-\d\d", document)
    vendor = re.search(r"Seller: (.+)", document)
    vendor = vendor or re.search(r"^(Northwind Paper|Harbour Lights Ltd)", document, re.MULTILINE)
    total = re.search(r"Total\D*([\d.]+)", document)
    # 2 x Ink 3.00, | Ink | 2 | 3.00 |, or a table of which only spaces tell the columns
    lines = [(q, n, a) for q, n, a in re.findall(r"^(\d+) x (.+?)\s+([\d.]+)$", document, re.MULTILINE)]
    lines += [
        (q, n, a) for n, q, a in re.findall(r"^\| (.+?) \| (\d*) \|(?:.* \|)? ([\d.]+) \|$", document, re.MULTILINE)
    ]
    lines += [(row.get("Qty", ""), row["Item"], row["Amount"]) for row in cells_of(document)]
    return {
        "number": number[1] if number else "",
        "date": date[0] if date else None,
        "vendor": vendor[1].strip() if vendor else "",
        "currency": None,
        "items": [{"name": n, "quantity": int(q or 1), "amount": a} for q, n, a in lines],
        "total": total[1] if total else None,
    }


def cells_of(document: str) -> list[dict[str, str]]:
    """The rows of tables that begin with an `Item` and end with an `Amount`, as one who looks at the page reads them.

    A text is of the column below whose heading it begins or ends; an empty cell is none. A line that has only the
    first column, right below another, goes on with its cell.
    """
    rows: list[dict[str, str]] = []
    headings: dict[str, tuple[int, int]] = {}
    above = ""
    for line in document.splitlines():
        texts = list(re.finditer(r"\S+(?: \S+)*", line))
        row = {min(headings, key=partial(_distance, text, headings)): text[0] for text in texts if headings}
        if re.match(r"\s*Item .* Amount$", line):
            headings = {text[0]: text.span() for text in texts}
        elif {"Item", "Amount"} <= row.keys():
            rows.append(row)
        elif list(row) == ["Item"] and above and rows:
            rows[-1]["Item"] += " " + row["Item"]
        above = line
    return rows


def _distance(text: re.Match[str], headings: dict[str, tuple[int, int]], heading: str) -> int:
    begin, end = headings[heading]
    return min(abs(begin - text.start()), abs(end - text.end()))


def records_in(file: Path) -> dict[str, dict[str, Any]]:
    """The records of a `records.jsonl`, by their documents."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {line["source"]: line["record"] for line in lines}
