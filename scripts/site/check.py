"""Looks at the built site for what the generator lets pass.

Things that a page would fetch from elsewhere, directives left as text, public names that the reference does not have.
"""

from __future__ import annotations

import ast
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "site"
NAMES = ROOT / "tests" / "test_public_names.py"
"""Has the public names by module, as the dict PUBLIC."""


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


def unlisted(pages: list[Path]) -> list[str]:
    """The public names that no page of the reference has a place for."""
    there = {name for page in pages for name in re.findall(r'id="?(everstep[\w.]+)', page.read_text())}
    assigned = (node for node in ast.parse(NAMES.read_text()).body if isinstance(node, ast.Assign))
    public = next(ast.literal_eval(node.value) for node in assigned if ast.unparse(node.targets[0]) == "PUBLIC")
    # A module may have a name from another one, which is where the reference has it.
    there = {name.rpartition(".")[2] for name in there}
    wanted = ((module, name) for module, names in public.items() for name in names.split())
    return [f"the reference lacks {module}.{name}" for module, name in wanted if name not in there]


def main() -> None:
    """Exit code 1 if anything is wrong."""
    pages = sorted(SITE.rglob("*.html"))
    found = [fault for page in pages for fault in faults(page)] + unlisted(pages)
    if not pages:
        found.append("there are no pages")
    print(f"{len(pages)} pages, {len(found)} faults")
    for fault in found:
        print(fault)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
