"""Looks at the built site for what the generator lets pass: things fetched from elsewhere, directives left as text."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

SITE = Path(__file__).parents[2] / "build" / "site"


class Seen(HTMLParser):
    """What one page fetches when it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Scripts, pictures, frames, and links to what a browser loads by itself."""
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.fetched.append(given["src"] or "")
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "preconnect", "modulepreload"):
            self.fetched.append(given.get("href") or "")


def faults(page: Path) -> list[str]:
    """What is wrong with one page."""
    html = page.read_text()
    seen = Seen()
    seen.feed(html)
    name = page.relative_to(SITE)
    found = [f"{name} fetches {url}" for url in seen.fetched if re.match(r"(https?:)?//", url)]
    if re.search(r"<p>:::|\[`?[\w.]+`?\]\[[\w.]*\]</p>", html):
        found.append(f"{name} has a directive that was not carried out")
    return found


def main() -> None:
    """Exit code 1 if anything is wrong."""
    pages = sorted(SITE.rglob("*.html"))
    found = [fault for page in pages for fault in faults(page)]
    if not pages:
        found.append("there are no pages")
    print(f"{len(pages)} pages, {len(found)} faults")
    for fault in found:
        print(fault)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
