"""Lays the pages out for the site generator: `build/pages`, as in the repository, README.md as index.md.

Links from page to page hold as they are. Links to source files, which the site does not have, become plain text; the
reasons why code is not run, which are comments in the pages, become lines that readers see.

    python scripts/site/pages.py            once
    python scripts/site/pages.py --watch    again and again, whenever a page changes
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "pages"
ALONE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
ASSETS = {".png", ".jpg", ".svg", ".css", ".js"}

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
_NOT_RUN = re.compile(r"^<!-- not run: (.+) -->$", re.MULTILINE)
_INDEX = re.compile(r"(^|/)README\.md$")
_MODULE = re.compile(r"\A(# (?P<name>[\w.]+)$.*?^::: (?P=name))$", re.MULTILINE | re.DOTALL)
"""A page of the reference that has the name of a module, down to that module's docstrings."""


def sources() -> list[Path]:
    """The files that the site is made of."""
    docs = [path for path in (ROOT / "docs").rglob("*") if path.suffix == ".md" or path.suffix in ASSETS]
    return [*(ROOT / name for name in ALONE), *sorted(docs)]


def target(path: Path) -> Path:
    """Where a source stands for the generator, which calls the page of a folder its index."""
    return OUT / _INDEX.sub(r"\1index.md", str(path.relative_to(ROOT)))


def for_site(text: str, page: Path, known: set[Path]) -> str:
    """A page's text as the site has it."""

    def link(found: re.Match[str]) -> str:
        path = found["path"]
        if "://" in path or path.startswith("mailto:"):
            return found[0]
        if (page.parent / path).resolve() not in known:
            return found["text"]
        path = _INDEX.sub(r"\1index.md", path)
        return f"[{found['text']}]({path}{found['anchor'] or ''})"

    text = _NOT_RUN.sub(r"*Not run by the tests: \1.*\n", _LINK.sub(link, text))
    return _MODULE.sub(r"\1\n    options:\n      show_root_heading: false", text)  # the page's own heading says it


def mermaid() -> Path:
    """Mermaid as browsers take it, from a package, so that no page has to fetch it from elsewhere."""
    found = importlib.util.find_spec("mermaidx")
    if found is None or found.origin is None:
        sys.exit("mermaidx is not installed here: run scripts/docs, which has a venv of its own")
    return Path(found.origin).parent / "assets" / "mermaid.js"


def lay_out() -> None:
    """Write what has changed, and remove what is gone."""
    paths = sources()
    known = {path.resolve() for path in paths}
    for path in paths:
        to = target(path)
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".md":
            shutil.copyfile(path, to)
            continue
        text = for_site(path.read_text(), path, known)
        if not to.exists() or to.read_text() != text:
            to.write_text(text)
    drawing = OUT / "assets" / "mermaid.js"
    drawing.parent.mkdir(exist_ok=True)
    shutil.copyfile(mermaid(), drawing)
    wanted = {drawing, *map(target, paths)}
    for left in OUT.rglob("*"):
        if left.is_file() and left not in wanted:
            left.unlink()


def main() -> None:
    """Once, or again and again."""
    lay_out()
    seen = 0.0
    while "--watch" in sys.argv[1:]:
        newest = max(path.stat().st_mtime for path in sources())
        if newest > seen:
            lay_out()
            seen = newest
        time.sleep(0.5)


if __name__ == "__main__":
    main()
